"""Checkpoints of version 0.1.0 load."""

import dataclasses

import pytest
import torch

from maskrcnn import Config, MaskRCNN
from maskrcnn.weights import load_checkpoint, preset_for
from maskrcnn.weights.version_0_1 import RENAMED, SPLIT, current_names

# What Config.small() of 0.1.0 wrote, as far as its names or values differ from the defaults of today.
OLD = {
    "class_names": ("a", "b"), "min_size": 64, "max_size": 96, "size_divisor": 32, "mask_resize": "nearest",
    "antialias": True,
    "backbone": "resnet18", "norm": "groupnorm", "fpn_norm": True, "fpn_channels": 32, "frozen_stages": 0,
    "anchor_ratios": (0.5, 1.0, 2.0), "anchor_rounded": True, "rpn_batch": 64, "rpn_pre_nms": (500, 250),
    "rpn_post_nms": (250, 100), "roi_aligned": False, "roi_batch": 32, "box_head_width": 16, "box_weights": (1, 1, 1, 1),
    "mask_head_width": 16, "mask_head_depth": 2, "mask_margin": 0.07, "score_threshold": 0.2, "detections_per_image": 7,
}  # fmt: skip


def test_every_new_name_is_a_field_and_no_old_one_is():
    fields = {field.name for field in dataclasses.fields(Config)}
    assert set(RENAMED.values()) | {name for names in SPLIT.values() for name in names} <= fields
    assert not (RENAMED.keys() | SPLIT.keys()) & fields


def test_a_checkpoint_of_0_1_0_gives_the_model_that_it_was(tmp_path):
    config = Config.from_dict(current_names(OLD))
    assert (config.rpn_pre_nms_top_n_train, config.rpn_pre_nms_top_n_test) == (500, 250)
    assert (config.rpn_post_nms_top_n_train, config.rpn_post_nms_top_n_test) == (250, 100)
    assert (config.mask_roi_padding, config.box_score_thresh, config.box_detections_per_img) == (0.07, 0.2, 7)
    torch.manual_seed(0)
    saved = MaskRCNN(config)
    torch.save({"config": OLD, "model": saved.state_dict(), "history": []}, tmp_path / "best.pt")
    loaded, extra = load_checkpoint(tmp_path)
    assert loaded.config == config
    assert extra == {"history": []}
    assert all(torch.equal(value, saved.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_names_of_today_stay():
    assert current_names(Config.small().to_dict()) == Config.small().to_dict()


def test_a_name_of_neither_version_is_refused(tmp_path):
    torch.save({"config": {**OLD, "depth": 3}, "model": {}}, tmp_path / "best.pt")
    with pytest.raises(ValueError, match="unknown depth"):
        load_checkpoint(tmp_path)


def test_training_starts_with_the_config_of_a_checkpoint_of_0_1_0(tmp_path):
    torch.save({"config": OLD, "model": {"rpn_head.deltas.bias": torch.zeros(12)}}, tmp_path / "best.pt")
    assert preset_for(tmp_path / "best.pt")[1] == Config.from_dict(current_names(OLD))
    torch.save({"config": {"learning_rate": 1}, "model": {}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt: a checkpoint of another version .*unknown learning_rate"):
        preset_for(tmp_path / "other.pt")
