import dataclasses
import inspect
import json

import pytest
from torchvision.models.detection import MaskRCNN as TorchvisionMaskRCNN
from torchvision.models.detection.faster_rcnn import FasterRCNN

from maskrcnn import Config

PRESETS = {"paper": Config(), "lisc": Config.lisc(), "torchvision": Config.torchvision()}


def test_the_torchvision_preset_has_the_defaults_of_torchvisions_constructors():
    theirs = {
        name: parameter.default
        for constructor in (FasterRCNN, TorchvisionMaskRCNN)
        for name, parameter in inspect.signature(constructor.__init__).parameters.items()
    }
    ours = Config.torchvision()
    assert (ours.min_size, ours.max_size) == (theirs["min_size"], theirs["max_size"])
    assert ours.rpn_pre_nms == (theirs["rpn_pre_nms_top_n_train"], theirs["rpn_pre_nms_top_n_test"])
    assert ours.rpn_post_nms == (theirs["rpn_post_nms_top_n_train"], theirs["rpn_post_nms_top_n_test"])
    same = {
        "rpn_nms_threshold": "rpn_nms_thresh",
        "rpn_positive_iou": "rpn_fg_iou_thresh",
        "rpn_negative_iou": "rpn_bg_iou_thresh",
        "rpn_batch": "rpn_batch_size_per_image",
        "rpn_positive_fraction": "rpn_positive_fraction",
        "roi_positive_iou": "box_fg_iou_thresh",
        "roi_batch": "box_batch_size_per_image",
        "roi_positive_fraction": "box_positive_fraction",
        "score_threshold": "box_score_thresh",
        "detection_nms_threshold": "box_nms_thresh",
        "detections_per_image": "box_detections_per_img",
    }
    assert {name: getattr(ours, name) for name in same} == {name: theirs[their] for name, their in same.items()}


def test_the_torchvision_preset_keeps_what_old_checkpoints_were_trained_with():
    config = Config.torchvision()
    assert config.norm_eps == 0.0
    assert not config.roi_aligned
    assert config.anchor_rounded
    assert config.anchor_offset == 0
    assert config.num_classes == 90  # 91 with background


def test_the_paper_preset_is_aligned_and_at_cell_centres():
    config = Config()
    assert config.roi_aligned
    assert config.anchor_offset == 0.5
    assert not config.anchor_rounded


def test_training_from_random_weights_freezes_nothing_and_uses_groupnorm():
    config = Config.lisc()
    assert config.frozen_stages == 0
    assert config.norm == "groupnorm"
    assert config.fpn_norm


@pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS.keys())
def test_every_level_of_the_pyramid_has_anchors(config):
    assert len(config.anchor_sizes) == 5  # P2 to P6


@pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS.keys())
def test_a_config_survives_json(config):
    restored = Config.from_dict(json.loads(json.dumps(config.to_dict())))
    assert restored == config
    assert hash(restored) == hash(config)  # lists would not hash


def test_a_change_survives_json():
    config = Config.lisc(["red", "white"], min_size=123, anchor_sizes=((8, 16),) * 5)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config != Config.lisc(["red", "white"], min_size=123)


def test_from_dict_names_the_fields_that_no_config_has():
    with pytest.raises(ValueError, match="unknown learning_rate, momentum"):
        Config.from_dict({**Config().to_dict(), "momentum": 0.9, "learning_rate": 0.1})


def test_a_config_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().min_size = 400
    assert dataclasses.replace(Config(), min_size=400).min_size == 400


@pytest.mark.parametrize("preset", [Config.lisc, Config.torchvision])
def test_changes_go_before_the_preset(preset):
    assert preset(min_size=77, norm="batchnorm", size_divisor=128).min_size == 77
    assert preset(norm="batchnorm").norm == "batchnorm"


def test_classes_are_counted_without_background_and_masks_are_twice_their_roi():
    assert Config.lisc(["a", "b", "c"]).num_classes == 3
    assert Config.lisc(["a", "b", "c"]).class_names == ("a", "b", "c")
    assert Config(mask_roi_size=14).mask_size == 28


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": ()}, "class_names"),
        ({"class_names": "basophil"}, "class_names"),
        ({"anchor_sizes": ()}, "anchor_sizes"),
        ({"anchor_sizes": (16, 32)}, "anchor_sizes"),
        ({"min_size": 0}, "min_size must be 1 or more, got 0"),
        ({"roi_batch": -1}, "roi_batch"),
        ({"fpn_channels": 100}, r"multiple of norm_groups \(32\)"),
    ],
)
def test_what_no_model_can_be_built_from_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Config.lisc(**change) if "class_names" not in change else Config(**change)


@pytest.mark.parametrize("change", [{"rpn_pre_nms": (500,)}, {"box_weights": (10, 10, 5)}, {"mask_resize": "cubic"}])
def test_what_would_fail_only_at_the_first_validation_is_refused_at_once(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        Config.lisc(**change)
