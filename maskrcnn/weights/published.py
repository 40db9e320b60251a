"""Loading published weights by name: torchvision's Mask R-CNN with FPN, old files and new, and its ResNet classifiers.

Every name is translated by the table below, never by position.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from maskrcnn.model import MaskRCNN
from maskrcnn.weights.checkpoint import read_checkpoint

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

# Parameters with rows for each class, in their order: how many, and whether those of background come first.
OF_CLASSES = {"box_head.class_logits": (1, True), "box_head.box_deltas": (4, True), "mask_head.mask_logits": (1, False)}

REMEDY = "give a checkpoint of train.py, of torchvision's Mask R-CNN with FPN or of its ResNet, with the same backbone"


class LoadReport(NamedTuple):
    """What happened to each parameter.

    loaded: names in this model that were filled. skipped: names in the source that were left out, and why. missing: names
    in this model that the source does not have. unexpected: names in the source that this model does not have. by_class:
    names of the loaded ones of which only the rows of some classes were filled, and of which.
    """

    loaded: list[str]
    skipped: dict[str, str]
    missing: list[str]
    unexpected: list[str]
    by_class: dict[str, str]

    def __str__(self) -> str:
        counts = {name: len(getattr(self, name)) for name in ("loaded", "skipped", "missing", "unexpected")}
        lines = [", ".join(f"{count} {name}" for name, count in counts.items())]
        lines += [f"  skipped {name}: {why}" for name, why in self.skipped.items()]
        lines += [f"  missing {name}" for name in self.missing]
        lines += [f"  unexpected {name}" for name in self.unexpected]
        lines += [f"  loaded {name} of {rows}; its other classes are new" for name, rows in self.by_class.items()]
        return "\n".join(lines)


def load(model: MaskRCNN, source: Source) -> LoadReport:
    """Load into `model`, by name, every parameter that fits. One of another shape (another number of classes) is skipped.
    Of a checkpoint of this project with other classes, the weights of the classes that both have are loaded.

    source: a path or a state dict, of torchvision's Mask R-CNN or ResNet, or of this project. Raises ValueError, naming the
    file, if it cannot be read or if nothing in it fits.
    """
    where = "the state dict" if isinstance(source, Mapping) else str(source)
    state = source if isinstance(source, Mapping) else read_checkpoint(Path(source))
    their_config = state.get("config")
    their_classes = their_config.get("class_names") if isinstance(their_config, Mapping) else None
    state = state.get("model", state)
    ours = model.state_dict()
    fitting: dict[str, Tensor] = {}
    report = LoadReport([], {}, [], [], {})
    for name, value in state.items():
        new_name, new_value = translate(name, value)
        layer = new_name.rpartition(".")[0]
        if their_classes and layer in OF_CLASSES and new_name in ours:
            classes = tuple(their_classes), model.config.class_names
            if filled := rows_of_classes(new_value, ours[new_name], *classes, *OF_CLASSES[layer]):
                new_value, report.by_class[new_name] = filled
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
        raise ValueError(f"{where}: no name in it fits this model ({has}); {REMEDY}")
    model.load_state_dict(fitting, strict=False)
    report.loaded.extend(fitting)
    report.missing.extend(name for name in ours if name not in fitting and not name.endswith("num_batches_tracked"))
    return report


def rows_of_classes(
    theirs: Tensor,
    ours: Tensor,
    their_classes: Sequence[str],
    our_classes: Sequence[str],
    per_class: int,
    has_background: bool,
) -> tuple[Tensor, str] | None:
    """Our parameter with the rows of background and of the classes that both have replaced by theirs, and these classes.
    None if the classes are the same, or if one of the parameters is of a class-agnostic head."""
    sizes = [per_class * (len(names) + has_background) for names in (their_classes, our_classes)]
    if tuple(their_classes) == tuple(our_classes) or [len(theirs), len(ours)] != sizes:
        return None
    merged, rows = (value.unflatten(0, (-1, per_class)).clone() for value in (ours, theirs))
    common = [name for name in our_classes if name in their_classes]
    if has_background:
        merged[0] = rows[0]
    for name in common:
        merged[our_classes.index(name) + has_background] = rows[their_classes.index(name) + has_background]
    return merged.flatten(0, 1), ", ".join(["background"] * has_background + common) or "no class"


def translate(name: str, value: Tensor) -> tuple[str, Tensor]:
    """A published name and its value -> ours. Names that are ours already stay as they are."""
    new_name = name
    for pattern, replacement in RENAMING:
        new_name = re.sub(pattern, replacement, new_name)
    if new_name != name and new_name.startswith("mask_head.mask_logits."):
        value = value[1:]  # torchvision predicts a mask of background too, which no loss and no detection reads
    return new_name, value
