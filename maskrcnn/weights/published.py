"""Loading weights into a model that is there already, by name: what fits is taken, and the rest is reported."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from maskrcnn.model import MaskRCNN
from maskrcnn.weights.sources import REMEDY, Source, read_weights
from maskrcnn.weights.torchvision import COUNTER

SHOWN = 8  # lines of a report that name what was not loaded
# Parameters with rows for each class, in their order: how many, and whether those of background come first.
OF_CLASSES = {"box_head.class_logits": (1, True), "box_head.box_deltas": (4, True), "mask_head.mask_logits": (1, False)}


class LoadReport(NamedTuple):
    """What happened to each parameter.

    kind: what the source is. loaded: names in this model that were filled. skipped: names in the source, as they are called
    here, that were left out, and why. missing: names in this model that the source does not have. unexpected: names in the
    source that this model does not have. by_class: names of the loaded ones of which only the rows of some classes were
    filled, and of which.
    """

    kind: str
    loaded: list[str]
    skipped: dict[str, str]
    missing: list[str]
    unexpected: list[str]
    by_class: dict[str, str]
    remark: str = ""

    @property
    def random_parts(self) -> list[str]:
        """The parts of the model, such as mask_head, of which no parameter was filled."""
        filled = {name.split(".")[0] for name in (*self.loaded, *self.by_class)}
        return [part for part in dict.fromkeys(name.split(".")[0] for name in self.missing) if part not in filled]

    def __str__(self) -> str:
        counts = {name: len(getattr(self, name)) for name in ("loaded", "skipped", "missing", "unexpected")}
        lines = [f"{self.kind}: {', '.join(f'{count} {name}' for name, count in counts.items())}"]
        lines += [f"  {part} stays random, the file has nothing for it" for part in self.random_parts]
        lines += _some("skipped", [f"{name}: {why}" for name, why in self.skipped.items()])
        lines += _some("missing", [name for name in self.missing if name.split(".")[0] not in self.random_parts])
        lines += _some("unexpected", self.unexpected)
        lines += [f"  warning: {self.remark}"] if self.remark else []
        if self.unexpected:
            reason = "is of another architecture: what is unexpected has no place in this model"
            lines.append(f"  warning: {self.kind} {reason}")
        lines += [f"  loaded {name} of {rows}; its other classes are new" for name, rows in self.by_class.items()]
        return "\n".join(lines)


def _some(what: str, entries: Sequence[str]) -> list[str]:
    """A line for each of the first SHOWN, and how many more there are."""
    more = [f"  {what} {len(entries) - SHOWN} more"] if len(entries) > SHOWN else []
    return [f"  {what} {entry}" for entry in entries[:SHOWN]] + more


def load(model: MaskRCNN, source: Source) -> LoadReport:
    """Load into `model`, by name, every parameter that fits. One of another shape (another number of classes) is skipped.
    Of a detector with other classes, the weights of the classes that both have are loaded.

    source: see `read_weights`. Raises ValueError, naming the file, if it cannot be read or if nothing in it fits.
    """
    where = "the state dict" if isinstance(source, Mapping) else str(source)
    weights = read_weights(source, model.config)
    ours = model.state_dict()
    fitting: dict[str, Tensor] = {}
    report = LoadReport(weights.kind, [], {}, [], [], {})
    for name, value in weights.state.items():
        layer = name.rpartition(".")[0]
        if weights.class_names and layer in OF_CLASSES and name in ours:
            classes = weights.class_names, model.config.class_names
            if filled := rows_of_classes(value, ours[name], *classes, *OF_CLASSES[layer]):
                value, report.by_class[name] = filled
        if name in ours and ours[name].shape == value.shape:
            fitting[name] = value
        elif name in ours:
            report.skipped[name] = f"shape {list(value.shape)}, here {list(ours[name].shape)}"
        elif name.startswith("fc.") or name.endswith(COUNTER):
            continue  # of a classifier's last layer, and how many batches a norm has seen: never needed
        else:
            report.unexpected.append(name)
    if not fitting:
        has = ", ".join(list(weights.state)[:3])
        raise ValueError(
            f"{where}: no name in it fits this model (it has {has}, ...); {REMEDY}, with the same backbone"
        )
    model.load_state_dict(fitting, strict=False)
    report.loaded.extend(fitting)
    report.missing.extend(name for name in ours if name not in fitting and not name.endswith(COUNTER))
    eps = (weights.config or {}).get("norm_eps", model.config.norm_eps)
    if eps != model.config.norm_eps and model.config.norm != "groupnorm":
        remark = f"its norms have an eps of {eps}, and those of this model {model.config.norm_eps}: results will differ"
        report = report._replace(remark=f"{remark}; give norm_eps={eps} to the Config")
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
    None if the classes are the same, or if one of the parameters is of a class-agnostic head or of another width."""
    sizes = [per_class * (len(names) + has_background) for names in (their_classes, our_classes)]
    if (
        tuple(their_classes) == tuple(our_classes)
        or [len(theirs), len(ours)] != sizes
        or theirs.shape[1:] != ours.shape[1:]
    ):
        return None
    merged, rows = (value.unflatten(0, (-1, per_class)).clone() for value in (ours, theirs))
    common = [name for name in our_classes if name in their_classes]
    if has_background:
        merged[0] = rows[0]
    for name in common:
        merged[our_classes.index(name) + has_background] = rows[their_classes.index(name) + has_background]
    return merged.flatten(0, 1), ", ".join(["background"] * has_background + common) or "no class"
