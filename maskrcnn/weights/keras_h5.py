"""The layers in a weight file of Keras 1 or 2, which is HDF5. Reading it needs h5py (extra `matterport`) and runs no code.

Keras writes a group for each layer, in it a group of that name, and in that a dataset for each of the layer's arrays; the
layers of a nested model share one outer group. So the last group of a dataset's path is its layer, however deep it is:
conv1/conv1/kernel:0, rpn_model/rpn_conv_shared/kernel:0, and in files of Keras 1 conv1/conv1_W:0.
"""

import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Layers = dict[str, dict[str, Tensor]]  # name of the layer -> name of the array, see ARRAYS, -> values

# Keras 1 called the variance std; both versions number names that they use twice, as in W_1.
ARRAYS = {
    "kernel": "kernel|W",
    "bias": "bias|b",
    "gamma": "gamma",
    "beta": "beta",
    "mean": "(?:moving|running)_mean",
    "variance": "moving_variance|running_std",
}
ARRAY = re.compile(
    rf"(?:^|[/_])(?:{'|'.join(f'(?P<{name}>{pattern})' for name, pattern in ARRAYS.items())})(?:_\d+)?:0$"
)
CONV, NORM = {"kernel", "bias"}, {"gamma", "beta", "mean", "variance"}

MOST_VALUES = 500_000_000  # in a file; a Mask R-CNN with ResNet-101 has 64 million


def read_layers(path: str | os.PathLike[str], unused: Iterable[str] = ()) -> Layers:
    """All arrays of a file, as Keras has them, but those of the outermost groups `unused`, which have no counterpart here.

    Raises ValueError, naming the file, if it cannot be read, if it has something other than arrays of layers, or if h5py is
    not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise ValueError(f"{path}: to read files of Keras, install h5py: pip install '.[matterport]'") from error
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)  # a whole model, or its weights alone
            found: dict[str, Any] = {}
            root.visititems(lambda name, item: found.update({name: item} if isinstance(item, h5py.Dataset) else {}))
            found = {name: dataset for name, dataset in found.items() if name.partition("/")[0] not in unused}
            refused = {name: why for name, dataset in found.items() if (why := _odd(dataset))}
            if not refused and sum(math.prod(dataset.shape) for dataset in found.values()) > MOST_VALUES:
                refused = {"all together": "too large"}
            arrays = (
                {}
                if refused
                else {name: torch.from_numpy(dataset[()].astype("float32")) for name, dataset in found.items()}
            )
    except Exception as error:  # a damaged file can make h5py raise anything
        raise ValueError(f"{path}: not a readable HDF5 file; was it cut off while copying? ({error})") from error
    refused |= {
        name: "no array of a convolution, dense layer or BatchNorm" for name in arrays if not ARRAY.search(name)
    }
    if refused or not arrays:
        odd = [f"{name}: {why}" for name, why in refused.items()] or ["it is empty"]
        raise ValueError(f"{path}: not a weight file of Keras as it is known here ({listed(odd)})")
    return _by_layer(path, arrays)


def _odd(dataset: Any) -> str | None:
    """Why a dataset is no array of weights."""
    if dataset.external or dataset.is_virtual:
        return "is stored in another file"
    return None if dataset.dtype.kind == "f" and dataset.shape else "no array of floating-point numbers"


def _by_layer(path: str | os.PathLike[str], arrays: Mapping[str, Tensor]) -> Layers:
    layers: Layers = {}
    for name, value in arrays.items():
        group, _, last = name.rpartition("/")
        layer = layers.setdefault(group.rpartition("/")[2], {})
        match = ARRAY.search(last)
        assert match is not None
        assert match.lastgroup is not None
        if match.lastgroup in layer:
            raise ValueError(f"{path}: has {name} twice, in different groups")
        layer[match.lastgroup] = value
    return layers


def check_layers(path: str | os.PathLike[str], layers: Layers, pairs: Iterable[tuple[str, str | None]]) -> None:
    """Raise ValueError, naming the file and what is missing or odd, unless it has just these layers, each with all its
    arrays, and as many values in them as the convolution has outputs.

    pairs: names of a convolution or dense layer and of the BatchNorm after it.
    """
    expected: dict[str, tuple[set[str], str]] = {}  # layer -> its arrays, the convolution that tells how long they are
    for conv, norm in pairs:
        expected[conv] = CONV, conv
        if norm is not None:
            expected[norm] = NORM, conv
    wrong = [f"{name} is missing" for name in expected if name not in layers]
    flat = [name for name, arrays in layers.items() if "kernel" in arrays and arrays["kernel"].dim() not in (2, 4)]
    wrong += [f"{name} has a kernel of {layers[name]['kernel'].dim()} dimensions" for name in flat]
    wrong += [f"{name} is not known" for name in layers if name not in expected]
    for name, (arrays, conv) in expected.items():
        if name in layers and set(layers[name]) != arrays:
            wrong.append(f"{name} has {', '.join(sorted(layers[name]))} instead of {', '.join(sorted(arrays))}")
        elif name in layers and "kernel" in layers.get(conv, ()):
            length = outputs(conv, layers[conv]["kernel"])
            vectors = {array: list(value.shape) for array, value in layers[name].items() if array != "kernel"}
            wrong += [f"{name} has {a} of shape {s}, not [{length}]" for a, s in vectors.items() if s != [length]]
    if wrong:
        raise ValueError(f"{path}: {listed(wrong)}")


def outputs(layer: str, kernel: Tensor) -> int:
    """Channels that a layer gives. Those of a deconvolution are before its inputs."""
    return kernel.shape[-2] if layer.endswith("deconv") and kernel.dim() > 1 else kernel.shape[-1]


def listed(reasons: list[str], most: int = 4) -> str:
    return "; ".join(reasons[:most]) + (f"; and {len(reasons) - most} more" if len(reasons) > most else "")
