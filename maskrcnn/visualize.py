"""Pictures: objects on an image, predictions beside ground truth, the curves of a training run.

Functions that draw on an Axes take and return it, so that a notebook can lay several out as it likes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.data import Dataset

from maskrcnn.evaluation.validate import MEASURES
from maskrcnn.heads import named_once
from maskrcnn.model import MaskRCNN
from maskrcnn.precision import autocast

COLOURS = colormaps["tab10"].colors  # type: ignore[attr-defined]
# tab10 without the grey, brown and pinks that a stained smear is made of; the rest follow for longer lists of classes.
CLASS_COLOURS = [COLOURS[i] for i in (0, 1, 2, 8, 3, 9, 4, 5, 6, 7)]


def draw_image(ax: Axes, image: Tensor) -> Axes:
    """image: float [3, H, W] in 0..1, in continuous coordinates: pixel i covers i to i + 1."""
    height, width = image.shape[-2:]
    ax.imshow(image.permute(1, 2, 0).clamp(0, 1).cpu().numpy(), extent=(0, width, height, 0), interpolation="nearest")
    ax.set_axis_off()
    return ax


def draw_objects(
    ax: Axes, image: Tensor, objects: Mapping[str, Tensor], class_names: Sequence[str], min_score: float = 0.0
) -> Axes:
    """The image with the outline, box and class of each object.

    image: float [3, H, W]; objects: a target or a prediction of `MaskRCNN` (boxes, labels, masks; scores if it has them).
    """
    draw_image(ax, image)
    scores = objects.get("scores")
    height, width = image.shape[-2:]
    for i, (box, label) in enumerate(zip(objects["boxes"].tolist(), objects["labels"].tolist(), strict=True)):
        if scores is not None and scores[i] < min_score:
            continue
        colour = CLASS_COLOURS[(label - 1) % len(CLASS_COLOURS)]
        mask = objects["masks"][i].reshape(height, width).float().cpu().numpy()
        draw_outline(ax, mask, colour)
        text = class_names[label - 1] if scores is None else f"{class_names[label - 1]} {scores[i]:.2f}"
        _draw_box(ax, box, text, colour)
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    return ax


def draw_outline(ax: Axes, mask: np.ndarray, colour: Any, fill: bool = True) -> Axes:
    """The outline of a mask [H, W] in 0..1, at 0.5."""
    if mask.max(initial=0) < 0.5:
        return ax
    # A frame of background closes outlines at the border; contour levels run through pixel centres, hence - 0.5.
    framed = np.pad(mask, 1)
    x, y = np.arange(framed.shape[1]) - 0.5, np.arange(framed.shape[0]) - 0.5
    if fill:
        ax.contourf(x, y, framed, levels=[0.5, np.inf], colors=[colour], alpha=0.25)
    ax.contour(x, y, framed, levels=[0.5], colors=[colour], linewidths=1.5)
    return ax


def _draw_box(ax: Axes, box: Sequence[float], text: str, colour: Any) -> None:
    x1, y1, x2, y2 = box
    ax.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=colour, linewidth=0.8, linestyle="--")
    # The label stands above the box, or inside it where there is no room above.
    ax.text(
        max(x1, 0),
        y1 if y1 > 16 else y1 + 2,
        text,
        fontsize=8,
        color="white",
        verticalalignment="bottom" if y1 > 16 else "top",
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.0},
        clip_on=True,
    )


def overlay(
    image: Tensor, objects: Mapping[str, Tensor], class_names: Sequence[str], min_score: float = 0.0
) -> np.ndarray:
    """The picture of `draw_objects` in the image's own size: uint8 [H, W, 3]."""
    height, width = image.shape[-2:]
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    draw_objects(figure.add_axes((0, 0, 1, 1)), image, objects, class_names, min_score)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:height, :width, :3].copy()


def comparison(
    examples: Sequence[tuple[Tensor, Mapping[str, Tensor], Mapping[str, Tensor]]],
    class_names: Sequence[str],
    min_score: float = 0.5,
) -> Figure:
    """Ground truth on the left, prediction on the right, a row an example (image, target, prediction)."""
    heights = [5 * image.shape[-2] / image.shape[-1] for image, _, _ in examples]
    figure = Figure(figsize=(10, sum(heights) + 0.5), layout="constrained")
    axes = figure.subplots(len(examples), 2, squeeze=False, height_ratios=heights)
    for (left, right), (image, target, prediction) in zip(axes, examples, strict=True):
        draw_objects(left, image, target, class_names)
        draw_objects(right, image, prediction, class_names, min_score)
    axes[0][0].set_title("ground truth")
    axes[0][1].set_title(f"prediction (score at least {min_score:g})")
    return figure


@torch.inference_mode()
def examples(
    model: MaskRCNN, dataset: Dataset[tuple[Tensor, dict[str, Tensor]]], precision: str = "auto", count: int = 5
) -> Figure:
    """`comparison` for `count` images, spread evenly over a data set with a length, of pairs of image and target."""
    model.eval()
    device = next(model.parameters()).device
    shown = []
    size = len(dataset)  # type: ignore[arg-type]
    for i in torch.linspace(0, size - 1, min(count, size)).long().tolist():
        image, target = dataset[i]
        with autocast(device, precision):
            prediction = model([image.to(device)])[0]
        shown.append((image, target, {name: value.cpu() for name, value in named_once(prediction).items()}))
    return comparison(shown, model.config.class_names)


def curves(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Losses and average precision over the epochs; grey: practice. history: the lines of a run's log.jsonl."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    losses, precision = figure.subplots(1, 2)
    epochs = [line["epoch"] for line in history]
    for i, name in enumerate(history[0]["train"]):
        losses.plot(epochs, [line["train"][name] for line in history], color=COLOURS[i], label=name)
        losses.plot(epochs, [line["val"][name] for line in history], color=COLOURS[i], linestyle="--")
    losses.set(title="losses (solid: training, dashed: validation)", xlabel="epoch", ylabel="loss", ylim=(0, None))
    losses.legend(fontsize=8)
    for i, (kind, title) in enumerate(MEASURES.items()):
        for name, style in (("ap", "-"), ("ap50", "--")):
            values = [line[kind][name] for line in history]
            precision.plot(epochs, values, style, color=COLOURS[i], label=f"{title} {name.upper()}")
    precision.set(title="average precision on validation images", xlabel="epoch", ylabel="AP", ylim=(0, 1.02))
    precision.legend(fontsize=8)
    practice = [line["epoch"] for line in history if line.get("practice")]
    for ax in (losses, precision):
        if practice:
            ax.axvspan(0, practice[-1], color="grey", alpha=0.15, linewidth=0)
        ax.grid(alpha=0.3)
        ax.xaxis.get_major_locator().set_params(integer=True)
    return figure
