"""Every threshold and number of the Config reaches the stage that it is for, and no other."""

import dataclasses

import pytest
import torch

from maskrcnn import Config, MaskRCNN


@pytest.fixture(scope="module")
def model():
    """Every value differs from all others."""
    return MaskRCNN(
        Config(
            ("a", "b"), backbone="resnet18", norm="groupnorm", frozen_stages=0, fpn_channels=32,
            rpn_fg_iou_thresh=0.71, rpn_bg_iou_thresh=0.31, rpn_batch_size_per_image=41, rpn_positive_fraction=0.42,
            rpn_pre_nms_top_n_train=101, rpn_pre_nms_top_n_test=102, rpn_post_nms_top_n_train=103,
            rpn_post_nms_top_n_test=104, rpn_nms_thresh=0.72, rpn_min_box_size=1.5, box_fg_iou_thresh=0.51,
            box_batch_size_per_image=51, box_positive_fraction=0.26, pooler_sampling_ratio=3, canonical_box_size=111.0,
            box_pooler_resolution=5, box_head_dim=17, bbox_reg_weights=(1, 2, 3, 4), mask_pooler_resolution=6,
            mask_head_channels=19, mask_head_num_convs=3, box_score_thresh=0.06, box_nms_thresh=0.52,
            box_detections_per_img=61, detection_min_box_size=2.5, class_agnostic_nms=True,
        )
    )  # fmt: skip


def test_the_rpn(model):
    for selector, pre, post in ((model.train_proposals, 101, 103), (model.test_proposals, 102, 104)):
        assert (selector.pre_nms_top_n, selector.post_nms_top_n) == (pre, post)
        assert (selector.nms_thresh, selector.min_size) == (0.72, 1.5)
    targets = model.rpn_targets
    assert (targets.fg_iou_thresh, targets.bg_iou_thresh) == (0.71, 0.31)
    assert (targets.sampler.batch_size_per_image, targets.sampler.positive_fraction) == (41, 0.42)


def test_the_rois(model):
    sampler = model.roi_sampler
    assert sampler.fg_iou_thresh == 0.51
    assert (sampler.sampler.batch_size_per_image, sampler.sampler.positive_fraction) == (51, 0.26)
    pooler = model.roi_pooler
    assert (pooler.aligned, pooler.sampling_ratio, pooler.canonical_box_size) == (True, 3, 111.0)


def test_the_heads(model):
    assert model.box_head.fc1.in_features == 32 * 5 * 5
    assert model.box_head.fc2.out_features == 17
    assert [conv.out_channels for conv in model.mask_head.convs] == [19] * 3
    processor = model.box_postprocessor
    assert (processor.score_thresh, processor.nms_thresh, processor.detections_per_img) == (0.06, 0.52, 61)
    assert (processor.min_size, processor.class_agnostic_nms, processor.reg_weights) == (2.5, True, (1, 2, 3, 4))


def test_the_backbone(model):
    assert model.backbone.p1 is None
    blocks = [block.last_scale for block in model.backbone.resnet.res3]
    assert all(weight.eq(1).all() for weight in blocks)
    changed = MaskRCNN(Config.small(zero_init_residual=True, masks_from_p1=True)).backbone
    assert changed.p1 is not None
    assert all(block.last_scale.eq(0).all() for block in changed.resnet.res3)
    with pytest.raises(ValueError, match="zero_init_residual needs a norm that is trained"):
        Config(zero_init_residual=True)


def test_results_have_the_boxes_of_detections_or_of_masks():
    torch.manual_seed(0)
    config = Config.small(min_size=64, max_size=96, box_score_thresh=0.0)
    assert config.boxes_around_masks
    around = MaskRCNN(config).eval()
    detected = MaskRCNN(dataclasses.replace(config, boxes_around_masks=False)).eval()
    detected.load_state_dict(around.state_dict())
    image = torch.rand(3, 40, 60)
    with torch.no_grad():
        ours, theirs = around([image])[0], detected([image])[0]
        boxes = dict(detected.stages([image]))["detections"].boxes[0]
    torch.testing.assert_close(theirs["boxes"], boxes * 40 / 64)  # 64 pixels of the resized image are 40 of this one
    for name in ("masks", "labels", "scores"):
        assert ours[name].equal(theirs[name])
    seen = 0
    for mask, box, own in zip(ours["masks"][:, 0] > 0.5, ours["boxes"].tolist(), theirs["boxes"].tolist(), strict=True):
        rows, columns = torch.where(mask)
        extent = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else own
        assert box == [float(edge) for edge in extent]
        seen += len(rows) > 0
    assert seen


def test_convolutions_are_laid_out_for_the_cpu(model):
    """Otherwise the results are the same, but a training step takes longer and RoIAlign copies the maps."""
    for conv in (model.backbone.resnet.stem.conv, model.backbone.fpn.output[0][0], model.rpn_head.conv):
        assert conv.weight.is_contiguous(memory_format=torch.channels_last)
