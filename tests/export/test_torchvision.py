"""What is exported for torchvision, loaded and run by torchvision."""

import importlib.util
import json
from dataclasses import replace

import pytest
import torch
from torchvision.models.detection import maskrcnn_resnet50_fpn

from benchmarks.speed.torchvision_pair import both, smooth_images
from maskrcnn import Config, MaskRCNN
from maskrcnn.export import export_torchvision
from maskrcnn.export.torchvision import torchvision_name
from maskrcnn.weights import load_checkpoint, translate

TINY = {
    "backbone": "resnet18",
    "fpn_channels": 32,
    "box_head_dim": 32,
    "mask_head_channels": 16,
    "min_size": 96,
    "max_size": 160,
    "rpn_post_nms_top_n_test": 100,
    "box_score_thresh": 0.3,
}


def load_module(path):
    spec = importlib.util.spec_from_file_location("exported", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@torch.inference_mode()
def assert_the_same_detections(ours, theirs, images):
    """Within the tolerances of tests/test_against_torchvision.py. Masks are compared before they are pasted, which
    torchvision does with whole pixels."""
    logits = []
    theirs.roi_heads.mask_predictor.register_forward_hook(lambda _module, _inputs, output: logits.append(output))
    for image in images:
        stages = dict(ours.stages([image]))
        (actual,), (expected,) = theirs([image]), stages["results"]
        assert len(expected["scores"]) >= 10
        assert actual["labels"].tolist() == expected["labels"].tolist()
        torch.testing.assert_close(actual["boxes"], expected["boxes"], atol=1e-2, rtol=0)
        torch.testing.assert_close(actual["scores"], expected["scores"], atol=1e-4, rtol=0)
        masks = logits.pop()[torch.arange(len(actual["labels"])), actual["labels"]]
        torch.testing.assert_close(masks, stages["mask_head"].select_class(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "config",
    [
        Config.torchvision(6, **TINY),
        Config.torchvision_v2(6, **TINY),
        Config.torchvision_v2(
            6,
            **{**TINY, "size_divisible": 64},
            norm="groupnorm",
            norm_groups=8,
            round_anchors=False,
            anchor_offset=0.5,
            anchor_sizes=((10, 20), (30, 40), (50, 60), (70, 80), (90, 100)),
            anchor_aspect_ratios=(0.6, 1.5),
            box_head_num_convs=2,
            mask_head_num_convs=3,
            box_pooler_resolution=5,
            mask_pooler_resolution=10,
            pooler_sampling_ratio=0,
            canonical_box_size=30,
            class_agnostic_boxes=True,
            class_agnostic_masks=True,
            rpn_min_box_size=12.0,
            bbox_reg_weights=(5, 5, 3, 3),
            image_mean=(0.3, 0.4, 0.5),
            box_detections_per_img=20,
        ),
    ],
    ids=["first", "second", "unusual"],
)
def test_the_module_that_is_written_detects_as_the_model_does(config, scattered, tmp_path):
    model = scattered(config)
    files = export_torchvision(model, tmp_path / "m.pth")
    assert [path.name for path in files] == ["m.pth", "m.json", "m.py"]
    assert all(path.is_file() for path in files)
    theirs = load_module(tmp_path / "m.py").load()
    assert not theirs.training
    assert_the_same_detections(model, theirs, smooth_images((96, 128), (160, 96), (192, 320)))


def test_the_full_size_is_loaded_by_torchvisions_own_function_with_all_its_names(tmp_path):
    theirs, ours = both(6, 160, 256)
    export_torchvision(ours, tmp_path / "m.pth")
    state = torch.load(tmp_path / "m.pth", weights_only=True)
    expected = theirs.state_dict()
    background = "roi_heads.mask_predictor.mask_fcn_logits."  # of its mask, which is never read
    for name, value in state.items():
        assert (value[1:].equal(expected[name][1:])) if name.startswith(background) else value.equal(expected[name]), (
            name
        )
    assert state.keys() == expected.keys()
    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=6)
    model.load_state_dict(state, strict=True)
    assert_the_same_detections(ours, load_module(tmp_path / "m.py").load(), smooth_images((160, 224)))


@pytest.mark.parametrize("config", [Config.torchvision(6, **TINY), Config.torchvision_v2(6, **TINY)], ids=["1", "2"])
def test_every_name_is_the_one_that_is_read_back(config):
    for name, value in MaskRCNN(config).state_dict().items():
        assert translate(torchvision_name(name, config.box_head_num_convs), value)[0] == name


def test_what_is_written_is_read_back_as_a_checkpoint(scattered, tmp_path):
    config = Config.torchvision(6, backbone="resnet18", min_size=96, max_size=160)
    model = scattered(config)
    export_torchvision(model, tmp_path / "m.pth")
    read, _ = load_checkpoint(tmp_path / "m.pth")
    assert all(value.equal(read.state_dict()[name]) for name, value in model.state_dict().items())
    described = json.loads((tmp_path / "m.json").read_text())
    assert described["class_names"] == ["1", "2", "3", "4", "5"]
    assert described["arguments"]["min_size"] == 96


WITHOUT = {
    "roi_align_half_pixel": True,
    "antialias": True,
    "masks_from_p1": True,
    "mask_roi_padding": 0.07,
    "boxes_around_masks": True,
    "class_agnostic_nms": True,
    "detection_min_box_size": 3.0,
    "rpn_conv_channels": 16,
    "anchor_offset": 0.5,
    "roi_pooling": "crop_and_resize",
    "pool_padding_at_end": True,
}


def test_every_field_without_a_counterpart_is_named_with_its_value(tmp_path):
    model = MaskRCNN(replace(Config.torchvision(6, **TINY), **WITHOUT))
    with pytest.raises(ValueError, match="--preset torchvision") as refused:
        export_torchvision(model, tmp_path / "m.pth")
    assert {name: f"{name}={value!r}" in str(refused.value) for name, value in WITHOUT.items()} == dict.fromkeys(
        WITHOUT, True
    )
    assert "min_size" not in str(refused.value).replace("detection_min_box_size", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "value"), WITHOUT.items())
def test_a_single_field_without_a_counterpart_is_refused(name, value, tmp_path):
    model = MaskRCNN(replace(Config.torchvision(6, **TINY), **{name: value}))
    with pytest.raises(ValueError, match=f"no counterpart of {name}="):
        export_torchvision(model, tmp_path / "m.pth")


def test_a_stride_in_the_1x1_is_refused_only_where_there_is_one(tmp_path):
    small = Config.torchvision(6, **TINY, stride_in_1x1=True)
    export_torchvision(MaskRCNN(small), tmp_path / "m.pth")
    with pytest.raises(ValueError, match="stride_in_1x1=True"):
        export_torchvision(MaskRCNN(replace(small, backbone="resnet50")), tmp_path / "n.pth")


def test_the_c4_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="architecture='c4'"):
        export_torchvision(MaskRCNN(Config.paper("R50-C4", backbone="resnet18")), tmp_path / "m.pth")
