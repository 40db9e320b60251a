"""Mask R-CNN (He et al. 2017): the order of its stages, and nothing else. What a stage does is in its own folder."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from maskrcnn.architectures import ARCHITECTURES
from maskrcnn.backbone import Features, ResNet, norm_layer
from maskrcnn.boxes import expand
from maskrcnn.config import Config
from maskrcnn.heads import BoxPostProcessor, Detections, box_loss, mask_targets, restore
from maskrcnn.images import Batch, ImageTransform, Targets, check_boxes, image_size, scale_boxes
from maskrcnn.matching import BalancedSampler
from maskrcnn.roi import RoIPooler, RoISampler
from maskrcnn.rpn import AnchorGenerator, ProposalSelector, RPNHead, RPNLosses, RPNTargetAssigner, rpn_loss

Stage = tuple[str, Any]  # its name and its output


class MaskRCNN(nn.Module):
    """Images in, objects with boxes, classes and masks out.

    images: a list of float [3, H, W] in 0..1, of any sizes.
    targets: a list of dicts with boxes [N, 4] (x1, y1, x2, y2 in pixels of that image), labels [N] int64 in 1..K and masks
    [N, H, W]; N may be 0.

    `model(images, targets)` in training is a dict of five losses; `model(images)` in evaluation a list of dicts with
    boxes [D, 4], labels [D], scores [D] and masks [D, 1, H, W] (probabilities), in pixels of the original images.
    `model.losses(images, targets)` gives the losses in either mode, `model.stages(...)` the output of every stage,
    `model.masks(images, boxes, labels)` the masks of given boxes.
    """

    def __init__(self, config: Config | None = None) -> None:
        super().__init__()
        c = self.config = config or Config()
        norm = norm_layer(c.norm, c.norm_eps, c.norm_groups)
        self.transform = ImageTransform(
            c.min_size, c.max_size, c.image_mean, c.image_std, c.size_divisible, c.mask_interpolation, c.antialias
        )
        resnet = ResNet(c.backbone, norm, c.stride_in_1x1, c.frozen_stages, c.zero_init_residual, c.pool_padding_at_end)
        architecture = ARCHITECTURES[c.architecture]
        self.backbone = architecture.backbone(c, resnet)

        self.anchors = AnchorGenerator(c.anchor_sizes, c.anchor_aspect_ratios, c.anchor_offset, c.round_anchors)
        self.rpn_head = RPNHead(
            self.backbone.channels, self.anchors.num_anchors_per_location, c.rpn_conv_channels, c.rpn_num_convs
        )
        self.train_proposals = ProposalSelector(
            c.rpn_pre_nms_top_n_train, c.rpn_post_nms_top_n_train, c.rpn_nms_thresh, c.rpn_min_box_size
        )
        self.test_proposals = ProposalSelector(
            c.rpn_pre_nms_top_n_test, c.rpn_post_nms_top_n_test, c.rpn_nms_thresh, c.rpn_min_box_size
        )
        rpn_sampler = BalancedSampler(c.rpn_batch_size_per_image, c.rpn_positive_fraction)
        self.rpn_targets = RPNTargetAssigner(c.rpn_fg_iou_thresh, c.rpn_bg_iou_thresh, rpn_sampler)

        roi_sampler = BalancedSampler(c.box_batch_size_per_image, c.box_positive_fraction)
        self.roi_sampler = RoISampler(c.box_fg_iou_thresh, roi_sampler)
        self.roi_pooler = RoIPooler(
            c.roi_align_half_pixel, c.pooler_sampling_ratio, c.canonical_box_size, c.roi_pooling
        )

        heads = architecture.heads(c, self.backbone, self.roi_pooler)
        self.roi_extractor, self.box_head, self.mask_head, self.mask_loss = heads
        self.box_postprocessor = BoxPostProcessor(
            c.box_score_thresh, c.box_nms_thresh, c.box_detections_per_img, c.detection_min_box_size,
            c.class_agnostic_nms, c.bbox_reg_weights,
        )  # fmt: skip
        # channels_last: convolutions on a CPU are fastest, and RoIAlign needs no copy of the maps.
        self.to(memory_format=torch.channels_last)

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None = None, scale: float | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training (ValueError without targets), detections in evaluation. scale: see `stages`."""
        if not self.training:
            return final_output(self.stages(images, scale=scale))
        if targets is None:
            raise ValueError("in training the model needs targets; call model.eval() first to detect")
        return self.losses(images, targets, scale)

    def losses(
        self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]], scale: float | None = None
    ) -> dict[str, Tensor]:
        """The five losses, in training and in evaluation mode: L = L_cls + L_box + L_mask (sec. 3), and the RPN's two."""
        return final_output(self.stages(images, targets, scale))

    def masks(
        self, images: Sequence[Tensor], boxes: Sequence[Tensor], labels: Sequence[Tensor], scale: float | None = None
    ) -> list[Tensor]:
        """The masks of boxes that the caller gives, as a correction tool does: [N_i, 1, H, W] probabilities for each image.

        boxes: [N_i, 4] in pixels of that image; labels: [N_i] in 1..K, of which class each mask is; scale: see `stages`.
        Raises ValueError for anything else.
        """
        batch = self.transform.preprocess(images, scale)
        for i, (of_image, classes) in enumerate(zip(boxes, labels, strict=True)):
            check_boxes(of_image, classes, f"image {i}", self.config.num_classes)
        sizes = zip(boxes, batch.original_sizes, batch.sizes, strict=True)
        resized = [scale_boxes(of_image.float(), *size) for of_image, *size in sizes]
        rois = [expand(of_image, self.config.mask_roi_padding) for of_image in resized]
        pooled = self.roi_extractor.of_masks(self.backbone(batch.pixels), rois)
        predicted = self.mask_head(pooled.roi_features, torch.cat(list(labels))).probabilities()
        given = Detections(resized, list(labels), [of_image.new_ones(len(of_image)) for of_image in resized])
        return [result["masks"] for result in restore(batch, given, rois, predicted)]

    def stages(
        self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None = None, scale: float | None = None
    ) -> Iterator[Stage]:
        """Run the model and yield every stage's name and output in order; stop anywhere.

        scale: by which the images are resized; 1 for images that have the model's size already, or are parts of images that
        have. None: the shorter side of each becomes Config.min_size (3.1).

        With targets it runs the training path, in train() and eval() mode alike, and ends with ("losses", ...); without
        targets it detects and ends with ("results", ...). Gradients follow the caller's mode (`torch.no_grad`).
        """
        batch = self.transform.preprocess(images, scale)
        gt = None if targets is None else self.transform.preprocess_targets(targets, batch, self.config.num_classes)
        yield "images", batch
        features = self.backbone(batch.pixels)
        yield "features", features
        anchors = self.anchors(features.maps, image_size(batch.pixels))
        yield "anchors", anchors
        prediction = self.rpn_head(features.maps)
        yield "rpn", prediction
        select_proposals = self.test_proposals if gt is None else self.train_proposals  # more in training (FPN 5.2)
        proposals = select_proposals(prediction, anchors, batch.sizes)
        yield "proposals", proposals
        if gt is None:
            yield from self._infer_second_stage(batch, features, proposals.boxes)
            return
        yield "targets", gt
        rpn_targets = self.rpn_targets(anchors, gt.boxes)
        yield "rpn_targets", rpn_targets
        rpn_losses = rpn_loss(prediction, rpn_targets, self.config.smooth_l1_beta)
        yield "rpn_losses", rpn_losses
        yield from self._train_second_stage(features, proposals.boxes, gt, rpn_losses)

    def _infer_second_stage(self, batch: Batch, features: Features, proposals: list[Tensor]) -> Iterator[Stage]:
        """Boxes first, then masks of the detected boxes only (3.1 "Inference")."""
        roi_features = self.roi_extractor.of_boxes(features, proposals)
        yield "roi_features", roi_features
        prediction = self.box_head(roi_features.roi_features)  # [R, C, 7, 7] -> K + 1 classes
        yield "box_head", prediction
        detections = self.box_postprocessor(prediction, proposals, batch.sizes)
        yield "detections", detections
        mask_rois = [expand(boxes, self.config.mask_roi_padding) for boxes in detections.boxes]
        mask_roi_features = self.roi_extractor.of_masks(features, mask_rois)
        yield "mask_roi_features", mask_roi_features
        masks = self.mask_head(mask_roi_features.roi_features, torch.cat(detections.labels))  # [D, K, 28, 28]
        yield "mask_head", masks
        around = self.config.boxes_around_masks
        yield "results", restore(batch, detections, mask_rois, masks.probabilities(), around)

    def _train_second_stage(
        self, features: Features, proposals: list[Tensor], gt: Targets, rpn_losses: RPNLosses
    ) -> Iterator[Stage]:
        """Box and mask head in parallel on sampled RoIs (3.1 "Training")."""
        c = self.config
        rois = self.roi_sampler(proposals, gt.boxes, gt.labels)
        yield "rois", rois
        roi_features = self.roi_extractor.of_boxes(features, rois.boxes)
        yield "roi_features", roi_features
        box = self.box_head(roi_features.roi_features)  # [R, C, 7, 7] -> K + 1 classes
        yield "box_head", box
        boxes, labels, gt_boxes = torch.cat(rois.boxes), torch.cat(rois.labels), rois.matched_boxes(gt.boxes)
        box_losses = box_loss(
            box, boxes, labels, gt_boxes, c.bbox_reg_weights, c.smooth_l1_beta, c.box_easy_loss_thresh
        )
        yield "box_losses", box_losses
        positives = rois.positives(c.mask_batch_size_per_image)
        mask_rois = [expand(boxes, c.mask_roi_padding) for boxes in positives.boxes]
        mask_roi_features = self.roi_extractor.of_positives(features, mask_rois, roi_features, rois.labels)
        yield "mask_roi_features", mask_roi_features
        mask = self.mask_head(mask_roi_features.roi_features, torch.cat(positives.labels))  # [P, K, 28, 28]
        yield "mask_head", mask
        targets = mask_targets(mask_rois, positives.matched, gt.masks, c.mask_size, c.roi_align_half_pixel)
        yield "mask_targets", targets
        losses = {
            "loss_classifier": box_losses.classes,
            "loss_box_reg": box_losses.deltas,
            "loss_mask": self.mask_loss(mask, targets),
            "loss_objectness": rpn_losses.objectness,
            "loss_rpn_box_reg": rpn_losses.deltas,
        }
        yield "losses", losses


def final_output(stages: Iterator[Stage]) -> Any:
    """Run the stages to the end and return the output of the last one."""
    *_, (_, output) = stages
    return output
