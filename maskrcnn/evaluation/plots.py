"""Pictures of an evaluation: precision and recall, confusion matrix, calibration, and crops of cells and failures."""

import math
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from torch import Tensor

from maskrcnn.evaluation.average_precision import CLASS_AGNOSTIC, APResult
from maskrcnn.evaluation.evaluate import Evaluation
from maskrcnn.evaluation.failures import KINDS, Failure
from maskrcnn.evaluation.instances import predicted_regions, true_regions
from maskrcnn.evaluation.ranking import RECALLS
from maskrcnn.regions import Region
from maskrcnn.visualization.drawing import OKABE_ITO, class_colour, draw_image, draw_outline

Sample = tuple[Tensor, dict[str, Tensor]]


class Samples(Protocol):
    """Images and targets by index: a list, or a data set that loads them on demand."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


MARGIN = 0.35  # shown on each side of a crop, as a fraction of the cell's longer side
# The two colours that stay furthest apart for every kind of colour vision; a casing of white lifts blue off purple nuclei.
GT_COLOUR, PREDICTION_COLOUR = OKABE_ITO[0], OKABE_ITO[1]
LEGEND = "blue, solid: ground truth; orange, dashed: prediction"
CASING = 2.6  # points
TITLE_WIDTH = 30  # letters over a crop, so that its title does not run into the next one's


def precision_recall(
    ax: Axes, result: APResult, class_names: Sequence[str], title: str, interval: np.ndarray | None = None
) -> Axes:
    """Precision against recall, per class: solid at IoU 0.5, dashed at 0.75 where that differs.

    interval: [2, 101], lower and upper ends of an interval of the precision, drawn as a band.
    """
    for i, (name, curve) in enumerate(result.curves.items()):
        width = 1.5 + 1.3 * (len(result.curves) - 1 - i)  # the last one is the thinnest, so that it hides no other
        colour = class_colour(class_names.index(name) + 1) if name in class_names else "black"
        label = "class-agnostic" if name == CLASS_AGNOSTIC else name
        label += f", AP50 {result.per_class_ap50[name]:.2f}"
        ax.plot(RECALLS, curve[0], color=colour, linewidth=width, label=label)
        at_75 = curve[5]
        if (at_75 != curve[0]).any():
            ax.plot(RECALLS, at_75, color=colour, linewidth=0.8, linestyle="--")
    if interval is not None:
        ax.fill_between(RECALLS, *interval, color="grey", alpha=0.25, linewidth=0, label="95 % interval")
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.03), title=title)
    ax.grid(alpha=0.3)
    ax.legend(fontsize=8, loc="lower left")
    return ax


def confusion(ax: Axes, result: Evaluation) -> Axes:
    """The confusion matrix with intervals, each row shaded by its fractions.

    The last row holds the false positives, the last column the missed cells.
    """
    order = [*range(1, len(result.class_names) + 1), 0]
    counts, low, high = (values[np.ix_(order, order)] for values in result.confusion)
    fraction = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(fraction, cmap="Blues", vmin=0, vmax=1, aspect="auto")  # with square entries the layout clips the labels
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if fraction[row, column] > 0.6 else "black"
        if count or (row == column and order[row]):
            ax.text(column, row, f"{int(count)}", ha="center", va="center", color=colour)
        if count and low[row, column] < high[row, column]:
            text = f"{low[row, column]:.0f} to {high[row, column]:.0f}"
            ax.text(column, row + 0.32, text, ha="center", va="center", color=colour, fontsize=6)
    ax.set_xticks(range(len(order)), [*result.class_names, "missed"], rotation=40, ha="right")
    ax.set_yticks(range(len(order)), [*result.class_names, "false positive"])
    ax.set(xlabel="predicted class", ylabel="true class", title="confusion matrix")
    return ax


def calibration(ax: Axes, result: Evaluation) -> Axes:
    """The fraction of correct detections against their mean score, per tenth of the score, with intervals and counts.

    A calibrated model, whose score is the probability of being correct, lies on the diagonal.
    """
    number, number_correct, score_sum = result.reliability.T
    filled = number > 0
    mean_score, fraction = score_sum[filled] / number[filled], number_correct[filled] / number[filled]
    ax.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    ax.plot(mean_score, fraction, marker="o", color=OKABE_ITO[0])
    low, high = result.fraction_correct.low[filled], result.fraction_correct.high[filled]
    ax.vlines(mean_score, low, high, alpha=0.5, color=OKABE_ITO[0])
    for x, y, n in zip(mean_score, fraction, number[filled], strict=True):
        # Below and to the left of the point, except near the axes, where the tick labels are.
        offset, side = (5, "left") if x < 0.15 else (-5, "right")
        position = (offset, 6 if y < 0.1 else -11)
        ax.annotate(f"{int(n)}", (x, y), textcoords="offset points", xytext=position, fontsize=8, ha=side)
    ax.set(xlabel="score", ylabel="fraction correct", xlim=(0, 1.02), ylim=(0, 1.03), title="calibration")
    ax.grid(alpha=0.3)
    return ax


def curve_figures(result: Evaluation) -> dict[str, Figure]:
    """Title -> figure: precision and recall per class and class-agnostic, confusion matrix and calibration."""
    drawn: dict[str, Callable[[Axes], Axes]] = {
        "precision and recall": lambda ax: precision_recall(ax, result.ap["mask"], result.class_names, ""),
        "precision and recall, class-agnostic": lambda ax: _class_agnostic(ax, result),
        "confusion matrix": lambda ax: confusion(ax, result),
        "calibration": lambda ax: calibration(ax, result),
    }
    figures = {}
    side = max(4.4, 0.5 * len(result.class_names) + 1.5)  # inches of the confusion matrix
    for title, draw in drawn.items():
        size = (side + 0.8, side) if title == "confusion matrix" else (5.2, 4.4)
        figures[title] = Figure(figsize=size, layout="constrained")
        draw(figures[title].add_subplot()).set_title("")  # the title is a heading, and the name of the file
    return figures


def _class_agnostic(ax: Axes, result: Evaluation) -> Axes:
    interval = np.stack([result.curve.low, result.curve.high])
    return precision_recall(ax, result.ap["mask_class_agnostic"], result.class_names, "", interval)


class Crop(NamedTuple):
    """A cell to show: index of its image, box (x1, y1, x2, y2), and the title above it."""

    image: int
    box: tuple[float, float, float, float]
    title: str


def ranked_crops(result: Evaluation, count: int = 4) -> dict[str, list[Crop]]:
    """`count` matched cells each with the best, the median and the worst mask IoU; no cell twice, so of few cells fewer."""
    ranked = []
    for i, matches in enumerate(result.matches):
        for pred_index, gt_index, iou in zip(*matches[:3], strict=True):
            labels = matches.pred_labels[pred_index], matches.gt_labels[gt_index]
            predicted, true = (result.class_names[label - 1] for label in labels)
            name = true if predicted == true else f"{true}\npredicted {predicted}"
            title = _title(Path(result.files[i]).name, f"IoU {iou:.3f}, {name}")
            ranked.append((iou, Crop(i, tuple(result.gt_boxes[i][gt_index].tolist()), title)))
    ranked.sort(key=lambda item: -item[0])
    crops = [crop for _, crop in ranked]
    count = min(count, max(1, len(crops) // 3))
    best, rest = crops[:count], crops[count:]
    worst, middle = rest[-count:][::-1], rest[:-count]
    start = max(0, (len(middle) - count) // 2)
    return {"best": best, "median": middle[start : start + count], "worst": worst}


def failure_crops(result: Evaluation, kind: str, count: int = 12) -> list[Crop]:
    """The first `count` failures of a kind."""
    of_kind = [
        (i, failure) for i, failures in enumerate(result.failures) for failure in failures if failure.kind == kind
    ]
    return [Crop(i, failure.box, _failure_title(result, i, failure)) for i, failure in of_kind[:count]]


def _failure_title(result: Evaluation, image: int, failure: Failure) -> str:
    matches, lines = result.matches[image], [Path(result.files[image]).name]
    if failure.gt_index is not None:
        lines.append(f"true {result.class_names[matches.gt_labels[failure.gt_index] - 1]}")
    if failure.pred_index is not None:
        name = result.class_names[matches.pred_labels[failure.pred_index] - 1]
        lines.append(f"predicted {name} {matches.scores[failure.pred_index]:.2f}")
    return _title(*lines)


def _title(*lines: str) -> str:
    """A line each, the long ones broken: else they would run into the next picture."""
    return "\n".join(part for text in lines for line in text.split("\n") for part in textwrap.wrap(line, TITLE_WIDTH))


def gallery(crops: Sequence[Crop], sample: Callable[[int], Sample], result: Evaluation, columns: int = 4) -> Figure:
    """The crops in a grid, with the outlines of LEGEND. sample: image index -> sample."""
    rows = max(1, -(-len(crops) // columns))
    figure = Figure(figsize=(2.3 * columns, 2.8 * rows), layout="constrained")
    for ax in figure.subplots(rows, columns, squeeze=False).flat:
        ax.set_axis_off()
        ax.set_anchor("S")  # crops are square: the space above them is for the titles
    for ax, crop in zip(figure.axes, crops, strict=False):
        image, target = sample(crop.image)
        _draw_crop(ax, image, crop.box, true_regions(target), predicted_regions(result.predictions[crop.image]))
        ax.set_title(crop.title, fontsize=8, parse_math=False)
    return figure


def _draw_crop(
    ax: Axes,
    image: Tensor,
    box: tuple[float, float, float, float],
    true: Sequence[Region | None],
    predicted: Sequence[Region | None],
) -> None:
    """A square around a box, and nothing of the image beyond it, which may be large. Coordinates are those of the square's
    first pixel."""
    x1, y1, x2, y2 = box
    side = (1 + 2 * MARGIN) * max(x2 - x1, y2 - y1)
    x, y = (x1 + x2 - side) / 2, (y1 + y2 - side) / 2
    # With pixels beyond the square, so that what goes on there is not closed by a line along its edge.
    left, top = max(math.floor(x) - 2, 0), max(math.floor(y) - 2, 0)
    bottom, right = math.ceil(y + side) + 2, math.ceil(x + side) + 2
    draw_image(ax, image[:, top:bottom, left:right])
    for regions, colour, line in ((true, GT_COLOUR, "solid"), (predicted, PREDICTION_COLOUR, "dashed")):
        for region in regions:
            if part := region and region.within(top, left, bottom, right):
                mask = np.zeros((part.box[3] - top, part.box[2] - left), np.float32)
                mask[part.moved(-top, -left).slices] = part.mask
                draw_outline(ax, mask, colour, fill=False)
                ax.collections[-1].set(linestyle=line, path_effects=[withStroke(linewidth=CASING, foreground="white")])
    ax.set(xlim=(x - left, x + side - left), ylim=(y + side - top, y - top))


def galleries(result: Evaluation, samples: Samples) -> dict[str, Figure]:
    """Title -> figure: the best, median and worst masks, then every kind of failure that occurs."""
    pictures = {f"{name} masks": crops for name, crops in ranked_crops(result).items()}
    pictures |= {kind: failure_crops(result, kind) for kind in KINDS}
    counts = result.failure_counts()
    figures = {}
    for name, crops in pictures.items():
        if crops:
            figures[name] = gallery(crops, lambda i: samples[i], result, columns=min(4, len(crops)))
        if len(crops) < counts.get(name, 0):
            figures[name].supxlabel(f"the first {len(crops)} of {counts[name]}; the list below has all", fontsize=9)
    return figures
