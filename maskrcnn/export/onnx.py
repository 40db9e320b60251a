"""An ONNX file that detects as the model does: from one image of any size to boxes and masks in that image's pixels.

Convolutions and arithmetic are translated by torch.onnx.export. What depends on the data (resizing, the best boxes, NMS,
RoIAlign) are the operators of operators.py. `Exportable` is the model with these in place; the stages keep their order.

Glossary: A anchors of a level; T boxes of a level before NMS; P proposals; D detections; K classes without background; M the
side of a predicted mask; H, W the size of the image given.
"""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from maskrcnn import boxes as box_algebra
from maskrcnn.backbone import Features
from maskrcnn.export import operators
from maskrcnn.export.installed import check_installed
from maskrcnn.heads.box import BoxPrediction
from maskrcnn.heads.paste import boxes_around, paste_masks
from maskrcnn.kernels import Conv2d, GroupNorm
from maskrcnn.model import MaskRCNN
from maskrcnn.roi.pooler import RoIFeatures, assign_levels

OPSET = 18  # the first in which Resize has antialias
SAMPLE = (3, 96, 128)  # the size of the image that the model is traced with; any other is as good
NO_SCORE = -1.0  # below all thresholds


class Outputs(NamedTuple):
    """Best first. boxes [D, 4] in pixels of the image; labels [D] in 1..K; scores [D]; masks [D, 1, H, W], probabilities:
    these four are what `MaskRCNN` returns. roi_masks [D, 1, M, M]: the masks before they are pasted into the image, and
    mask_rois [D, 4], the boxes that they fill, for who pastes them."""

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    masks: Tensor
    roi_masks: Tensor
    mask_rois: Tensor


def export_onnx(model: MaskRCNN, path: Path) -> None:
    """Write the file. Raises ValueError, naming the field, for a model with a part that ONNX has no operator for, and if a
    package is not installed."""
    check_installed("onnx", "onnxscript")
    if model.config.roi_pooling != "align":
        raise ValueError(
            f"roi_pooling={model.config.roi_pooling!r} has no counterpart in ONNX, which has RoIAlign; "
            "--to safetensors writes any model"
        )
    sides = {1: torch.export.Dim("height", min=2), 2: torch.export.Dim("width", min=2)}
    with torch.no_grad():
        program: Any = torch.onnx.export(
            Exportable(model),
            (torch.rand(SAMPLE, generator=torch.Generator().manual_seed(0)),),
            dynamo=True,
            dynamic_shapes={"image": sides},
            custom_translation_table=operators.translations(),
            input_names=["image"],
            output_names=list(Outputs._fields),
            opset_version=OPSET,
            verbose=False,
        )
    names = json.dumps(model.config.class_names)  # label k is the k-th
    program.model.metadata_props.update(class_names=names, config=json.dumps(model.config.to_dict()))
    program.save(path)


class Exportable(nn.Module):
    """image [3, H, W] in 0..1 -> Outputs. A copy of the model; what it computes is the same, for one image."""

    def __init__(self, model: MaskRCNN) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).cpu().float().eval().to(memory_format=torch.contiguous_format)
        self.config = c = model.config
        for module in self.model.modules():
            for kernel, plain in PLAIN.items():
                if isinstance(module, kernel):
                    module.__class__ = plain
        pooler = ExportablePooler(c.roi_align_half_pixel, c.pooler_sampling_ratio, c.canonical_box_size)
        self.model.roi_extractor.pooler = pooler  # type: ignore[assignment]
        self.eval()

    def forward(self, image: Tensor) -> Outputs:
        c, model = self.config, self.model
        pixels, resized = operators.preprocess(
            image, c.min_size, c.max_size, c.image_mean, c.image_std, c.size_divisible, c.antialias
        )
        size = resized.float().flip(0).repeat(2)  # [4], to which boxes are clipped
        features = model.backbone(pixels)
        proposals = self._proposals(features, pixels, size)  # [P, 4]
        prediction = model.box_head(model.roi_extractor.of_boxes(features, [proposals]).roi_features)
        boxes, labels, scores = self._detections(prediction, proposals, size)
        rois = box_algebra.expand(boxes, c.mask_roi_padding)
        mask_features = model.roi_extractor.of_masks(features, [rois]).roi_features
        logits = model.mask_head(mask_features, labels).mask_logits  # [D, K, M, M]
        masks = logits[torch.arange(labels.shape[0]), labels - 1].sigmoid()  # [D, M, M]
        given = image.shape[1], image.shape[2]
        ratio = torch.tensor([given[1], given[0]] * 2) / size
        boxes, rois = boxes * ratio, rois * ratio
        pasted = paste_masks(masks, rois, given)[:, None]  # [D, 1, H, W]
        boxes = boxes_around(pasted, boxes) if c.boxes_around_masks else boxes
        return Outputs(boxes, labels, scores, pasted, masks[:, None], rois)

    def _proposals(self, features: Features, pixels: Tensor, size: Tensor) -> Tensor:
        """As `ProposalSelector`, level by level: [P, 4], best first."""
        c = self.config
        anchors = self.model.anchors(features.maps, (pixels.shape[2], pixels.shape[3]))
        prediction = self.model.rpn_head(features.maps)
        of_all = (prediction.objectness[0], prediction.deltas[0], anchors.boxes)
        levels = zip(*(values.split(anchors.per_level) for values in of_all), strict=True)
        boxes, scores = [], []
        for objectness, deltas, reference in levels:
            top = operators.best(objectness, c.rpn_pre_nms_top_n_test)  # [T]
            moved = _clip(box_algebra.decode(deltas[top], reference[top]), size)  # [T, 4]
            large = _large_enough(moved, c.rpn_min_box_size)
            score = torch.where(large, objectness[top].sigmoid(), NO_SCORE)  # [T]
            kept = operators.nms_per_group(moved[None], score[None], c.rpn_nms_thresh, NO_SCORE)[:, 1]
            boxes.append(moved[kept])
            scores.append(score[kept])
        return torch.cat(boxes)[operators.best(torch.cat(scores), c.rpn_post_nms_top_n_test)]

    def _detections(self, prediction: BoxPrediction, proposals: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `BoxPostProcessor`: boxes [D, 4], labels [D], scores [D], best first."""
        c = self.config
        boxes = _clip(
            box_algebra.decode(prediction.box_deltas[:, 1:], proposals, c.bbox_reg_weights), size
        )  # [P, K, 4]
        scores = prediction.class_logits.softmax(dim=-1)[:, 1:]  # [P, K]
        scores = torch.where(_large_enough(boxes, c.detection_min_box_size), scores, NO_SCORE)
        boxes, scores = boxes.transpose(0, 1), scores.t()  # a group per class: [K, P, 4] and [K, P]
        groups = (boxes.reshape(1, -1, 4), scores.reshape(1, -1)) if c.class_agnostic_nms else (boxes, scores)
        group, index = operators.nms_per_group(*groups, c.box_nms_thresh, c.box_score_thresh).unbind(1)
        kept = group * groups[1].shape[1] + index  # [D'], of K * P
        kept = kept[operators.best(scores.reshape(-1)[kept], c.box_detections_per_img)]  # [D]
        return boxes.reshape(-1, 4)[kept], kept // scores.shape[1] + 1, scores.reshape(-1)[kept]


class ExportablePooler:
    """`RoIPooler` for one image, with the operator that becomes ONNX's."""

    def __init__(self, aligned: bool, sampling_ratio: int, canonical_box_size: float) -> None:
        self.aligned, self.sampling_ratio = aligned, max(0, sampling_ratio)
        self.canonical_box_size = canonical_box_size

    def __call__(
        self, maps: Sequence[Tensor], strides: Sequence[int], boxes: list[Tensor], output_size: int
    ) -> RoIFeatures:
        first, last = (stride.bit_length() - 1 for stride in (strides[0], strides[-1]))  # P2 has stride 2^2
        levels = assign_levels(boxes[0], first, last, self.canonical_box_size) - first
        scales = [1 / stride for stride in strides]
        pooled = operators.pool(list(maps), boxes[0], levels, scales, output_size, self.sampling_ratio, self.aligned)
        return RoIFeatures(pooled, levels)


class PlainGroupNorm(nn.GroupNorm):
    """nn.GroupNorm in plain arithmetic: PyTorch's checks the size of a map, which is not known yet, and its translation
    fails for the mask head of an image without detections."""

    def forward(self, x: Tensor) -> Tensor:
        groups = x.reshape(x.shape[0], self.num_groups, x.shape[1] // self.num_groups * x.shape[2] * x.shape[3])
        centred = groups - groups.mean(dim=2, keepdim=True)
        normalised = centred * (centred.square().mean(dim=2, keepdim=True) + self.eps).rsqrt()
        return normalised.reshape(x.shape) * self.weight[:, None, None] + self.bias[:, None, None]


# Layers that choose between ways to compute by the size of the map -> the same without a choice.
PLAIN: dict[type[nn.Module], type[nn.Module]] = {Conv2d: nn.Conv2d, GroupNorm: PlainGroupNorm}


def _clip(boxes: Tensor, size: Tensor) -> Tensor:
    """`boxes.clip_to_image` to a size that is a tensor, (width, height, width, height)."""
    return torch.minimum(boxes.clamp(min=0), size)


def _large_enough(boxes: Tensor, min_size: float) -> Tensor:
    """`boxes.large_enough` for boxes [..., 4]."""
    return ((boxes[..., 2:] - boxes[..., :2]) >= min_size).all(dim=-1)
