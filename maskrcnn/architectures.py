"""The two architectures of He et al. 2017, fig. 4: ResNet-FPN (right) and ResNet-C4 (left). The only place that chooses.

They differ in the backbone, in what the features of an RoI are, and in the heads. The order of the stages is the same.

Glossary: R RoIs of all images together, P of them positive.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from maskrcnn.backbone import Features, FinestLevel, ResNet, ResNetC4, ResNetFPN, norm_layer
from maskrcnn.backbone.norm import NormFactory
from maskrcnn.config import Config
from maskrcnn.heads import (
    BoxHead,
    C4BoxHead,
    C4MaskHead,
    MaskHead,
    MLPMaskHead,
    SoftmaxMaskHead,
    mask_loss,
    softmax_mask_loss,
)
from maskrcnn.roi import RoIFeatures, RoIPooler

Backbone = ResNetFPN | ResNetC4
MaskLoss = Callable[..., Tensor]  # (prediction, targets) -> a scalar


class FPNRoIExtractor:
    """RoIAlign from P2 .. P5, at one resolution for boxes and at another for masks; masks from P1 where there is one."""

    def __init__(self, pooler: RoIPooler, roi_levels: int, box_resolution: int, mask_resolution: int) -> None:
        self.pooler = pooler
        self.levels = slice(roi_levels)
        self.box_resolution, self.mask_resolution = box_resolution, mask_resolution

    def of_boxes(self, features: Features, boxes: list[Tensor]) -> RoIFeatures:
        """For the box head. boxes: [R_i, 4] for each image."""
        return self._pool(features, boxes, self.box_resolution)

    def of_masks(self, features: Features, boxes: list[Tensor]) -> RoIFeatures:
        """For the mask head, from P1 where the backbone has one (Config.masks_from_p1)."""
        if features.mask_map is None:
            return self._pool(features, boxes, self.mask_resolution)
        return self.pooler((features.mask_map,), (FinestLevel.stride,), boxes, self.mask_resolution)

    def of_positives(
        self, features: Features, boxes: list[Tensor], of_boxes: RoIFeatures, labels: Sequence[Tensor]
    ) -> RoIFeatures:
        """For the mask head in training. boxes [P_i, 4]: of the positives. See C4RoIExtractor for what is not used here."""
        return self.of_masks(features, boxes)

    def _pool(self, features: Features, boxes: list[Tensor], resolution: int) -> RoIFeatures:
        return self.pooler(features.maps[self.levels], features.strides[self.levels], boxes, resolution)


class C4RoIExtractor:
    """RoIAlign from C4, 14 x 14 for boxes and masks alike, and res5: [R, 2048, 7, 7].

    res5: the backbone's own; it is registered there, and not here, so that its parameters have one name.
    """

    def __init__(self, pooler: RoIPooler, res5: nn.Module, resolution: int) -> None:
        self.pooler, self.res5 = pooler, res5
        self.resolution = resolution

    def of_boxes(self, features: Features, boxes: list[Tensor]) -> RoIFeatures:
        """For the box head. boxes: [R_i, 4] for each image."""
        pooled = self.pooler(features.maps, features.strides, boxes, self.resolution)  # [R, 1024, 14, 14]
        return RoIFeatures(self.res5(pooled.roi_features), pooled.levels)  # [R, 2048, 7, 7]

    def of_masks(self, features: Features, boxes: list[Tensor]) -> RoIFeatures:
        """For the mask head at inference: the boxes are the detected ones, which res5 has not seen yet."""
        return self.of_boxes(features, boxes)

    def of_positives(
        self, features: Features, boxes: list[Tensor], of_boxes: RoIFeatures, labels: Sequence[Tensor]
    ) -> RoIFeatures:
        """For the mask head in training: res5 has run on all RoIs, so the positives are rows of `of_boxes`.

        labels: [R_i] of all RoIs; boxes: [P_i, 4], of the first P_i positives of each image.
        """
        positive = [(of_image > 0).nonzero()[: len(first), 0] for of_image, first in zip(labels, boxes, strict=True)]
        counts = [len(of_image) for of_image in labels]
        roi_features, levels = (
            torch.cat([rows[keep] for rows, keep in zip(field.split(counts), positive, strict=True)])
            for field in of_boxes
        )
        return RoIFeatures(roi_features, levels)


class Heads(NamedTuple):
    """The features of RoIs, and what is predicted from them."""

    roi_extractor: FPNRoIExtractor | C4RoIExtractor
    box: BoxHead | C4BoxHead
    mask: nn.Module
    mask_loss: MaskLoss


def fpn_backbone(c: Config, resnet: ResNet) -> Backbone:
    norm = norm_layer(c.norm, c.norm_eps, c.norm_groups)
    return ResNetFPN(resnet, c.fpn_channels, norm if c.fpn_norm else None, c.masks_from_p1)


def fcn_masks(c: Config, backbone: Backbone) -> tuple[nn.Module, MaskLoss]:
    return MaskHead(*_mask_head(c, backbone), c.class_agnostic_masks, _mask_norm(c)), mask_loss


def softmax_masks(c: Config, backbone: Backbone) -> tuple[nn.Module, MaskLoss]:
    return SoftmaxMaskHead(*_mask_head(c, backbone), norm=_mask_norm(c)), softmax_mask_loss


def mlp_masks(c: Config, backbone: Backbone) -> tuple[nn.Module, MaskLoss]:
    return MLPMaskHead(backbone.channels, c.mask_pooler_resolution, c.num_classes), mask_loss


MASK_HEADS = {"fcn": fcn_masks, "softmax": softmax_masks, "mlp": mlp_masks}  # Config.mask_head -> the head and its loss


def _mask_head(c: Config, backbone: Backbone) -> tuple[int, int, int, int]:
    return backbone.channels, c.mask_head_channels, c.mask_head_num_convs, c.num_classes


def _mask_norm(c: Config) -> NormFactory | None:
    return norm_layer(c.norm, c.norm_eps, c.norm_groups) if c.mask_head_norm else None


def fpn_heads(c: Config, backbone: Backbone, pooler: RoIPooler) -> Heads:
    norm = norm_layer(c.norm, c.norm_eps, c.norm_groups)
    box_head = BoxHead(
        backbone.channels, c.box_pooler_resolution, c.box_head_dim, c.num_classes, c.class_agnostic_boxes,
        c.box_head_num_convs, norm,
    )  # fmt: skip
    mask_head, loss = MASK_HEADS[c.mask_head](c, backbone)
    extractor = FPNRoIExtractor(pooler, backbone.roi_levels, c.box_pooler_resolution, c.mask_pooler_resolution)
    return Heads(extractor, box_head, mask_head, loss)


def c4_backbone(c: Config, resnet: ResNet) -> Backbone:
    return ResNetC4(resnet)


def c4_heads(c: Config, backbone: Backbone, pooler: RoIPooler) -> Heads:
    resnet = backbone.resnet
    channels = resnet.channels[3]  # of res5
    return Heads(
        C4RoIExtractor(pooler, resnet.get_submodule("res5"), c.box_pooler_resolution),
        C4BoxHead(channels, c.num_classes, c.class_agnostic_boxes),
        C4MaskHead(channels, c.mask_head_channels, c.num_classes, c.class_agnostic_masks),
        mask_loss,
    )


class Architecture(NamedTuple):
    """How its two parts are built, the backbone first: the RPN comes between them."""

    backbone: Callable[[Config, ResNet], Backbone]
    heads: Callable[[Config, Backbone, RoIPooler], Heads]


ARCHITECTURES = {  # Config.architecture -> its parts
    "fpn": Architecture(fpn_backbone, fpn_heads),
    "c4": Architecture(c4_backbone, c4_heads),
}
