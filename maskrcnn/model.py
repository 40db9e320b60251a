"""Mask R-CNN (He et al. 2017): the order of its stages, and nothing else. What a stage does is in its own folder."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from maskrcnn.backbone import Features, ResNet, ResNetFPN, norm_layer
from maskrcnn.boxes import grow
from maskrcnn.config import Config
from maskrcnn.heads import BoxHead, Detections, Detector, MaskHead, box_loss, mask_loss, mask_targets, paste_masks
from maskrcnn.images import Batch, ImageTransform, Targets, image_size, scale_boxes
from maskrcnn.matching import BalancedSampler
from maskrcnn.roi import RoIFeatureExtractor, RoIFeatures, RoISampler
from maskrcnn.rpn import AnchorGenerator, ProposalSelector, RPNHead, RPNLosses, RPNTargetAssigner, rpn_loss

Stage = tuple[str, Any]  # its name and its output


class MaskRCNN(nn.Module):
    """Images in, objects with boxes, classes and masks out.

    images: a list of float [3, H, W] in 0..1, of any sizes.
    targets: a list of dicts with boxes [N, 4] (x1, y1, x2, y2 in pixels of that image), labels [N] int64 in 1..K and masks
    [N, H, W]; N may be 0.

    `model(images, targets)` in training is a dict of five losses; `model(images)` in evaluation a list of dicts with
    boxes [D, 4], labels [D], scores [D] and masks [D, 1, H, W] (probabilities), in pixels of the images given.
    `model.losses(images, targets)` gives the losses in either mode, `model.stages(...)` every output on the way.
    """

    def __init__(self, config: Config | None = None) -> None:
        super().__init__()
        c = self.config = config or Config()
        norm = norm_layer(c.norm, c.norm_eps, c.norm_groups)
        self.transform = ImageTransform(
            c.min_size, c.max_size, c.image_mean, c.image_std, c.size_divisor, c.mask_resize, c.antialias
        )
        resnet = ResNet(c.backbone, norm, c.stride_in_1x1, c.frozen_stages)
        self.backbone = ResNetFPN(resnet, c.fpn_channels, norm if c.fpn_norm else None)
        channels = self.backbone.channels

        self.anchors = AnchorGenerator(c.anchor_sizes, c.anchor_ratios, c.anchor_offset, c.anchor_rounded)
        self.rpn_head = RPNHead(channels, self.anchors.per_cell)
        self.rpn_targets = RPNTargetAssigner(
            c.rpn_positive_iou, c.rpn_negative_iou, BalancedSampler(c.rpn_batch, c.rpn_positive_fraction)
        )
        self.roi_sampler = RoISampler(c.roi_positive_iou, BalancedSampler(c.roi_batch, c.roi_positive_fraction))
        self.roi_features = RoIFeatureExtractor(c.roi_aligned, c.roi_sampling_ratio, c.roi_canonical_size)

        self.box_head = BoxHead(channels, c.box_roi_size, c.box_head_width, c.num_classes, c.class_agnostic_boxes)
        self.mask_head = MaskHead(
            channels,
            c.mask_head_width,
            c.mask_head_depth,
            c.num_classes,
            c.class_agnostic_masks,
            norm if c.mask_head_norm else None,
        )
        self.detector = Detector(
            c.score_threshold,
            c.detection_nms_threshold,
            c.detections_per_image,
            c.detection_min_size,
            c.class_agnostic_nms,
            c.box_weights,
        )
        # Convolutions on a CPU are fastest, and RoIAlign needs no copy, where a pixel's channels lie side by side.
        self.to(memory_format=torch.channels_last)

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training (targets are needed then, else ValueError), detections in evaluation."""
        if not self.training:
            return last(self.stages(images))
        if targets is None:
            raise ValueError("in training the model needs targets; call model.eval() first to detect")
        return self.losses(images, targets)

    def losses(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The five losses, in training and in evaluation: L = L_cls + L_box + L_mask (sec. 3), and the RPN's two."""
        return last(self.stages(images, targets))

    def stages(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None = None) -> Iterator[Stage]:
        """Run the model and yield every stage's name and output in order; stop anywhere.

        With targets it goes the way of training and ends with ("losses", ...); without it detects and ends with
        ("results", ...). Gradients follow the caller's mode (`torch.no_grad`).
        """
        batch = self.transform.batch(images)
        ground_truth = None if targets is None else self.transform.targets(targets, batch, self.config.num_classes)
        yield "images", batch
        features = self.backbone(batch.pixels)
        yield "features", features
        anchors = self.anchors(features.maps, image_size(batch.pixels))
        yield "anchors", anchors
        prediction = self.rpn_head(features.maps)
        yield "rpn", prediction
        proposals = self.proposal_selector(self.training)(prediction, anchors, batch.sizes)
        yield "proposals", proposals
        if ground_truth is None:
            yield from self._detect(batch, features, proposals.boxes)
        else:
            yield "targets", ground_truth
            rpn_targets = self.rpn_targets(anchors, ground_truth.boxes)
            yield "rpn_targets", rpn_targets
            rpn_losses = rpn_loss(prediction, rpn_targets, self.config.smooth_l1_beta)
            yield "rpn_losses", rpn_losses
            yield from self._learn(features, proposals.boxes, ground_truth, rpn_losses)

    def _detect(self, batch: Batch, features: Features, proposals: list[Tensor]) -> Iterator[Stage]:
        """The second stage after training: boxes first, then masks of the boxes that are reported (3.1 "Inference")."""
        roi_features = self._cut(features, proposals, self.config.box_roi_size)
        yield "roi_features", roi_features
        prediction = self.box_head(roi_features.roi_features)  # [R, C, 7, 7] -> K + 1 classes
        yield "box_head", prediction
        detections = self.detector(prediction, proposals, batch.sizes)
        yield "detections", detections
        mask_rois = [grow(boxes, self.config.mask_margin) for boxes in detections.boxes]
        mask_roi_features = self._cut(features, mask_rois, self.config.mask_roi_size)
        yield "mask_roi_features", mask_roi_features
        masks = self.mask_head(mask_roi_features.roi_features, torch.cat(detections.labels))  # [D, K, 28, 28]
        yield "mask_head", masks
        yield "results", restore(batch, detections, mask_rois, masks.probabilities())

    def _learn(
        self, features: Features, proposals: list[Tensor], gt: Targets, rpn_losses: RPNLosses
    ) -> Iterator[Stage]:
        """The second stage in training: box and mask head side by side on sampled RoIs (3.1 "Training")."""
        c = self.config
        rois = self.roi_sampler(proposals, gt.boxes, gt.labels)
        yield "rois", rois
        roi_features = self._cut(features, rois.boxes, c.box_roi_size)
        yield "roi_features", roi_features
        box = self.box_head(roi_features.roi_features)  # [R, C, 7, 7] -> K + 1 classes
        yield "box_head", box
        box_losses = box_loss(
            box,
            torch.cat(rois.boxes),
            torch.cat(rois.labels),
            rois.matched_boxes(gt.boxes),
            c.box_weights,
            c.smooth_l1_beta,
        )
        yield "box_losses", box_losses
        positives = rois.positives()
        mask_rois = [grow(boxes, c.mask_margin) for boxes in positives.boxes]
        mask_roi_features = self._cut(features, mask_rois, c.mask_roi_size)
        yield "mask_roi_features", mask_roi_features
        mask = self.mask_head(mask_roi_features.roi_features, torch.cat(positives.labels))  # [P, K, 28, 28]
        yield "mask_head", mask
        targets = mask_targets(mask_rois, positives.matched, gt.masks, c.mask_size, c.roi_aligned)
        yield "mask_targets", targets
        yield (
            "losses",
            {
                "loss_classifier": box_losses.classes,
                "loss_box_reg": box_losses.deltas,
                "loss_mask": mask_loss(mask, targets),
                "loss_objectness": rpn_losses.objectness,
                "loss_rpn_box_reg": rpn_losses.deltas,
            },
        )

    def proposal_selector(self, training: bool) -> ProposalSelector:
        """Training looks at more proposals than detection (FPN 5.2), so the two modes select differently."""
        c, mode = self.config, 0 if training else 1
        return ProposalSelector(c.rpn_pre_nms[mode], c.rpn_post_nms[mode], c.rpn_nms_threshold, c.rpn_min_size)

    def _cut(self, features: Features, boxes: list[Tensor], size: int) -> RoIFeatures:
        levels = slice(self.backbone.roi_levels)
        return self.roi_features(features.maps[levels], features.strides[levels], boxes, size)


def restore(batch: Batch, detections: Detections, mask_rois: list[Tensor], masks: Tensor) -> list[dict[str, Tensor]]:
    """Detections and their masks -> one dict an image, in pixels of the images given.

    mask_rois: [D_i, 4] for each image, the boxes that the masks [D, 28, 28] of all images together lie in.
    """
    results = []
    for i, mask in enumerate(masks.split([len(boxes) for boxes in detections.boxes])):
        size = batch.original_sizes[i]
        boxes = scale_boxes(detections.boxes[i], batch.sizes[i], size)
        pasted = paste_masks(mask, scale_boxes(mask_rois[i], batch.sizes[i], size), size)[:, None]  # [D_i, 1, H, W]
        results.append(
            {"boxes": boxes, "labels": detections.labels[i], "scores": detections.scores[i], "masks": pasted}
        )
    return results


def last(stages: Iterator[Stage]) -> Any:
    """Run the stages to their end and return the output of the last one."""
    *_, (_, output) = stages
    return output
