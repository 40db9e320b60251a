import dataclasses
import inspect
import json

import pytest
import torch
from torchvision.models.detection import MaskRCNN as TorchvisionMaskRCNN
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.models.detection.faster_rcnn import FasterRCNN

from maskrcnn import Config

PRESETS = {
    "paper": Config(),
    "C4": Config.paper("R50-C4"),
    "lisc": Config.lisc(),
    "small": Config.small(),
    "torchvision": Config.torchvision(),
}


# Parameters of torchvision's constructors that are no fields of Config, and why.
NO_FIELD = {
    "self": "",
    "kwargs": "",
    "num_classes": "follows from class_names, which torchvision does not have",
    "backbone": "a module there, the name of a ResNet here",
    "rpn_score_thresh": "0 there: no proposal is left out for its score",
    "box_bg_iou_thresh": "what is no object is background, so it equals box_fg_iou_thresh",
    **dict.fromkeys(("rpn_anchor_generator", "rpn_head"), "a module"),
    **dict.fromkeys(("box_roi_pool", "box_head", "box_predictor"), "a module"),
    **dict.fromkeys(("mask_roi_pool", "mask_head", "mask_predictor"), "a module"),
}


@pytest.fixture(scope="module")
def theirs():
    with torch.device("meta"):
        return maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)


def test_what_torchvision_has_too_bears_its_name_and_its_default():
    parameters = {
        name: parameter.default
        for constructor in (FasterRCNN, TorchvisionMaskRCNN)
        for name, parameter in inspect.signature(constructor.__init__).parameters.items()
        if name not in NO_FIELD
    }
    assert len(parameters) > 15
    ours = Config.torchvision().to_dict()
    assert parameters.keys() <= ours.keys()
    # None stands for a value that the constructor fills in: see the next test.
    filled_in = {name for name, default in parameters.items() if default is None}
    assert filled_in == {"image_mean", "image_std", "bbox_reg_weights"}
    given = {name: default for name, default in parameters.items() if name not in filled_in}
    assert {name: ours[name] for name in given} == given


def test_the_torchvision_preset_is_what_torchvisions_modules_are_built_with(theirs):
    ours = Config.torchvision()
    transform, rpn, heads = theirs.transform, theirs.rpn, theirs.roi_heads
    assert (transform.image_mean, transform.image_std) == (list(ours.image_mean), list(ours.image_std))
    assert transform.size_divisible == ours.size_divisible
    assert rpn.anchor_generator.sizes == ours.anchor_sizes
    assert set(rpn.anchor_generator.aspect_ratios) == {ours.anchor_aspect_ratios}
    assert rpn.min_size == ours.rpn_min_box_size
    assert heads.box_coder.weights == ours.bbox_reg_weights
    assert heads.box_roi_pool.output_size == (ours.box_pooler_resolution,) * 2
    assert heads.mask_roi_pool.output_size == (ours.mask_pooler_resolution,) * 2
    for pool in (heads.box_roi_pool, heads.mask_roi_pool):
        assert (pool.sampling_ratio, pool.canonical_scale) == (ours.pooler_sampling_ratio, ours.canonical_box_size)
    assert heads.box_head.fc6.out_features == ours.box_head_dim
    assert heads.box_predictor.cls_score.out_features == ours.num_classes + 1
    assert [layer[0].out_channels for layer in heads.mask_head] == [ours.mask_head_channels] * ours.mask_head_num_convs
    assert theirs.backbone.out_channels == ours.fpn_channels


def test_the_torchvision_preset_keeps_what_old_checkpoints_were_trained_with():
    config = Config.torchvision()
    assert config.norm_eps == 0.0
    assert not config.roi_align_half_pixel
    assert config.round_anchors
    assert config.anchor_offset == 0
    assert config.num_classes == 90  # 91 with background


def test_the_paper_preset_is_aligned_and_has_anchors_in_the_middle_of_their_locations():
    config = Config()
    assert config.roi_align_half_pixel
    assert config.anchor_offset == 0.5
    assert not config.round_anchors


def test_the_default_for_smears_has_the_papers_backbone_and_heads_per_class():
    config = Config.lisc()
    assert config.backbone == "resnet50"
    assert not config.class_agnostic_boxes
    assert not config.class_agnostic_masks


def test_the_small_preset_departs_from_the_default_in_backbone_heads_and_rois():
    lisc, small = Config.lisc().to_dict(), Config.small().to_dict()
    departures = {name: value for name, value in small.items() if value != lisc[name]}
    assert departures == {
        "backbone": "resnet18", "class_agnostic_boxes": True, "class_agnostic_masks": True, "box_head_dim": 512,
        "box_batch_size_per_image": 64, "zero_init_residual": False, "masks_from_p1": False,
        "mask_batch_size_per_image": 512, "box_easy_loss_thresh": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize("config", [Config.lisc(), Config.small()], ids=["lisc", "small"])
def test_training_from_random_weights_freezes_nothing_and_uses_groupnorm(config):
    assert config.frozen_stages == 0
    assert config.norm == "groupnorm"
    assert config.fpn_norm


@pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS.keys())
def test_every_level_of_the_pyramid_has_anchors(config):
    assert len(config.anchor_sizes) == (1 if config.architecture == "c4" else 5)  # C4, or P2 to P6
    assert [size for sizes in config.anchor_sizes for size in sizes] == sorted(sum(config.anchor_sizes, ()))
    assert len(sum(config.anchor_sizes, ())) == 5  # the scales of sec. 3.1


# He et al. 2017, section -> field -> (value of the C4 models, value of the FPN models).
PAPER = {
    "3.1, Training, paragraph 1": {"box_fg_iou_thresh": (0.5, 0.5)},
    "3.1, Training, paragraph 2": {
        "min_size": (800, 800),
        "box_positive_fraction": (1 / 4, 1 / 4),  # positives to negatives as 1:3
        "box_batch_size_per_image": (64, 512),
    },
    "3.1, Training, paragraph 3": {
        "anchor_aspect_ratios": ((0.5, 1.0, 2.0), (0.5, 1.0, 2.0)),
        "anchor_sizes": (((32, 64, 128, 256, 512),), ((32,), (64,), (128,), (256,), (512,))),
    },
    "3.1, Inference": {"rpn_post_nms_top_n_test": (300, 1000), "box_detections_per_img": (100, 100)},
    "fig. 4": {
        "architecture": ("c4", "fpn"),
        "box_pooler_resolution": (14, 7),
        "mask_pooler_resolution": (14, 14),
        "mask_size": (14, 28),
        "mask_head_channels": (256, 256),
    },
    "the code of Ren et al. 2015; of Lin et al. 2017": {
        "rpn_pre_nms_top_n_train": (12000, 2000),
        "rpn_pre_nms_top_n_test": (6000, 1000),
        "rpn_post_nms_top_n_train": (2000, 2000),
    },
    "what the coarsest map needs": {"size_divisible": (16, 64)},
}


@pytest.mark.parametrize("layers", [50, 101])
@pytest.mark.parametrize("column", [0, 1], ids=["C4", "FPN"])
def test_the_papers_models_have_the_papers_numbers(layers, column):
    config = Config.paper(f"R{layers}-{('C4', 'FPN')[column]}", ["a", "b"])
    assert (config.backbone, config.class_names) == (f"resnet{layers}", ("a", "b"))
    values = {name: both[column] for fields in PAPER.values() for name, both in fields.items()}
    assert {name: getattr(config, name) for name in values} == values
    # Everything else is as in the default, which is the paper's ResNet-50-FPN.
    default = Config().to_dict()
    others = config.to_dict().keys() - values.keys() - {"backbone", "class_names"}
    assert {name: config.to_dict()[name] for name in others} == {name: default[name] for name in others}
    if (layers, column) == (50, 1):
        assert config == Config(("a", "b"))


def test_a_model_that_the_paper_does_not_have_is_refused():
    with pytest.raises(ValueError, match="no model 'R50-C5'; choose R50-C4, R101-C4, R50-FPN, R101-FPN"):
        Config.paper("R50-C5")
    with pytest.raises(ValueError, match="architecture must be fpn or c4, got 'c5'"):
        Config(architecture="c5")


@pytest.mark.parametrize(
    "change",
    [
        {"fpn_channels": 128},
        {"fpn_norm": True},
        {"canonical_box_size": 112},
        {"box_head_dim": 512},
        {"box_head_num_convs": 4},
        {"masks_from_p1": True},
        {"mask_head": "mlp"},
        {"mask_head_num_convs": 2},
        {"mask_head_norm": True},
        {"mask_roi_padding": 0.07},
        {"anchor_sizes": ((32,), (64,), (128,), (256,), (512,))},
        {"box_pooler_resolution": 7},
        {"mask_pooler_resolution": 28},
        {"box_pooler_resolution": 7, "mask_pooler_resolution": 7},
    ],
)
def test_what_a_c4_model_cannot_have_is_refused_with_the_fields_name(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} .*architecture c4"):
        Config.paper("R50-C4", **change)
    Config.paper("R50-FPN", **change)  # which has it


def test_a_c4_model_has_masks_of_the_side_of_its_rois():
    assert Config.paper("R101-C4", box_pooler_resolution=28, mask_pooler_resolution=28).mask_size == 28


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


@pytest.mark.parametrize("preset", [Config.lisc, Config.small, Config.torchvision])
def test_changes_override_the_preset(preset):
    assert preset(min_size=77, norm="batchnorm", size_divisible=128).min_size == 77
    assert preset(norm="batchnorm").norm == "batchnorm"


def test_classes_are_counted_without_background_and_masks_are_twice_their_roi():
    assert Config.lisc(["a", "b", "c"]).num_classes == 3
    assert Config.lisc(["a", "b", "c"]).class_names == ("a", "b", "c")
    assert Config(mask_pooler_resolution=14).mask_size == 28


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": ()}, "class_names"),
        ({"class_names": "basophil"}, "class_names"),
        ({"anchor_sizes": ()}, "anchor_sizes"),
        ({"anchor_sizes": (16, 32)}, "anchor_sizes"),
        ({"min_size": 0}, "min_size must be 1 or more, got 0"),
        ({"box_batch_size_per_image": -1}, "box_batch_size_per_image"),
        ({"fpn_channels": 100}, r"multiple of norm_groups \(32\)"),
    ],
)
def test_what_no_model_can_be_built_from_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Config.lisc(**change) if "class_names" not in change else Config(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"rpn_pre_nms_top_n_test": -1},
        {"rpn_post_nms_top_n_test": 0},
        {"bbox_reg_weights": (10, 10, 5)},
        {"mask_interpolation": "cubic"},
    ],
)
def test_what_would_fail_only_at_the_first_validation_is_refused_at_once(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        Config.lisc(**change)
