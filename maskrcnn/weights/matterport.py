"""Weights of the Mask R-CNN that most tutorials of 2018 to 2020 use, Matterport's (github.com/matterport/Mask_RCNN, in
Keras 2): `mask_rcnn_coco.h5` and what was trained from it; and of the ResNet-50 that came with Keras.

Exact: every layer, with its BatchNorm (in the heads folded into the layer before it), the order of the anchors and of a
box's coordinates, the scaling of the deltas, the input's mean. Fields of the Config say what Matterport's model computes in
another way: the stride is in the first 1x1 of a block (stride_in_1x1), TensorFlow pads the stem's pooling at one end
(pool_padding_at_end), RoIs are pooled with crop_and_resize (roi_pooling) from the level that eq. 1 of the FPN paper gives
when it is rounded to the nearest: floor(4 + log2(side / 224) + 1/2), which is a canonical_box_size of 224 / sqrt(2).

What stays different, and moves a box by a pixel or so, or changes which of many boxes is kept:
- Matterport pads an image to a square of max_size, in black, half of the padding before the image. Here it is padded at the
  end, with the mean colour, to a multiple of 64; size_divisible=1024 gives the square. Matterport also does not reduce an
  image whose longer side is within max_size.
- There, deltas move boxes whose last pixel is inside, one pixel smaller than the box: of 32 px and dw 0.2, 0.2 px.
- The RPN's NMS runs over the 6000 best boxes of all levels together, not level by level.
- Detected boxes are rounded to whole pixels and masks resized to them; here masks are pasted with sub-pixel accuracy.
- Training: losses, sampling and the targets of the masks are this project's.

The files have neither the names of classes (COCO's 80 are known by their number) nor the size of images nor the sizes and
aspect ratios of anchors. These are Matterport's defaults here; who trained with others changes them with
`dataclasses.replace`.
"""

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from maskrcnn.config import Config
from maskrcnn.model import MaskRCNN
from maskrcnn.weights.checkpoint import check_finite
from maskrcnn.weights.coco import COCO_CLASSES
from maskrcnn.weights.keras_h5 import Layers, check_layers, listed, outputs, read_layers

Path = str | os.PathLike[str]
State = dict[str, Tensor]

BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}  # in res2 .. res5
MASK_CONVS = range(1, 5)
HEADS: tuple[tuple[str, str | None], ...] = (  # layer, and the BatchNorm after it
    *((f"fpn_c{level}p{level}", None) for level in range(2, 6)),
    *((f"fpn_p{level}", None) for level in range(2, 6)),
    *((name, None) for name in ("rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred")),
    *((f"mrcnn_class_conv{n}", f"mrcnn_class_bn{n}") for n in (1, 2)),
    ("mrcnn_class_logits", None),
    ("mrcnn_bbox_fc", None),
    *((f"mrcnn_mask_conv{n}", f"mrcnn_mask_bn{n}") for n in MASK_CONVS),
    ("mrcnn_mask_deconv", None),
    ("mrcnn_mask", None),
)
ANCHORS_GROUP = "anchors"  # the anchors themselves, which versions for TensorFlow 2 keep as a variable
CLASSIFIER_GROUPS = ("fc1000", "predictions", "probs")  # ImageNet's classes

NORM_EPS = 1e-3  # Keras' default
XY = [1, 0, 3, 2]  # (dy, dx, dh, dw) -> (dx, dy, dw, dh)
RPN_STD = (0.1, 0.1, 0.2, 0.2)  # Matterport's RPN gives deltas divided by this
PRESET: dict[str, Any] = {
    "max_size": 1024,
    "image_mean": (123.7 / 255, 116.8 / 255, 103.9 / 255),
    "image_std": (1 / 255, 1 / 255, 1 / 255),
    "norm_eps": NORM_EPS,
    "stride_in_1x1": True,
    "pool_padding_at_end": True,
    "anchor_offset": 0.0,
    "roi_pooling": "crop_and_resize",
    "canonical_box_size": 224 / 2**0.5,
    "bbox_reg_weights": (10, 10, 5, 5),  # 1 / (0.1, 0.1, 0.2, 0.2)
    "box_score_thresh": 0.7,  # above 1/2, so that a box has one class at most, as there
    "box_nms_thresh": 0.3,
}

# The input that Keras' ResNet-50 was trained with: blue, green, red in 0..255, minus these.
KERAS_MEAN = (103.939, 116.779, 123.68)
NEW_NORM_EPS = 1.001e-5  # of the ResNet-50 that came with Keras from 2019 on, whose layers have other names


def read_matterport(path: Path) -> tuple[Config, State]:
    """The model's config, and its weights by this project's names. With another number of classes than COCO's they are
    called "1", "2", ... Raises ValueError, naming the file, if it cannot be read or is no Mask R-CNN of Matterport."""
    layers = read_layers(path, (ANCHORS_GROUP,))
    backbone = "resnet101" if "res4g_branch2a" in layers else "resnet50"
    pairs = [(conv, norm) for _, _, conv, norm in backbone_layers(backbone)]
    check_layers(path, layers, [*pairs, *HEADS])
    config = _config(path, layers, backbone)
    try:
        state = _resnet(layers, backbone) | _fpn_and_rpn(layers) | _box_head(layers) | _mask_head(layers)
    except (RuntimeError, IndexError) as error:
        raise ValueError(f"{path}: a layer has another shape than in Matterport's Mask R-CNN ({error})") from error
    with torch.device("meta"):
        _check_shapes(path, state, MaskRCNN(config).state_dict())
    check_finite(path, state)
    return config, state


def read_keras_resnet50(
    path: Path,
    norm_eps: float = Config.norm_eps,
    image_mean: Sequence[float] = Config.image_mean,
    image_std: Sequence[float] = Config.image_std,
) -> State:
    """Keras' ResNet-50 without its last layer, resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5 of either version, by
    this project's names, for a Config with stride_in_1x1=True.

    norm_eps, image_mean, image_std: those of the Config. The weights are changed to suit them: of images in RGB, normalised
    so, they make what Keras makes of its own input. Raises ValueError, naming the file, if it cannot be read or is another.
    """
    layers = read_layers(path, CLASSIFIER_GROUPS)
    eps = NEW_NORM_EPS if "conv1_conv" in layers else NORM_EPS
    layers = {_old_name(name): arrays for name, arrays in layers.items()}
    check_layers(path, layers, [(conv, norm) for _, _, conv, norm in backbone_layers("resnet50")])
    state = _resnet(layers, "resnet50")
    with torch.device("meta"):
        resnet = MaskRCNN(Config()).backbone.resnet.state_dict(prefix="backbone.resnet.")
    _check_shapes(path, state, resnet)
    for name in [name for name in state if name.endswith("running_var")]:
        state[name] = state[name] + (eps - norm_eps)
    mean, std = (255 * torch.tensor(values, dtype=torch.float64) for values in (image_mean, image_std))  # RGB
    conv, shift = "backbone.resnet.stem.conv.weight", "backbone.resnet.stem.norm.running_mean"
    rgb = state[conv].double().flip(1)  # [64, 3, 7, 7]
    offset = mean - torch.tensor(KERAS_MEAN, dtype=torch.float64).flip(0)  # Keras' input where this project's is 0
    state[conv] = (rgb * std[:, None, None]).float()
    state[shift] = (state[shift] - (rgb * offset[:, None, None]).sum(dim=(1, 2, 3))).float()
    check_finite(path, state)
    return state


def is_detector(path: Path) -> bool:
    """Whether a file of Keras has the heads of Matterport's Mask R-CNN. Raises ValueError if it cannot be read."""
    return "mrcnn_class_logits" in read_layers(path, (ANCHORS_GROUP, *CLASSIFIER_GROUPS))


def backbone_layers(kind: str) -> Iterator[tuple[str, str, str, str]]:
    """This project's names of each convolution and its norm, and Keras' names of them."""
    yield "stem.conv", "stem.norm", "conv1", "bn_conv1"
    for stage, count in enumerate(BLOCKS[kind], start=2):
        for block in range(count):
            ours, theirs = f"res{stage}.{block}", f"{stage}{chr(ord('a') + block)}_branch"
            for n, letter in enumerate("abc", start=1):
                yield f"{ours}.conv{n}", f"{ours}.norm{n}", f"res{theirs}2{letter}", f"bn{theirs}2{letter}"
            if block == 0:
                yield f"{ours}.shortcut.0", f"{ours}.shortcut.1", f"res{theirs}1", f"bn{theirs}1"


def _old_name(name: str) -> str:
    """The name that a layer of Keras' newer ResNet-50 had in the older one: conv3_block2_1_bn was bn3b_branch2a."""
    if name in ("conv1_conv", "conv1_bn"):
        return {"conv1_conv": "conv1", "conv1_bn": "bn_conv1"}[name]
    match = re.fullmatch(r"conv(\d)_block(\d)_(\d)_(conv|bn)", name)
    if match is None:
        return name
    stage, block, number, kind = match.groups()
    branch = "1" if number == "0" else f"2{'abc'[int(number) - 1]}"
    return f"{'res' if kind == 'conv' else 'bn'}{stage}{chr(ord('a') + int(block) - 1)}_branch{branch}"


def _config(path: Path, layers: Layers, backbone: str) -> Config:
    """What the shapes tell, and what is always so."""
    width = {name: outputs(name, arrays["kernel"]) for name, arrays in layers.items() if "kernel" in arrays}
    if width["rpn_class_raw"] != 2 * len(Config.anchor_aspect_ratios):
        raise ValueError(
            f"{path}: has {width['rpn_class_raw'] / 2:g} anchors at a location; only files with 3, of Matterport's aspect "
            "ratios 0.5, 1 and 2, can be read"
        )
    num_classes = width["mrcnn_class_logits"] - 1
    names = COCO_CLASSES if num_classes == len(COCO_CLASSES) else [str(k) for k in range(1, num_classes + 1)]
    try:
        return Config(
            class_names=tuple(names),
            backbone=backbone,
            fpn_channels=width["fpn_c2p2"],
            rpn_conv_channels=width["rpn_conv_shared"],
            box_pooler_resolution=layers["mrcnn_class_conv1"]["kernel"].shape[0],
            box_head_dim=width["mrcnn_class_conv1"],
            mask_head_channels=width["mrcnn_mask_conv1"],
            **PRESET,
        )
    except ValueError as error:
        raise ValueError(f"{path}: not a Mask R-CNN ({error})") from error


def _check_shapes(path: Path, state: State, model: State) -> None:
    wrong = [
        f"{n} would be {list(state[n].shape)}, not {list(v.shape)}"
        for n, v in model.items()
        if state[n].shape != v.shape
    ]
    if wrong:
        raise ValueError(f"{path}: a layer has another shape than in the model it is of: {listed(wrong)}")


def _weight(layers: Layers, layer: str) -> Tensor:
    """Outputs, inputs, height, width; Keras has height, width, inputs, outputs. A deconvolution has outputs and inputs
    exchanged in both. Of a dense layer: outputs, inputs."""
    kernel = layers[layer]["kernel"]
    return kernel.permute(3, 2, 0, 1) if kernel.dim() == 4 else kernel.t()


def _plain(layers: Layers, ours: str, layer: str) -> State:
    return {f"{ours}.weight": _weight(layers, layer).contiguous(), f"{ours}.bias": layers[layer]["bias"]}


def _folded(layers: Layers, ours: str, layer: str, norm: str) -> State:
    """A convolution with the BatchNorm after it in its weights and biases."""
    gamma, beta, mean, variance = (layers[norm][name].double() for name in ("gamma", "beta", "mean", "variance"))
    scale = gamma / (variance + NORM_EPS).sqrt()  # [outputs]
    weight = _weight(layers, layer).double() * scale[:, None, None, None]
    bias = (layers[layer]["bias"].double() - mean) * scale + beta
    return {f"{ours}.weight": weight.float().contiguous(), f"{ours}.bias": bias.float()}


def _resnet(layers: Layers, kind: str) -> State:
    """The BatchNorms stay. The convolutions here have no bias; what theirs add, a smaller running mean adds."""
    state: State = {}
    for ours, our_norm, conv, norm in backbone_layers(kind):
        arrays = layers[norm]
        norm_name = f"backbone.resnet.{our_norm}"
        state[f"backbone.resnet.{ours}.weight"] = _weight(layers, conv).contiguous()
        state[f"{norm_name}.weight"], state[f"{norm_name}.bias"] = arrays["gamma"], arrays["beta"]
        state[f"{norm_name}.running_mean"] = arrays["mean"] - layers[conv]["bias"]
        state[f"{norm_name}.running_var"] = arrays["variance"]
    return state


def _fpn_and_rpn(layers: Layers) -> State:
    """The aspect ratios are width / height there, so that the anchors of a location are in the reverse order."""
    state: State = {}
    for i, level in enumerate(range(2, 6)):
        state |= _plain(layers, f"backbone.fpn.lateral.{i}.0", f"fpn_c{level}p{level}")
        state |= _plain(layers, f"backbone.fpn.output.{i}.0", f"fpn_p{level}")
    state |= _plain(layers, "rpn_head.conv", "rpn_conv_shared")
    std = torch.tensor(RPN_STD)[XY]
    for kind, value in _plain(layers, "", "rpn_class_raw").items():
        background, anchor = value.unflatten(0, (-1, 2)).unbind(1)
        state[f"rpn_head.objectness{kind}"] = (anchor - background).flip(0)  # the softmax of two is the sigmoid of this
    for kind, value in _plain(layers, "", "rpn_bbox_pred").items():
        deltas = value.unflatten(0, (-1, 4))[:, XY].flip(0)  # [anchors, 4, ...]
        state[f"rpn_head.deltas{kind}"] = (deltas * std.view(-1, *[1] * (value.dim() - 1))).flatten(0, 1)
    return state


def _box_head(layers: Layers) -> State:
    """A convolution that covers the whole RoI, and a 1x1 after it, are fully connected layers."""
    state: State = {}
    for n in (1, 2):
        state |= _folded(layers, f"box_head.fc{n}", f"mrcnn_class_conv{n}", f"mrcnn_class_bn{n}")
        state[f"box_head.fc{n}.weight"] = state[f"box_head.fc{n}.weight"].flatten(
            1
        )  # [outputs, inputs * height * width]
    state |= _plain(layers, "box_head.class_logits", "mrcnn_class_logits")
    for kind, value in _plain(layers, "", "mrcnn_bbox_fc").items():
        state[f"box_head.box_deltas{kind}"] = value.unflatten(0, (-1, 4))[:, XY].flatten(0, 1)
    return state


def _mask_head(layers: Layers) -> State:
    """Channel 0 of the masks is that of background, which no mask is ever read from."""
    state: State = {}
    for n in MASK_CONVS:
        state |= _folded(layers, f"mask_head.convs.{n - 1}", f"mrcnn_mask_conv{n}", f"mrcnn_mask_bn{n}")
    state |= _plain(layers, "mask_head.deconv", "mrcnn_mask_deconv")
    for kind, value in _plain(layers, "", "mrcnn_mask").items():
        state[f"mask_head.mask_logits{kind}"] = value[1:].contiguous()
    return state
