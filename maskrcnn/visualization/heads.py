"""The heads: class probabilities, masks as logits and pasted, detections, losses.

Glossary: R RoIs; K classes without background; M the side of a mask (28).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from maskrcnn.heads import BoxPrediction, Detections, MaskPrediction, MaskTargets
from maskrcnn.visualization.drawing import (
    COLOURS,
    GREY,
    LABEL_SIZE,
    class_colour,
    draw_box,
    draw_image,
    draw_outline,
)  # fmt: skip


def draw_class_scores(ax: Axes, prediction: BoxPrediction, roi: int, class_names: Sequence[str]) -> Axes:
    """The box head's probabilities for an RoI, as bars: softmax over background and K classes."""
    scores = prediction.class_logits[roi].detach().softmax(dim=0).cpu().numpy()
    names = ["background", *class_names]
    ax.barh(names, scores, color=[GREY, *(class_colour(k) for k in range(1, len(names)))])
    ax.invert_yaxis()
    ax.set(xlim=(0, 1), xlabel="probability", title=f"RoI {roi}: {names[int(scores.argmax())]}")
    return ax


def draw_detections(
    ax: Axes, detections: Detections, class_names: Sequence[str], image: int = 0, score_threshold: float = 0.0
) -> Axes:
    """Boxes, classes and scores of an image's detections, before there are masks. The highest score lies on top, where an
    object is detected under two classes."""
    boxes, labels, scores = (values[image].tolist() for values in detections)
    for box, label, score in sorted(zip(boxes, labels, scores, strict=True), key=lambda detection: detection[2]):
        if score >= score_threshold:
            draw_box(ax, box, f"{class_names[label - 1]} {score:.2f}", class_colour(label), line="-")
    return ax


def draw_mask_target(ax: Axes, targets: MaskTargets, roi: int) -> Axes:
    """The mask that the mask head should predict for an RoI: M x M mask pixels from 0 to 1."""
    return _draw_mask(ax, targets.masks[roi], "target", cmap="gray", vmin=0, vmax=1)


def draw_mask_logits(ax: Axes, prediction: MaskPrediction, roi: int, label: int | None = None) -> Axes:
    """The mask logits of an RoI for one class, by default the RoI's class. Above 0 (red) is the object."""
    label = int(prediction.labels[roi]) if label is None else label
    logits = prediction.mask_logits[roi, label - 1]
    largest = float(logits.detach().abs().max())
    return _draw_mask(ax, logits, "logits", cmap="RdBu_r", vmin=-largest, vmax=largest)


def draw_pasted(ax: Axes, image: Tensor, result: Mapping[str, Tensor], index: int = 0) -> Axes:
    """The pasted mask of object `index` as a heat map over the image [3, H, W], with its outline at 0.5.

    result: what `MaskRCNN` returns for the image.
    """
    height, width = image.shape[-2:]
    mask = result["masks"][index, 0].detach().float().cpu().numpy()
    draw_image(ax, image)
    ax.imshow(mask, extent=(0, width, height, 0), cmap="inferno", vmin=0, vmax=1, alpha=0.5)
    ax.set_title("pasted, with the outline at 0.5")
    return draw_outline(ax, mask, "white", fill=False)


def draw_losses(ax: Axes, losses: Mapping[str, Tensor]) -> Axes:
    """The losses as bars, with their sum."""
    values = [float(value.detach()) for value in losses.values()]
    ax.barh(list(losses), values, color=COLOURS[: len(values)])
    for row, value in enumerate(values):
        ax.text(value, row, f" {value:.3f}", va="center", fontsize=LABEL_SIZE)
    ax.invert_yaxis()
    ax.set(xlim=(0, 1.2 * max(values, default=1) or 1), xlabel="loss", title=f"total loss {sum(values):.3f}")
    return ax


def _draw_mask(ax: Axes, mask: Tensor, title: str, **style: Any) -> Axes:
    """A mask [M, M], one square per mask pixel."""
    values: np.ndarray = mask.detach().float().cpu().numpy()
    ax.imshow(values, extent=(0, values.shape[1], values.shape[0], 0), **style)
    ax.set_title(f"{title} {values.shape[0]} x {values.shape[1]}")
    ax.set_axis_off()
    return ax
