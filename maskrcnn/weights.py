"""Reading and writing weights: published checkpoints by name, and this project's own checkpoints.

Names follow torchvision's maskrcnn_resnet50_fpn, old files and new, and its ResNet classifiers; each is translated by the
table below, never by position.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from maskrcnn.config import Config
from maskrcnn.model import MaskRCNN

Source = str | os.PathLike[str] | Mapping[str, Any]

# Applied one after the other, each to the whole name.
RENAMING = (
    (r"^(conv1|bn1|layer\d)\.", r"backbone.body.\1."),  # a classifier is a bare ResNet
    (r"^backbone\.body\.conv1\.", "backbone.resnet.stem.conv."),
    (r"^backbone\.body\.bn1\.", "backbone.resnet.stem.norm."),
    *((rf"^backbone\.body\.layer{n}\.", f"backbone.resnet.res{n + 1}.") for n in range(1, 5)),
    (r"^(backbone\.resnet\.res\d\.\d+)\.bn(\d)\.", r"\1.norm\2."),
    (r"^(backbone\.resnet\.res\d\.\d+)\.downsample\.", r"\1.shortcut."),
    (r"^backbone\.fpn\.inner_blocks\.(\d)\.(?:0\.)?(\w+)$", r"backbone.fpn.lateral.\1.0.\2"),
    (r"^backbone\.fpn\.layer_blocks\.(\d)\.(?:0\.)?(\w+)$", r"backbone.fpn.output.\1.0.\2"),
    (r"^rpn\.head\.conv\.(?:0\.0\.)?(\w+)$", r"rpn_head.conv.\1"),
    (r"^rpn\.head\.cls_logits\.", "rpn_head.objectness."),
    (r"^rpn\.head\.bbox_pred\.", "rpn_head.deltas."),
    (r"^roi_heads\.box_head\.fc6\.", "box_head.fc1."),
    (r"^roi_heads\.box_head\.fc7\.", "box_head.fc2."),
    (r"^roi_heads\.box_predictor\.cls_score\.", "box_head.class_logits."),
    (r"^roi_heads\.box_predictor\.bbox_pred\.", "box_head.box_deltas."),
    *((rf"^roi_heads\.mask_head\.(?:mask_fcn{n + 1}|{n}\.0)\.", f"mask_head.convs.{n}.") for n in range(4)),
    (r"^roi_heads\.mask_predictor\.conv5_mask\.", "mask_head.deconv."),
    (r"^roi_heads\.mask_predictor\.mask_fcn_logits\.", "mask_head.mask_logits."),
)


class LoadReport(NamedTuple):
    """What became of every name.

    loaded: names of our parameters that were read. skipped: names of the source that were left out, and why. missing:
    names of ours that the source has nothing for. unexpected: names of the source that mean nothing here.
    """

    loaded: list[str]
    skipped: dict[str, str]
    missing: list[str]
    unexpected: list[str]

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} loaded, {len(self.skipped)} skipped, {len(self.missing)} missing, "
                 f"{len(self.unexpected)} unexpected"]  # fmt: skip
        lines += [f"  skipped {name}: {why}" for name, why in self.skipped.items()]
        lines += [f"  missing {name}" for name in self.missing]
        lines += [f"  unexpected {name}" for name in self.unexpected]
        return "\n".join(lines)


def load(model: MaskRCNN, source: Source) -> LoadReport:
    """Load what fits of a checkpoint into `model`, by name; parameters of another shape (another number of classes) stay.

    source: a path, or a state dict: torchvision's Mask R-CNN or ResNet, or this project's. Raises ValueError, naming the
    file, if it cannot be read or if nothing in it fits.
    """
    where = "the state dict" if isinstance(source, Mapping) else str(source)
    state = source if isinstance(source, Mapping) else _read(Path(source))
    state = state.get("model", state)
    ours = model.state_dict()
    fitting: dict[str, Tensor] = {}
    report = LoadReport([], {}, [], [])
    for name, value in state.items():
        new_name, new_value = translate(name, value)
        if new_name in ours and ours[new_name].shape == new_value.shape:
            fitting[new_name] = new_value
        elif new_name in ours:
            report.skipped[name] = f"shape {list(new_value.shape)}, here {list(ours[new_name].shape)}"
        elif name.startswith("fc.") or name.endswith(".num_batches_tracked"):
            report.skipped[name] = "has no counterpart here"
        else:
            report.unexpected.append(name)
    if not fitting:
        has = f"it has {', '.join(list(state)[:3])}, ..." if state else "it is empty"
        raise ValueError(
            f"{where}: no name in it fits this model ({has}); give a checkpoint of "
            "train.py, of torchvision's Mask R-CNN with FPN or of its ResNet, and the same backbone"
        )
    model.load_state_dict(fitting, strict=False)
    report.loaded.extend(fitting)
    report.missing.extend(name for name in ours if name not in fitting and not name.endswith("num_batches_tracked"))
    return report


def trained_on(path: str | os.PathLike[str]) -> list[str]:
    """Fingerprints of the images that a checkpoint of train.py has seen; [] of a checkpoint that does not say."""
    return list(_read(Path(path)).get("trained_on", ()))


def translate(name: str, value: Tensor) -> tuple[str, Tensor]:
    """A published name and its value -> ours. Names that are ours already stay as they are."""
    new_name = name
    for pattern, replacement in RENAMING:
        new_name = re.sub(pattern, replacement, new_name)
    if new_name != name and new_name.startswith("mask_head.mask_logits."):
        value = value[1:]  # theirs has a mask of background, which no loss and no detection ever reads
    return new_name, value


def save_checkpoint(path: str | os.PathLike[str], model: MaskRCNN, **extra: Any) -> None:
    """Write the model's config and weights, and `extra` beside them. A crash on the way leaves an old file whole."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    torch.save({"config": model.config.to_dict(), "model": model.state_dict(), **extra}, partial)
    partial.replace(path)


def load_checkpoint(path: str | os.PathLike[str]) -> tuple[MaskRCNN, dict[str, Any]]:
    """The model that `save_checkpoint` wrote, built from the config in it, and everything else in the file. Of a run folder
    it is the best checkpoint.

    Raises ValueError, naming the file, if it cannot be read or is not such a checkpoint.
    """
    checkpoint = _read(Path(path))
    if not all(isinstance(checkpoint.get(entry), Mapping) for entry in ("config", "model")):
        raise ValueError(f"{path}: not a checkpoint of train.py, which has the entries config and model")
    try:
        model = MaskRCNN(Config.from_dict(checkpoint.pop("config")))
        model.load_state_dict(checkpoint.pop("model"))
    except (ValueError, RuntimeError, TypeError) as error:
        reasons = str(error).splitlines()
        more = f" and {len(reasons) - 2} lines more" if len(reasons) > 2 else ""
        raise ValueError(
            f"{path}: a checkpoint of another version of this model ({' '.join(reasons[:2]).strip()[:300]}{more})"
        ) from error
    return model, checkpoint


def _read(path: Path) -> dict[str, Any]:
    if path.is_dir():  # a run that was stopped before its first validation has no best checkpoint yet
        path = next((path / name for name in ("best.pt", "last.pt") if (path / name).exists()), path / "best.pt")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give the path of a checkpoint, such as runs/.../best.pt")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the bytes of a damaged file can make the unpickler raise anything, KeyError included
        # Of PyTorch's advice, which is to trust the file, nothing is repeated.
        reason = (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0]
        raise ValueError(
            f"{path}: not a readable PyTorch checkpoint; was it cut off while copying? ({reason})"
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise ValueError(f"{path}: holds a {type(checkpoint).__name__}, not a dict of weights")
    return dict(checkpoint)
