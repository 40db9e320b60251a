"""detectron2's files against torchvision's modules that were given detectron2's conventions, and against loops in numpy."""

import math
import pickle
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models.detection import MaskRCNN as TorchvisionMaskRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.resnet import resnet50, resnet101
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign, roi_align

from benchmarks.speed.torchvision_pair import scatter_weights, smooth_images
from maskrcnn import Config, MaskRCNN
from maskrcnn.weights.coco import COCO_CLASSES
from maskrcnn.weights.detectron2 import is_detectron2, read_detectron2

CLASSES, CHANNELS, HIDDEN = 5, 32, 48  # without background; narrow heads, to be quick
SIZES, RATIOS = (32, 64, 128, 256, 512), (0.5, 1.0, 2.0)
BGR_MEAN = (103.53, 116.28, 123.675)

# torchvision's names -> detectron2's, for what has no number that changes.
THEIR_NAMES = (
    (r"^backbone\.body\.conv1\.", "backbone.bottom_up.stem.conv1."),
    (r"^backbone\.body\.bn1\.", "backbone.bottom_up.stem.conv1.norm."),
    (r"^(backbone\.body\.layer\d\.\d+)\.bn(\d)\.", r"\1.conv\2.norm."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
    (r"^rpn\.head\.conv\.0\.0\.", "proposal_generator.rpn_head.conv."),
    (r"^rpn\.head\.cls_logits\.", "proposal_generator.rpn_head.objectness_logits."),
    (r"^rpn\.head\.bbox_pred\.", "proposal_generator.rpn_head.anchor_deltas."),
    (r"^roi_heads\.box_head\.fc6\.", "roi_heads.box_head.fc1."),
    (r"^roi_heads\.box_head\.fc7\.", "roi_heads.box_head.fc2."),
    (r"^roi_heads\.mask_predictor\.conv5_mask\.", "roi_heads.mask_head.deconv."),
    (r"^roi_heads\.mask_predictor\.mask_fcn_logits\.", "roi_heads.mask_head.predictor."),
)


def their_name(name):
    for pattern, replacement in THEIR_NAMES:
        name = re.sub(pattern, replacement, name)
    name = re.sub(r"^backbone\.body\.layer(\d)", lambda m: f"backbone.bottom_up.res{int(m[1]) + 1}", name)
    name = re.sub(r"^backbone\.fpn\.inner_blocks\.(\d)\.0", lambda m: f"backbone.fpn_lateral{int(m[1]) + 2}", name)
    name = re.sub(r"^backbone\.fpn\.layer_blocks\.(\d)\.0", lambda m: f"backbone.fpn_output{int(m[1]) + 2}", name)
    return re.sub(r"^roi_heads\.mask_head\.(\d)\.0", lambda m: f"roi_heads.mask_head.mask_fcn{int(m[1]) + 1}", name)


def in_detectron2s_conventions(state):
    """A state dict of torchvision's model -> the arrays of detectron2's file of the same model."""
    arrays = {}
    for name, value in state.items():
        if name.startswith("roi_heads.box_predictor.cls_score"):
            value = torch.cat([value[1:], value[:1]])  # background is the last class
        elif name.startswith("roi_heads.box_predictor.bbox_pred"):
            value = value[4:]  # and has no box
        elif name.startswith("roi_heads.mask_predictor.mask_fcn_logits"):
            value = value[1:]  # nor a mask
        arrays[their_name(name)] = value.numpy()
    return arrays


def base_anchors(sizes, ratios=RATIOS):
    """detectron2's order at a location: sizes, then aspect ratios. [A_location, 4], unrounded, in float64."""
    boxes = []
    for size in sizes:
        for ratio in ratios:
            width = math.sqrt(size * size / ratio)
            height = width * ratio
            boxes.append([-width / 2, -height / 2, width / 2, height / 2])
    return np.array(boxes)


def stride_in_1x1(resnet):
    """As MSRA's ResNets have it; torchvision's have it in the 3x3."""
    for layer in (resnet.layer2, resnet.layer3, resnet.layer4):
        layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    return resnet


class AlignedPooler(MultiScaleRoIAlign):
    """detectron2's ROIAlignV2 over the levels of an FPN: half a pixel to the left of torchvision's, one sample per pixel."""

    def __init__(self, size):
        super().__init__(["0", "1", "2", "3"], size, 0)

    def forward(self, features, boxes, image_shapes):
        maps = [features[str(level)] for level in range(4)]
        pooled = []
        for image, of_image in enumerate(boxes):
            for box in of_image:
                side = math.sqrt(float((box[2] - box[0]) * (box[3] - box[1])))
                level = min(3, max(0, math.floor(4 + math.log2(side / 224 + 1e-8)) - 2))
                rois = [box[None]] if image == 0 else [box.new_zeros(0, 4)] * image + [box[None]]
                rois += [box.new_zeros(0, 4)] * (len(boxes) - len(rois))
                pooled.append(roi_align(maps[level], rois, self.output_size, 2.0 ** -(level + 2), 0, aligned=True))
        return torch.cat(pooled) if pooled else maps[0].new_zeros(0, maps[0].shape[1], *self.output_size)


@pytest.fixture(scope="module")
def theirs():
    """torchvision's Mask R-CNN on BGR pixels, with the stride in the 1x1, anchors that are not rounded, and aligned RoIs."""
    torch.manual_seed(0)
    resnet = stride_in_1x1(resnet50(weights=None, norm_layer=partial(FrozenBatchNorm2d, eps=1e-5)))
    layers = {f"layer{n + 1}": str(n) for n in range(4)}
    backbone = BackboneWithFPN(resnet, layers, [256, 512, 1024, 2048], CHANNELS)
    model = TorchvisionMaskRCNN(
        backbone,
        min_size=256,
        max_size=427,
        image_mean=[value / 255 for value in BGR_MEAN],
        image_std=[1 / 255] * 3,
        box_roi_pool=AlignedPooler(7),
        box_head=TwoMLPHead(CHANNELS * 49, HIDDEN),
        box_predictor=FastRCNNPredictor(HIDDEN, CLASSES + 1),
        mask_roi_pool=AlignedPooler(14),
        mask_head=MaskRCNNHeads(CHANNELS, (HIDDEN,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(HIDDEN, HIDDEN, CLASSES + 1),
    )
    scatter_weights(model, CLASSES + 1)
    with torch.no_grad():
        resnet.conv1.weight.div_(58)  # which takes pixels of 0..255, not of unit variance
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):  # so that mixing biases up would show
                nn.init.uniform_(parameter, -0.2, 0.2)
    anchors = [torch.tensor(base_anchors([size])).float() for size in SIZES]
    model.rpn.anchor_generator.cell_anchors = anchors
    spread_the_classes(model.eval())
    return model


@torch.no_grad()
def spread_the_classes(model):
    """Let no class win everywhere: the logits' mean over some RoIs becomes 0, and their deviation 3."""
    seen, layer = [], model.roi_heads.box_predictor.cls_score
    hook = layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    model(smooth_images((128, 160)))
    hook.remove()
    mean, std = seen[0].mean(dim=0), seen[0].std(dim=0) / 3
    layer.weight.div_(std[:, None])
    layer.bias.sub_(mean).div_(std)


@pytest.fixture(scope="module")
def arrays(theirs):
    return in_detectron2s_conventions(theirs.state_dict())


@pytest.fixture
def write(tmp_path):
    """(content) -> the path of a pickle of it."""

    def make(content, name="model_final_a54504.pkl"):
        path = tmp_path / name
        path.write_bytes(pickle.dumps(content, protocol=2))
        return path

    return make


def absolute(ours, expected):
    assert ours.shape == expected.shape
    return float((ours - expected).abs().max())


@torch.inference_mode()
def test_a_model_of_the_zoo_detects_what_torchvisions_modules_do_in_its_conventions(theirs, arrays, write):
    content = {"model": arrays, "__author__": "Detectron2 Model Zoo", "matching_heuristics": False}
    config, state, unused = read_detectron2(write(content))
    assert unused == []
    ours = MaskRCNN(replace(config, min_size=256, max_size=427)).eval()
    ours.load_state_dict(state)
    images = smooth_images((128, 160), (160, 128))
    recorded = {}
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: recorded.__setitem__(name, output))
        for name, module in {"maps": theirs.backbone, "masks": theirs.roi_heads.mask_predictor}.items()
    ]
    expected = theirs([image.flip(0) for image in images])  # BGR
    for hook in hooks:
        hook.remove()
    stages = dict(ours.stages(images))
    differences = {
        name: absolute(level, their_level) / float(their_level.abs().max())
        for name, level, their_level in zip(
            stages["features"].names, stages["features"].maps, recorded["maps"].values(), strict=True
        )
    }
    assert [r["labels"].tolist() for r in stages["results"]] == [r["labels"].tolist() for r in expected]
    labels = torch.cat([r["labels"] for r in expected])
    assert len(labels) >= 20  # else the rest would say little
    assert labels.unique().tolist() == [1, 2, 3, 4, 5]
    for field in ("boxes", "scores"):
        pairs = zip(stages["results"], expected, strict=True)
        differences[field] = max(absolute(a[field], b[field]) for a, b in pairs)
    logits = recorded["masks"][torch.arange(len(labels)), labels]  # theirs has a mask of background at channel 0
    differences["masks"] = absolute(stages["mask_head"].select_class(), logits)
    print(differences)
    allowed = dict.fromkeys(differences, 1e-4) | {"boxes": 1e-2, "masks": 1e-3}
    assert {name: value for name, value in differences.items() if value > allowed[name]} == {}


def test_files_of_every_kind_and_their_content_are_read_alike(arrays, tmp_path, write):
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    torch.save({"model": tensors, "optimizer": {"state": {}}, "iteration": 9}, tmp_path / "model_final.pth")
    config, expected, _ = read_detectron2(tensors)
    sources = [write(arrays), str(tmp_path / "model_final.pth"), {"model": arrays, "__author__": "Someone"}]
    for source in sources:
        other_config, state, _ = read_detectron2(source)
        assert other_config == config
        assert state.keys() == expected.keys()
        assert all(state[name].equal(expected[name]) for name in state)


def test_the_config_has_detectron2s_numbers_and_what_the_shapes_tell(arrays):
    config, _, _ = read_detectron2(arrays)
    expected = {  # configs/Base-RCNN-FPN.yaml and detectron2/config/defaults.py
        "architecture": "fpn",
        "backbone": "resnet50",
        "class_names": ("1", "2", "3", "4", "5"),
        "stride_in_1x1": True,
        "norm": "frozen_batchnorm",
        "norm_eps": 1e-5,
        "fpn_channels": CHANNELS,
        "box_head_dim": HIDDEN,
        "mask_head_channels": HIDDEN,
        "mask_head_num_convs": 4,
        "box_pooler_resolution": 7,
        "mask_pooler_resolution": 14,
        "min_size": 800,
        "max_size": 1333,
        "size_divisible": 64,  # P6 then has the stride 64, which detectron2's anchors take it to have
        "anchor_sizes": ((32,), (64,), (128,), (256,), (512,)),
        "anchor_aspect_ratios": RATIOS,
        "anchor_offset": 0.0,
        "round_anchors": False,
        "rpn_pre_nms_top_n_train": 2000,
        "rpn_pre_nms_top_n_test": 1000,
        "rpn_post_nms_top_n_train": 1000,
        "rpn_post_nms_top_n_test": 1000,
        "rpn_nms_thresh": 0.7,
        "roi_align_half_pixel": True,
        "pooler_sampling_ratio": 0,
        "bbox_reg_weights": (10, 10, 5, 5),
        "smooth_l1_beta": 0.0,
        "box_score_thresh": 0.05,
        "box_nms_thresh": 0.5,
        "box_detections_per_img": 100,
    }
    assert {name: getattr(config, name) for name in expected} == expected
    assert config.image_mean == pytest.approx([123.675 / 255, 116.28 / 255, 103.53 / 255], abs=1e-6)
    assert config.image_std == pytest.approx([1 / 255] * 3, abs=1e-8)


def test_images_are_made_smaller_as_pillow_does_it(arrays):
    """detectron2 resizes 8-bit images with Pillow's bilinear filter."""
    config, _, _ = read_detectron2(arrays)
    transform = MaskRCNN(replace(config, min_size=32, max_size=64)).transform
    image = torch.randint(0, 256, (3, 96, 120), generator=torch.Generator().manual_seed(5)).float()
    batch = transform.preprocess([image / 255])
    height, width = batch.sizes[0]
    pixels = Image.fromarray(image.byte().permute(1, 2, 0).numpy())
    expected = np.asarray(pixels.resize((width, height), Image.Resampling.BILINEAR), np.float32)
    ours = batch.pixels[0, :, :height, :width].permute(1, 2, 0).flip(2) + torch.tensor(BGR_MEAN)  # BGR, 0..255
    assert np.abs(ours.numpy() - expected[..., ::-1]).max() < 1.01  # Pillow rounds to whole numbers, twice


def test_background_is_the_first_class_here_and_has_neither_box_nor_mask(arrays):
    _, state, _ = read_detectron2(arrays)
    logits = arrays["roi_heads.box_predictor.cls_score.weight"]
    np.testing.assert_array_equal(state["box_head.class_logits.weight"][0], logits[CLASSES])
    np.testing.assert_array_equal(state["box_head.class_logits.weight"][1:], logits[:CLASSES])
    deltas = arrays["roi_heads.box_predictor.bbox_pred.bias"]
    assert state["box_head.box_deltas.bias"][:4].tolist() == [0] * 4
    np.testing.assert_array_equal(state["box_head.box_deltas.bias"][4:], deltas)
    masks = arrays["roi_heads.mask_head.predictor.weight"]
    np.testing.assert_array_equal(state["mask_head.mask_logits.weight"], masks)


def test_the_stem_reads_rgb_where_theirs_reads_bgr(arrays):
    _, state, _ = read_detectron2(arrays)
    theirs = arrays["backbone.bottom_up.stem.conv1.weight"]
    for ours, blue_green_red in ((0, 2), (1, 1), (2, 0)):
        np.testing.assert_array_equal(state["backbone.resnet.stem.conv.weight"][:, ours], theirs[:, blue_green_red])


def test_a_model_of_other_pixels_is_read_with_its_own_mean(arrays):
    mean, std = np.array([10.0, 20, 30], np.float32), np.array([1.0, 2, 4], np.float32)
    changed = {**arrays, "pixel_mean": mean.reshape(3, 1, 1), "pixel_std": std.reshape(3, 1, 1)}
    config, _, unused = read_detectron2(changed)
    assert unused == []
    assert config.image_mean == pytest.approx([30 / 255, 20 / 255, 10 / 255], abs=1e-6)
    assert config.image_std == pytest.approx([4 / 255, 2 / 255, 1 / 255], abs=1e-6)


def test_a_model_trained_from_torchvisions_backbone_keeps_its_rgb_stem_and_its_stride(arrays):
    mean, std = np.array([123.675, 116.28, 103.53], np.float32), np.array([58.395, 57.12, 57.375], np.float32)
    config, state, _ = read_detectron2({**arrays, "pixel_mean": mean, "pixel_std": std})
    assert not config.stride_in_1x1
    assert config.image_mean == pytest.approx([0.485, 0.456, 0.406], abs=1e-6)
    assert config.image_std == pytest.approx([0.229, 0.224, 0.225], abs=1e-6)
    theirs = arrays["backbone.bottom_up.stem.conv1.weight"]
    np.testing.assert_array_equal(state["backbone.resnet.stem.conv.weight"], theirs)


def cell_anchors(sizes_of_levels, ratios):
    prefix = "proposal_generator.anchor_generator.cell_anchors"
    levels = [base_anchors(sizes, ratios).astype(np.float32) for sizes in sizes_of_levels]
    return {f"{prefix}.{number}": level for number, level in enumerate(levels)}


def test_the_anchors_of_an_older_file_are_read_from_it(arrays):
    sizes, ratios = [(4.5, 6.0), (9.0, 12.0), (17.0, 24.0), (31.0, 48.0), (64.0, 96.0)], (1 / 3, 1.0, 4.0)
    wider = {name: value for name, value in arrays.items() if "objectness" in name or "anchor_deltas" in name}
    wider = {name: np.concatenate([value, value]) for name, value in wider.items()}
    config, _, unused = read_detectron2({**arrays, **wider, **cell_anchors(sizes, ratios)})
    assert unused == []
    assert config.anchor_sizes == tuple(sizes)
    assert config.anchor_aspect_ratios == pytest.approx(ratios, rel=1e-5)


def test_anchors_that_do_not_fit_or_are_not_told_are_refused(arrays):
    for changed, message in (
        (cell_anchors([(32,)] * 4, RATIOS), "anchors do not fit an RPN with 3 per location on 5 maps"),
        (cell_anchors([(32,)] * 5, (0.5, 1.0)), "anchors do not fit an RPN"),
        ({**cell_anchors([(32,)] * 5, RATIOS), **dict.fromkeys(cell_anchors([(8,)] * 2, RATIOS), np.eye(3, 4))}, "not"),
    ):
        with pytest.raises(ValueError, match=f"the state dict: .*{message}"):
            read_detectron2({**arrays, **changed})
    wider = {name: np.concatenate([value, value]) for name, value in arrays.items() if "rpn_head" in name}
    wider["proposal_generator.rpn_head.conv.weight"] = arrays["proposal_generator.rpn_head.conv.weight"]
    with pytest.raises(ValueError, match="the state dict: it has 6 anchors per location and does not say which"):
        read_detectron2({**arrays, **wider})


def shapes_only(state):
    """A state dict of any size that takes no memory."""
    return {name: torch.zeros(1).expand(value.shape) for name, value in state.items()}


def with_rows(arrays, num_classes):
    rows = {"box_predictor.cls_score": num_classes + 1, "box_predictor.bbox_pred": 4 * num_classes}
    rows["mask_head.predictor"] = num_classes
    changed = shapes_only(arrays)
    for name, value in changed.items():
        for part, count in rows.items():
            if part in name:
                changed[name] = torch.zeros(1).expand(count, *value.shape[1:])
    return changed


def test_eighty_classes_are_cocos(arrays):
    config, state, _ = read_detectron2(with_rows(arrays, 80))
    assert config.class_names == COCO_CLASSES
    assert [config.class_names[k] for k in (0, 1, 79)] == ["person", "bicycle", "toothbrush"]
    assert len(state["box_head.box_deltas.weight"]) == 4 * 81


def test_heads_that_all_classes_share_are_read(arrays):
    changed = shapes_only(arrays)
    for name in ("roi_heads.box_predictor.bbox_pred.weight", "roi_heads.box_predictor.bbox_pred.bias"):
        changed[name] = changed[name][:4]
    for name in ("roi_heads.mask_head.predictor.weight", "roi_heads.mask_head.predictor.bias"):
        changed[name] = changed[name][:1]
    config, state, _ = read_detectron2(changed)
    assert config.class_agnostic_boxes
    assert config.class_agnostic_masks
    assert len(state["box_head.box_deltas.weight"]) == 4


def test_a_resnet_101_is_known_by_its_blocks(arrays):
    trunk = "backbone.bottom_up."
    with torch.device("meta"):
        deeper = resnet101(weights=None, norm_layer=FrozenBatchNorm2d)
    renamed = {their_name(f"backbone.body.{name}"): value for name, value in deeper.state_dict().items()}
    rest = {name: value for name, value in shapes_only(arrays).items() if not name.startswith(trunk)}
    resnet = {name: value for name, value in shapes_only(renamed).items() if not name.startswith("backbone.body.fc")}
    config, state, _ = read_detectron2({**rest, **resnet})
    assert config.backbone == "resnet101"
    assert "backbone.resnet.res4.22.conv3.weight" in state


def test_names_without_a_counterpart_are_listed(arrays):
    extra = {
        "backbone.bottom_up.stem.conv1.norm.num_batches_tracked": np.array(3),
        "roi_heads.keypoint_head.conv_fcn1.weight": np.zeros((2, 2), np.float32),
    }
    assert read_detectron2({**arrays, **extra})[2] == list(extra)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone.fpn_lateral2.norm.weight": (CHANNELS,)}, r"backbone\.fpn_lateral2\.norm\.weight belongs to no"),
        ({"roi_heads.box_head.conv1.weight": (4, 4, 3, 3)}, r"roi_heads\.box_head\.conv1\.weight belongs to no"),
        ({"roi_heads.box_predictor.1.cls_score.weight": (4, 4)}, r"box_predictor\.1\.cls_score\.weight belongs to no"),
        ({"roi_heads.mask_head.deconv.bias": None}, r"lacks mask_head\.deconv\.bias"),
        ({"roi_heads.mask_head.deconv.weight": None}, r"lacks 'mask_head\.deconv\.weight' of a Mask R-CNN"),
        ({"backbone.bottom_up.res4.5.conv1.weight": None}, r"lacks backbone\.resnet\.res4\.5\.conv1\.weight"),
        ({"backbone.bottom_up.res4.6.conv1.weight": (256, 1024, 1, 1)}, "a backbone that is no ResNet of this project"),
        (
            {"backbone.bottom_up.res2.0.conv2.weight": (256, 8, 3, 3)},
            r"res2\.0\.conv2\.weight has the shape \[256, 8, 3",
        ),
        (
            {"roi_heads.box_head.fc2.weight": (HIDDEN, 7)},
            r"box_head\.fc2\.weight has the shape \[48, 7\], and \[48, 48\]",
        ),
    ],
)
def test_other_models_are_refused_with_the_name_that_is_in_the_way(arrays, change, message):
    changed = shapes_only(arrays)
    for name, shape in change.items():
        changed[name] = None if shape is None else torch.zeros(shape)
    changed = {name: value for name, value in changed.items() if value is not None}
    with pytest.raises(ValueError, match=f"^the state dict: .*{message}"):
        read_detectron2(changed)


@pytest.mark.parametrize("shape", [(), (7, 5)])
def test_a_weight_of_any_other_shape_is_refused(arrays, shape):
    state = shapes_only(arrays)
    for name in state:
        if (
            name.startswith(("proposal_generator.", "roi_heads.box", "roi_heads.mask_head.pre"))
            or "stem.conv1.w" in name
        ):
            with pytest.raises(ValueError, match=r"^the state dict: "):
                read_detectron2({**state, name: torch.zeros(shape)})


def test_files_of_other_programs_are_refused(write):
    caffe2 = {"conv1_w": np.zeros((64, 3, 7, 7), np.float32), "res_conv1_bn_s": np.zeros(64, np.float32)}
    for content in (caffe2, {"blobs": caffe2}):
        with pytest.raises(ValueError, match=r"R-50\.pkl: has the names of Caffe2"):
            read_detectron2(write(content, "R-50.pkl"))
    with pytest.raises(ValueError, match=r"x\.pkl: not a detector of detectron2 \(it has a, b, \.\.\.\)"):
        read_detectron2(write({"a": np.zeros(2), "b": np.zeros(2)}, "x.pkl"))


@pytest.mark.parametrize(
    ("value", "message"), [("text", "is a str, not an array of numbers"), ([math.nan] * HIDDEN, "not finite")]
)
def test_weights_that_are_no_numbers_are_refused(arrays, value, message):
    with pytest.raises(ValueError, match=rf"the state dict: roi_heads\.mask_head\.deconv\.bias .*{message}"):
        read_detectron2({**arrays, "roi_heads.mask_head.deconv.bias": value})


def test_only_detectron2s_names_are_taken_for_its(theirs, arrays):
    assert is_detectron2(arrays)
    assert not is_detectron2(theirs.state_dict())
    assert not is_detectron2(MaskRCNN(Config.small()).state_dict())


# R50-C4: one map, five sizes of anchors on it, and res5 among the heads.


@pytest.fixture(scope="module")
def c4():
    """(torchvision's ResNet-50 with the stride in the 1x1, detectron2's C4 model with its weights: names and tensors)."""
    torch.manual_seed(1)
    resnet = stride_in_1x1(resnet50(weights=None, norm_layer=partial(FrozenBatchNorm2d, eps=1e-5))).eval()
    scatter_norms(resnet)
    state = {}
    for name, value in resnet.state_dict().items():
        renamed = their_name(f"backbone.body.{name}").replace("backbone.bottom_up.", "backbone.")
        state[renamed.replace("backbone.res5.", "roi_heads.res5.")] = value
    del state["backbone.body.fc.weight"], state["backbone.body.fc.bias"]
    for name, shape in {
        "proposal_generator.rpn_head.conv": (1024, 1024, 3, 3),
        "proposal_generator.rpn_head.objectness_logits": (15, 1024, 1, 1),
        "proposal_generator.rpn_head.anchor_deltas": (60, 1024, 1, 1),
        "roi_heads.box_predictor.cls_score": (CLASSES + 1, 2048),
        "roi_heads.box_predictor.bbox_pred": (4 * CLASSES, 2048),
        "roi_heads.mask_head.deconv": (2048, HIDDEN, 2, 2),
        "roi_heads.mask_head.predictor": (CLASSES, HIDDEN, 1, 1),
    }.items():
        state[f"{name}.weight"] = torch.randn(shape) * 0.02
        state[f"{name}.bias"] = torch.randn(HIDDEN if "deconv" in name else shape[0])
    return resnet, state


def scatter_norms(resnet):
    with torch.no_grad():
        for module in resnet.modules():
            if isinstance(module, FrozenBatchNorm2d):
                for values, low, high in (
                    (module.running_mean, -0.2, 0.2),
                    (module.running_var, 0.5, 2),
                    (module.weight, 0.2, 0.6),
                    (module.bias, -0.1, 0.1),
                ):
                    values.uniform_(low, high)


@pytest.fixture(scope="module")
def c4_model(c4):
    config, state, unused = read_detectron2(c4[1])
    assert unused == []
    model = MaskRCNN(config).eval()
    model.load_state_dict(state)
    return model


def test_the_config_of_a_c4_model_has_detectron2s_numbers(c4_model):
    expected = {  # configs/Base-RCNN-C4.yaml and detectron2/config/defaults.py
        "architecture": "c4",
        "backbone": "resnet50",
        "stride_in_1x1": True,
        "size_divisible": 16,
        "anchor_sizes": (SIZES,),
        "anchor_aspect_ratios": RATIOS,
        "rpn_pre_nms_top_n_train": 12000,
        "rpn_pre_nms_top_n_test": 6000,
        "rpn_post_nms_top_n_train": 2000,
        "rpn_post_nms_top_n_test": 1000,
        "box_batch_size_per_image": 512,
        "box_pooler_resolution": 14,
        "mask_pooler_resolution": 14,
        "mask_head_channels": HIDDEN,
        "pooler_sampling_ratio": 0,
    }
    assert {name: getattr(c4_model.config, name) for name in expected} == expected


@torch.inference_mode()
def test_the_trunk_of_a_c4_model_and_its_res5_compute_what_theirs_do(c4, c4_model):
    resnet, state = c4
    pixels = torch.randn(1, 3, 64, 80, generator=torch.Generator().manual_seed(2)) * 60
    x = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(pixels.flip(1)))))  # theirs are BGR
    expected = resnet.layer3(resnet.layer2(resnet.layer1(x)))
    assert relative(c4_model.backbone(pixels).maps[0], expected) < 1e-5
    pooled = torch.randn(3, 1024, 14, 14, generator=torch.Generator().manual_seed(3))
    rois = c4_model.backbone.resnet.res5(pooled)
    assert relative(rois, resnet.layer4(pooled)) < 1e-5

    box, mean = c4_model.box_head(rois), rois.mean(dim=(2, 3))
    logits = nn.functional.linear(mean, *layer(state, "roi_heads.box_predictor.cls_score"))
    deltas = nn.functional.linear(mean, *layer(state, "roi_heads.box_predictor.bbox_pred")).view(3, CLASSES, 4)
    masks = nn.functional.conv_transpose2d(rois, *layer(state, "roi_heads.mask_head.deconv"), stride=2).relu()
    masks = nn.functional.conv2d(masks, *layer(state, "roi_heads.mask_head.predictor"))  # [3, K, 14, 14]
    for theirs_k in range(CLASSES):
        torch.testing.assert_close(box.class_logits[:, theirs_k + 1], logits[:, theirs_k])
        torch.testing.assert_close(box.box_deltas[:, theirs_k + 1], deltas[:, theirs_k])
        labels = torch.full((3,), theirs_k + 1)
        torch.testing.assert_close(c4_model.mask_head(rois, labels).select_class(), masks[:, theirs_k])
    torch.testing.assert_close(box.class_logits[:, 0], logits[:, CLASSES])


@torch.inference_mode()
def test_each_anchor_of_a_c4_model_has_their_objectness_and_deltas(c4, c4_model):
    """An anchor is told by its box; where it stands among the others does not matter."""
    height, width = 2, 3
    feature = torch.randn(1, 1024, height, width, generator=torch.Generator().manual_seed(4))
    anchors = c4_model.anchors([feature], (16 * height, 16 * width)).boxes
    prediction = c4_model.rpn_head([feature])
    ours = {tuple(box): i for i, box in enumerate(anchors.round(decimals=2).tolist())}
    assert len(ours) == len(anchors) == 15 * height * width

    prefix = "proposal_generator.rpn_head."
    hidden = nn.functional.conv2d(feature, *layer(c4[1], f"{prefix}conv"), padding=1).relu()
    logits = nn.functional.conv2d(hidden, *layer(c4[1], f"{prefix}objectness_logits"))[0].numpy()
    deltas = nn.functional.conv2d(hidden, *layer(c4[1], f"{prefix}anchor_deltas"))[0].numpy()
    for y in range(height):
        for x in range(width):
            for a, base in enumerate(base_anchors(SIZES)):
                box = torch.tensor(base + 16 * np.array([x, y, x, y])).float()  # with offset 0
                i = ours[tuple(box.round(decimals=2).tolist())]
                np.testing.assert_allclose(prediction.objectness[0, i], logits[a, y, x], atol=1e-4)
                np.testing.assert_allclose(prediction.deltas[0, i], deltas[4 * a : 4 * a + 4, y, x], atol=1e-4)


def layer(state, name):
    return state[f"{name}.weight"], state[f"{name}.bias"]


def relative(ours, expected):
    return absolute(ours, expected) / float(expected.abs().max())
