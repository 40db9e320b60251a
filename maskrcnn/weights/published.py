"""Loading published weights by name: torchvision's Mask R-CNN with FPN, old files and new, and its ResNet classifiers.

Every name is translated by the table below, never by position.
"""

import os
import re
from collections.abc import Mapping
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


class LoadReport(NamedTuple):
    """What happened to each parameter.

    loaded: names in this model that were filled. skipped: names in the source that were left out, and why. missing: names
    in this model that the source does not have. unexpected: names in the source that this model does not have.
    """

    loaded: list[str]
    skipped: dict[str, str]
    missing: list[str]
    unexpected: list[str]

    def __str__(self) -> str:
        counts = {name: len(getattr(self, name)) for name in self._fields}
        lines = [", ".join(f"{count} {name}" for name, count in counts.items())]
        lines += [f"  skipped {name}: {why}" for name, why in self.skipped.items()]
        lines += [f"  missing {name}" for name in self.missing]
        lines += [f"  unexpected {name}" for name in self.unexpected]
        return "\n".join(lines)


def load(model: MaskRCNN, source: Source) -> LoadReport:
    """Load into `model`, by name, every parameter that fits. One of another shape (another number of classes) is skipped.

    source: a path or a state dict, of torchvision's Mask R-CNN or ResNet, or of this project. Raises ValueError, naming the
    file, if it cannot be read or if nothing in it fits.
    """
    where = "the state dict" if isinstance(source, Mapping) else str(source)
    state = source if isinstance(source, Mapping) else read_checkpoint(Path(source))
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
            f"{where}: no name in it fits this model ({has}); give a checkpoint of train.py, of torchvision's "
            "Mask R-CNN with FPN or of its ResNet, with the same backbone"
        )
    model.load_state_dict(fitting, strict=False)
    report.loaded.extend(fitting)
    report.missing.extend(name for name in ours if name not in fitting and not name.endswith("num_batches_tracked"))
    return report


def translate(name: str, value: Tensor) -> tuple[str, Tensor]:
    """A published name and its value -> ours. Names that are ours already stay as they are."""
    new_name = name
    for pattern, replacement in RENAMING:
        new_name = re.sub(pattern, replacement, new_name)
    if new_name != name and new_name.startswith("mask_head.mask_logits."):
        value = value[1:]  # torchvision predicts a mask of background too, which no loss and no detection reads
    return new_name, value
