"""Files as Keras writes them, with every layer of Matterport's Mask R-CNN, against its arithmetic in numpy: NHWC, boxes as
(y1, x1, y2, x2), BatchNorm and softmax written out."""

import sys

import h5py
import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from maskrcnn import Config, MaskRCNN
from maskrcnn.boxes import decode
from maskrcnn.weights import load, matterport
from maskrcnn.weights.coco import COCO_CLASSES
from maskrcnn.weights.keras_h5 import read_layers
from maskrcnn.weights.matterport import is_detector, read_keras_resnet50, read_matterport

STD = np.array([0.1, 0.1, 0.2, 0.2])  # Matterport's RPN_BBOX_STD_DEV and BBOX_STD_DEV
MEAN_PIXEL = np.array([123.7, 116.8, 103.9])
BN = ("gamma", "beta", "moving_mean", "moving_variance")


def resnet_shapes(blocks):
    """{layer: {array: shape}} of the backbone, as Matterport and Keras name them."""
    shapes = {"conv1": {"kernel": (7, 7, 3, 64), "bias": (64,)}, "bn_conv1": dict.fromkeys(BN, (64,))}
    inputs = 64
    for stage, count in zip("2345", blocks, strict=True):
        width = 64 * 2 ** (int(stage) - 2)
        for letter in "abcdefghijklmnopqrstuvw"[:count]:
            branches = {"2a": (1, inputs, width), "2b": (3, width, width), "2c": (1, width, 4 * width)}
            if letter == "a":
                branches["1"] = (1, inputs, 4 * width)
            for branch, (side, before, after) in branches.items():
                kernel = {"kernel": (side, side, before, after), "bias": (after,)}
                shapes[f"res{stage}{letter}_branch{branch}"] = kernel
                shapes[f"bn{stage}{letter}_branch{branch}"] = dict.fromkeys(BN, (after,))
            inputs = 4 * width
    return shapes


def head_shapes(classes, fpn, rpn, fc, mask):
    """classes: with background."""

    def conv(side, before, after):
        return {"kernel": (side, side, before, after), "bias": (after,)}

    shapes = {f"fpn_c{k}p{k}": conv(1, 64 * 2**k, fpn) for k in (5, 4, 3, 2)}
    shapes |= {f"fpn_p{k}": conv(3, fpn, fpn) for k in (2, 3, 4, 5)}
    shapes |= {
        "rpn_conv_shared": conv(3, fpn, rpn),
        "rpn_class_raw": conv(1, rpn, 6),
        "rpn_bbox_pred": conv(1, rpn, 12),
    }
    shapes |= {"mrcnn_class_conv1": conv(7, fpn, fc), "mrcnn_class_bn1": dict.fromkeys(BN, (fc,))}
    shapes |= {"mrcnn_class_conv2": conv(1, fc, fc), "mrcnn_class_bn2": dict.fromkeys(BN, (fc,))}
    shapes["mrcnn_class_logits"] = {"kernel": (fc, classes), "bias": (classes,)}
    shapes["mrcnn_bbox_fc"] = {"kernel": (fc, 4 * classes), "bias": (4 * classes,)}
    for n in range(1, 5):
        shapes[f"mrcnn_mask_conv{n}"] = conv(3, fpn if n == 1 else mask, mask)
        shapes[f"mrcnn_mask_bn{n}"] = dict.fromkeys(BN, (mask,))
    shapes["mrcnn_mask_deconv"] = {"kernel": (2, 2, mask, mask), "bias": (mask,)}  # outputs before inputs
    shapes["mrcnn_mask"] = conv(1, mask, classes)
    return shapes


SMALL = {**resnet_shapes((3, 4, 6, 3)), **head_shapes(classes=4, fpn=8, rpn=10, fc=12, mask=6)}


def random_values(shapes):
    """BatchNorms of small variance, so that epsilon counts, and blocks that add little, so that nothing overflows."""
    generator = np.random.default_rng(0)
    values = {}
    for layer, arrays in shapes.items():
        values[layer] = {}
        for array, shape in arrays.items():
            value = generator.standard_normal(shape, dtype=np.float32)
            if array == "kernel":
                value *= 0.1 / np.sqrt(np.prod(shape[:-1]))
            elif array in ("gamma", "moving_variance"):
                value = np.abs(value) * {"gamma": 0.5, "moving_variance": 0.01}[array] + 0.001
            values[layer][array] = value
    return values


def write(path, values, name_of=lambda layer, array: f"{layer}/{layer}/{array}:0"):
    """values: arrays, or shapes, of which nothing is stored and zeros are read. Attributes as Keras writes them."""
    with h5py.File(path, "w") as file:
        outer = {}
        for layer, arrays in values.items():
            for array, value in arrays.items():
                name = name_of(layer, array)
                if isinstance(value, tuple):
                    file.create_dataset(name, value, dtype="f4")
                else:
                    file[name] = value
                outer.setdefault(name.partition("/")[0], []).append(name.partition("/")[2].encode())
        file.attrs["layer_names"] = [layer.encode() for layer in outer]
        for layer, names in outer.items():
            file[layer].attrs["weight_names"] = names
        file.create_group("input_image").attrs["weight_names"] = np.zeros(0)  # a layer without weights
    return path


def of_matterport(layer, array):
    return f"{'rpn_model' if layer.startswith('rpn_') else layer}/{layer}/{array}:0"


@pytest.fixture(scope="module")
def values():
    return random_values(SMALL)


@pytest.fixture(scope="module")
def path(tmp_path_factory, values):
    return write(tmp_path_factory.mktemp("matterport") / "mask_rcnn_wbc_0060.h5", values, of_matterport)


@pytest.fixture(scope="module")
def model(path):
    config, state = read_matterport(path)
    model = MaskRCNN(config).eval()
    model.load_state_dict(state)  # every name, and no other
    return model


@pytest.fixture
def layer(values):
    """Matterport's arithmetic: layer(x, name, ...) is a convolution or dense layer of the file, without activation."""

    def apply(x, name, stride=1, padding="valid", norm=None, eps=1e-3):
        kernel, bias = (values[name][array].astype(np.float64) for array in ("kernel", "bias"))
        if kernel.ndim == 2:
            y = x @ kernel + bias
        else:
            reach = kernel.shape[0] // 2 if padding == "same" else 0
            x = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
            windows = sliding_window_view(x, kernel.shape[:2], axis=(1, 2))[:, ::stride, ::stride]  # [N, H, W, C, h, w]
            y = np.einsum("nijchw,hwco->nijo", windows, kernel, optimize=True) + bias
        if norm is None:
            return y
        gamma, beta, mean, variance = (values[norm][array].astype(np.float64) for array in BN)
        return gamma * (y - mean) / np.sqrt(variance + eps) + beta

    return apply


def relu(x):
    return np.maximum(x, 0)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def nhwc(x):
    return x.detach().double().permute(0, 2, 3, 1).numpy()


def nchw(x):
    return torch.from_numpy(x).permute(0, 3, 1, 2).float()


def assert_close(actual, expected, rtol=1e-4):
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= rtol * np.abs(expected).max()


def block(layer, x, stage, letter, eps=1e-3):
    """The stride is in the first 1x1; Keras' same padding of a 3x3 without a stride is one pixel on each side."""
    stride = 2 if letter == "a" and stage > 2 else 1

    def convolved(x, branch, **options):
        name = f"{stage}{letter}_branch{branch}"
        return layer(x, f"res{name}", norm=f"bn{name}", eps=eps, **options)

    y = relu(convolved(x, "2a", stride=stride))
    y = relu(convolved(y, "2b", padding="same"))
    y = convolved(y, "2c")
    return relu(y + (convolved(x, "1", stride=stride) if letter == "a" else x))


def pooled(c1):
    """TensorFlow's same padding of an even size: none before, one pixel after."""
    c1 = np.pad(c1, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=-np.inf)
    return sliding_window_view(c1, (3, 3), axis=(1, 2))[:, ::2, ::2].max(axis=(-1, -2))


def yxyx(boxes):
    return boxes[..., [1, 0, 3, 2]]


def moved(boxes, deltas):
    """boxes (y1, x1, y2, x2), deltas (dy, dx, log(dh), log(dw))."""
    size = boxes[..., 2:] - boxes[..., :2]
    centre = boxes[..., :2] + 0.5 * size + deltas[..., :2] * size
    size = size * np.exp(deltas[..., 2:])
    return np.concatenate([centre - 0.5 * size, centre + 0.5 * size], axis=-1)


def test_the_shapes_tell_the_config(model):
    config = model.config
    assert (config.backbone, config.class_names) == ("resnet50", ("1", "2", "3"))
    assert (config.fpn_channels, config.rpn_conv_channels) == (8, 10)
    assert (config.box_pooler_resolution, config.box_head_dim, config.mask_head_channels) == (7, 12, 6)
    assert (config.max_size, config.box_score_thresh, config.box_nms_thresh) == (1024, 0.7, 0.3)


def test_the_input_is_the_image_in_0_to_255_without_its_mean(model):
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = nhwc(image[None]) * 255 - MEAN_PIXEL
    assert_close(nhwc(model.transform.preprocess([image], scale=1).pixels), expected, 1e-6)


@torch.inference_mode()
def test_backbone_and_fpn_compute_what_matterports_do(model, layer):
    pixels = np.random.default_rng(1).normal(0, 60, (1, 64, 64, 3))
    x = np.pad(pixels, ((0, 0), (3, 3), (3, 3), (0, 0)))
    x = pooled(relu(layer(x, "conv1", stride=2, norm="bn_conv1")))
    resnet = model.backbone.resnet
    assert_close(nhwc(resnet.stem(nchw(pixels))), x)
    stages = []
    for stage, letters in enumerate(("abc", "abcd", "abcdef", "abc"), start=2):
        for letter in letters:
            x = block(layer, x, stage, letter)
        stages.append(x)
    for actual, expected in zip(resnet(nchw(pixels)), stages, strict=True):
        assert_close(nhwc(actual), expected)
    merged = {5: layer(stages[3], "fpn_c5p5")}
    for k in (4, 3, 2):
        merged[k] = merged[k + 1].repeat(2, axis=1).repeat(2, axis=2) + layer(stages[k - 2], f"fpn_c{k}p{k}")
    maps = [layer(merged[k], f"fpn_p{k}", padding="same") for k in (2, 3, 4, 5)]
    maps.append(maps[-1][:, ::2, ::2])
    for actual, expected in zip(model.backbone(nchw(pixels)).maps, maps, strict=True):
        assert_close(nhwc(actual), expected)


@torch.inference_mode()
def test_the_rpn_gives_each_anchor_its_probability_and_its_box(model, layer):
    generator = np.random.default_rng(2)
    maps = [generator.normal(0, 30, (1, side, side, 8)) for side in (8, 4, 2, 2, 1)]
    probabilities, boxes, moved_boxes = [], [], []
    for feature, stride, scale in zip(maps, (4, 8, 16, 16, 32), (32, 64, 128, 256, 512), strict=True):
        shared = relu(layer(feature, "rpn_conv_shared", padding="same"))
        probabilities.append(softmax(layer(shared, "rpn_class_raw").reshape(-1, 2))[:, 1])
        deltas = layer(shared, "rpn_bbox_pred").reshape(-1, 4) * STD
        anchors = []
        for y in range(feature.shape[1]):
            for x in range(feature.shape[2]):
                for ratio in (0.5, 1, 2):  # width / height
                    h, w = scale / np.sqrt(ratio), scale * np.sqrt(ratio)
                    anchors.append([y * stride - h / 2, x * stride - w / 2, y * stride + h / 2, x * stride + w / 2])
        boxes.append(np.array(anchors))
        moved_boxes.append(moved(boxes[-1], deltas))
    expected = np.concatenate([np.concatenate(boxes), np.concatenate(moved_boxes)], axis=1)
    expected = np.concatenate([expected, np.concatenate(probabilities)[:, None]], axis=1)  # [A, 9]

    features = [nchw(feature) for feature in maps]
    prediction, ours = model.rpn_head(features), model.anchors(features, (32, 32)).boxes
    parts = yxyx(ours), yxyx(decode(prediction.deltas[0], ours)), prediction.objectness[0].sigmoid()[:, None]
    actual = torch.cat(parts, dim=1).double().numpy()
    order, their_order = (np.lexsort(np.round(table[:, :4], 2).T) for table in (actual, expected))
    np.testing.assert_allclose(actual[order], expected[their_order], atol=2e-3)
    assert expected[:, 8].std() > 0.01  # so that exchanged anchors would show


def test_rois_are_pooled_from_matterports_levels_and_positions(model):
    """From P4 + round(log2(side / 224)), at 7 positions from the first to the last pixel of the box."""
    strides = (4, 8, 16, 32)
    ramps = [
        torch.linspace(0, 1023, 1024 // s).expand(1, 1, 1024 // s, 1024 // s) for s in strides
    ]  # pixel of the image
    boxes = torch.tensor([[100.0, 0, 258, 158], [100, 0, 259, 159], [100, 0, 416, 316], [100, 0, 417, 317]])
    pooled = model.roi_pooler(ramps, strides, [boxes], 7)
    assert (pooled.levels + 2).tolist() == [3, 4, 4, 5]
    expected = torch.stack([torch.linspace(100, x2 - 1, 7) for x2 in (258, 259, 416, 417)])
    torch.testing.assert_close(pooled.roi_features[:, 0, 3], expected)


@torch.inference_mode()
def test_the_box_head_computes_what_matterports_does(model, layer):
    generator = np.random.default_rng(3)
    features = generator.normal(0, 5, (5, 7, 7, 8))
    x = relu(layer(features, "mrcnn_class_conv1", norm="mrcnn_class_bn1"))
    x = relu(layer(x, "mrcnn_class_conv2", norm="mrcnn_class_bn2"))[:, 0, 0]
    prediction = model.box_head(nchw(features))
    assert_close(prediction.class_logits.double().softmax(dim=1).numpy(), softmax(layer(x, "mrcnn_class_logits")))
    corner = generator.uniform(0, 50, (5, 2))
    rois = np.concatenate([corner, corner + generator.uniform(10, 40, (5, 2))], axis=1)  # (y1, x1, y2, x2)
    expected = moved(rois[:, None], layer(x, "mrcnn_bbox_fc").reshape(5, 4, 4) * STD)  # [5, classes, 4]
    boxes = decode(prediction.box_deltas, torch.from_numpy(yxyx(rois)).float(), model.config.bbox_reg_weights)
    np.testing.assert_allclose(yxyx(boxes).numpy(), expected, atol=1e-3)


@torch.inference_mode()
def test_the_mask_head_computes_what_matterports_does(model, layer, values):
    features = np.random.default_rng(4).normal(0, 5, (2, 14, 14, 8))
    x = features
    for n in range(1, 5):
        x = relu(layer(x, f"mrcnn_mask_conv{n}", padding="same", norm=f"mrcnn_mask_bn{n}"))
    kernel, bias = (values["mrcnn_mask_deconv"][array] for array in ("kernel", "bias"))
    larger = np.zeros((2, 28, 28, 6)) + bias
    for i in range(2):
        for j in range(2):
            larger[:, i::2, j::2] += x @ kernel[i, j].T  # kernel[i, j] is [outputs, inputs]
    masks = sigmoid(layer(relu(larger), "mrcnn_mask"))
    actual = model.mask_head(nchw(features), torch.tensor([1, 2])).mask_logits.sigmoid()
    assert_close(nhwc(actual), masks[..., 1:])  # class k is channel k there, k - 1 here


def test_no_array_of_the_file_is_left_out(path, monkeypatch):
    layers = read_layers(path)
    assert {name: set(arrays) for name, arrays in layers.items()} == {
        name: {"gamma", "beta", "mean", "variance"} if "gamma" in arrays else {"kernel", "bias"}
        for name, arrays in SMALL.items()
    }
    leaves = {f"{name} {array}": value.requires_grad_() for name, a in layers.items() for array, value in a.items()}
    monkeypatch.setattr(matterport, "read_layers", lambda *_: layers)
    _, state = read_matterport(path)
    sum((value * (torch.rand_like(value) + 0.5)).sum() for value in state.values()).backward()
    unused = {name: (leaf.grad == 0).sum().item() for name, leaf in leaves.items() if not leaf.grad.all()}
    assert unused == {"mrcnn_mask kernel": 6, "mrcnn_mask bias": 1}  # the mask of background


def test_names_of_resnet_101_and_of_cocos_classes_are_known(tmp_path):
    shapes = {**resnet_shapes((3, 4, 23, 3)), **head_shapes(classes=81, fpn=256, rpn=512, fc=1024, mask=256)}
    shapes["res4w_branch2c"]["bias"] = np.full(1024, 7, np.float32)
    config, state = read_matterport(write(tmp_path / "mask_rcnn_coco.h5", shapes, of_matterport))
    assert (config.backbone, config.class_names) == ("resnet101", COCO_CLASSES)
    with torch.device("meta"):
        assert state.keys() == MaskRCNN(config).state_dict().keys()
    assert (state["backbone.resnet.res4.22.norm3.running_mean"] == -7).all()


def test_a_whole_model_and_the_anchors_of_later_versions_are_read_too(tmp_path):
    def in_a_model(layer, array):
        return f"model_weights/{of_matterport(layer, array)}"

    path = write(tmp_path / "whole.h5", SMALL, in_a_model)
    with h5py.File(path, "a") as file:
        file["model_weights/anchors/Variable:0"] = np.zeros((1, 9, 4))
        file["optimizer_weights/SGD/momentum:0"] = np.zeros(3)
    assert read_matterport(path)[0].backbone == "resnet50"
    assert is_detector(path)


def without(name):
    return {layer: arrays for layer, arrays in SMALL.items() if layer != name}


WRONG = {
    "a layer less": (without("fpn_p3"), "fpn_p3 is missing"),
    "many less": (resnet_shapes((3, 4, 6, 3)), "fpn_c2p2 is missing; .*; and 23 more"),
    "one more": ({**SMALL, "mrcnn_keypoint": SMALL["fpn_p2"]}, "mrcnn_keypoint is not known"),
    "no bias": ({**SMALL, "fpn_p2": {"kernel": (3, 3, 8, 8)}}, "fpn_p2 has kernel instead of bias, kernel"),
    "a short bias": (
        {**SMALL, "fpn_p2": {**SMALL["fpn_p2"], "bias": (1,)}},
        r"fpn_p2 has bias of shape \[1\], not \[8\]",
    ),
    "another kernel": (
        {**SMALL, "fpn_p2": {**SMALL["fpn_p2"], "kernel": (5, 5, 8, 8)}},
        r"backbone.fpn.output.0.0.weight would be \[8, 8, 5, 5\], not \[8, 8, 3, 3\]",
    ),
    "a flat kernel": ({**SMALL, "fpn_p2": {**SMALL["fpn_p2"], "kernel": (8, 9, 8)}}, "fpn_p2 has a kernel of 3 dim"),
    "odd deltas": ({**SMALL, "mrcnn_bbox_fc": {"kernel": (12, 15), "bias": (15,)}}, "another shape"),
    "4 anchors": ({**SMALL, "rpn_class_raw": {"kernel": (1, 1, 10, 8), "bias": (8,)}}, "has 4 anchors at a location"),
    "no class": ({**SMALL, "mrcnn_class_logits": {"kernel": (12, 1), "bias": (1,)}}, "class_names"),
    "not an array of a layer": ({**SMALL, "conv1": {"depthwise": (3,)}}, "conv1/conv1/depthwise:0: no array"),
    "too large": ({**SMALL, "conv1": {"kernel": (10**5, 10**5)}}, "too large"),
    "nothing": ({}, "it is empty"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_file_of_another_model_is_named_and_what_is_wrong_with_it(tmp_path, kind):
    shapes, message = WRONG[kind]
    path = write(tmp_path / "other.h5", shapes, of_matterport)
    with pytest.raises(ValueError, match=rf"other\.h5: .*{message}"):
        read_matterport(path)


def test_a_file_that_was_cut_off_or_is_no_hdf5_is_named(tmp_path, path):
    (tmp_path / "half.h5").write_bytes(path.read_bytes()[:100_000])
    (tmp_path / "text.h5").write_text("not weights")
    for name, message in {"half.h5": "was it cut off", "text.h5": "was it cut off", "gone.h5": "no such file"}.items():
        for read in (read_matterport, read_keras_resnet50):
            with pytest.raises(ValueError, match=rf"{name}: .*{message}"):
                read(tmp_path / name)


def test_arrays_in_other_files_are_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(100))
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file.create_dataset("conv1/conv1/bias:0", (5,), "f4", external=[(str(tmp_path / "secret"), 0, 20)])
    with pytest.raises(ValueError, match=r"linked\.h5: .*stored in another file"):
        read_matterport(tmp_path / "linked.h5")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    shapes = {**SMALL, "fpn_p2": {**SMALL["fpn_p2"], "bias": np.full(8, np.nan, np.float32)}}
    with pytest.raises(ValueError, match=r"nan\.h5: backbone\.fpn\.output\.0\.0\.bias has values that are not finite"):
        read_matterport(write(tmp_path / "nan.h5", shapes, of_matterport))


def test_without_h5py_the_message_says_what_to_install(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"0060\.h5: .*pip install '\.\[matterport\]'"):
        read_matterport(path)


KERAS_1 = {"kernel": "W", "bias": "b", "gamma": "gamma", "beta": "beta"}
KERAS_1 |= {"moving_mean": "running_mean", "moving_variance": "running_std"}


def of_keras_1(layer, array):
    return f"{layer}/{layer}_{KERAS_1[array]}{'_1' if array == 'bias' else ''}:0"


def of_keras_2019(layer, array):
    if layer in ("conv1", "bn_conv1"):
        layer = {"conv1": "conv1_conv", "bn_conv1": "conv1_bn"}[layer]
    else:
        kind = "bn" if layer.startswith("bn") else "conv"
        stage, letter, branch = layer[-10], layer[-9], layer.rpartition("branch")[2]
        number = {"1": 0, "2a": 1, "2b": 2, "2c": 3}[branch]
        stage, letter = layer.removeprefix("res").removeprefix("bn")[:2]
        layer = f"conv{stage}_block{'abcdef'.index(letter) + 1}_{number}_{kind}"
    return f"{layer}/{layer}/{array}:0"


@pytest.mark.parametrize(("name_of", "eps"), [(of_keras_1, 1e-3), (of_keras_2019, 1.001e-5)])
@torch.inference_mode()
def test_keras_resnet_50_sees_the_same_of_an_image_as_in_keras(tmp_path, values, layer, name_of, eps):
    backbone = {name: values[name] for name in resnet_shapes((3, 4, 6, 3))}
    path = write(tmp_path / "notop.h5", backbone, name_of)
    with h5py.File(path, "a") as file:
        file["fc1000/fc1000_W:0"] = np.zeros((5, 5), np.float32)
    assert not is_detector(path)
    config = Config(stride_in_1x1=True, image_mean=(0.5, 0.4, 0.3), image_std=(0.2, 0.25, 0.3), norm_eps=2e-5)
    with torch.device("meta"):
        model = MaskRCNN(config)
    model.to_empty(device="cpu").eval()
    report = load(model, read_keras_resnet50(path, config.norm_eps, config.image_mean, config.image_std))
    resnet = model.backbone.resnet
    assert sorted(report.loaded) == sorted(f"backbone.resnet.{name}" for name in resnet.state_dict())

    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    bgr = nhwc(image[None])[..., ::-1] * 255 - np.array([103.939, 116.779, 123.68])
    expected = relu(layer(bgr[:, 1:, 1:], "conv1", stride=2, norm="bn_conv1", eps=eps))  # as from padding 3, later on
    c1 = nhwc(resnet.stem.c1(model.transform.preprocess([image], scale=1).pixels))
    assert_close(c1[:, 2:15, 2:15], expected)  # where no padding is seen
    x = np.random.default_rng(5).normal(0, 3, (1, 6, 6, 64))
    assert_close(nhwc(resnet.res2[0](nchw(x))), block(layer, x, 2, "a", eps))
    x = np.random.default_rng(5).normal(0, 3, (1, 6, 6, 1024))
    assert_close(nhwc(resnet.res5[0](nchw(x))), block(layer, x, 5, "a", eps))
