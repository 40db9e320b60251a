"""Pictures of an evaluation: precision and recall, confusion matrix, calibration, and crops of cells and failures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from maskrcnn.evaluation.average_precision import CLASS_AGNOSTIC, RECALLS, APResult
from maskrcnn.evaluation.evaluate import Evaluation
from maskrcnn.evaluation.failures import KINDS, Failure
from maskrcnn.visualization.drawing import class_colour, draw_image, draw_outline

Sample = tuple[Tensor, dict[str, Tensor]]


class Samples(Protocol):
    """Images and targets by index: a list, or a data set that loads them on demand."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


MARGIN = 0.35  # shown on each side of a crop, as a fraction of the cell's longer side
GT_COLOUR, PREDICTION_COLOUR = "#00a030", "#e0218a"


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
        if count and not np.isnan(low[row, column]):
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
    ax.plot(mean_score, fraction, marker="o")
    ax.vlines(mean_score, result.fraction_correct.low[filled], result.fraction_correct.high[filled], alpha=0.5)
    for x, y, n in zip(mean_score, fraction, number[filled], strict=True):
        # Below and to the left of the point, except near the axes, where the tick labels are.
        offset, side = (5, "left") if x < 0.15 else (-5, "right")
        position = (offset, 6 if y < 0.1 else -11)
        ax.annotate(f"{int(n)}", (x, y), textcoords="offset points", xytext=position, fontsize=8, ha=side)
    ax.set(xlabel="score", ylabel="fraction correct", xlim=(0, 1.02), ylim=(0, 1.03), title="calibration")
    ax.grid(alpha=0.3)
    return ax


def curves_figure(result: Evaluation) -> Figure:
    """Precision and recall per class and class-agnostic, confusion matrix and calibration side by side."""
    figure = Figure(figsize=(17, 4.6), layout="constrained")
    axes = figure.subplots(1, 4)
    precision_recall(axes[0], result.ap["mask"], result.class_names, "masks (dashed: IoU 0.75)")
    interval = np.stack([result.curve.low, result.curve.high])
    precision_recall(axes[1], result.ap["mask_class_agnostic"], result.class_names, "masks, class-agnostic", interval)
    confusion(axes[2], result)
    calibration(axes[3], result)
    return figure


class Crop(NamedTuple):
    """A cell to show: index of its image, box (x1, y1, x2, y2), and the title above it."""

    image: int
    box: tuple[float, float, float, float]
    title: str


def ranked_crops(result: Evaluation, gt_boxes: Sequence[Tensor], count: int = 5) -> dict[str, list[Crop]]:
    """`count` matched cells each with the best, the median and the worst mask IoU. gt_boxes: [N_i, 4] of each image."""
    ranked = []
    for i, matches in enumerate(result.matches):
        for pred_index, gt_index, iou in zip(*matches[:3], strict=True):
            labels = matches.pred_labels[pred_index], matches.gt_labels[gt_index]
            predicted, true = (result.class_names[label - 1] for label in labels)
            name = true if predicted == true else f"{true}\npredicted {predicted}"
            title = f"{Path(result.files[i]).name}\nIoU {iou:.3f}, {name}"
            ranked.append((iou, Crop(i, tuple(gt_boxes[i][gt_index].tolist()), title)))
    ranked.sort(key=lambda item: -item[0])
    crops = [crop for _, crop in ranked]
    middle = max(0, (len(crops) - count) // 2)
    return {"best": crops[:count], "median": crops[middle : middle + count], "worst": crops[-count:][::-1]}


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
    return "\n".join(lines)  # a line each: side by side they would run into the next picture


def gallery(crops: Sequence[Crop], sample: Callable[[int], Sample], result: Evaluation, columns: int = 6) -> Figure:
    """The crops in a grid, with true masks outlined in green and predicted ones in pink. sample: image index -> sample."""
    rows = max(1, -(-len(crops) // columns))
    figure = Figure(figsize=(2.3 * columns, 2.8 * rows), layout="constrained")
    for ax in figure.subplots(rows, columns, squeeze=False).flat:
        ax.set_axis_off()
        ax.set_anchor("S")  # crops are square: the space above them is for the titles
    for ax, crop in zip(figure.axes, crops, strict=False):
        image, target = sample(crop.image)
        draw_image(ax, image)
        for mask in target["masks"]:
            draw_outline(ax, mask.float().numpy(), GT_COLOUR, fill=False)
        for mask in result.predictions[crop.image]["masks"]:
            draw_outline(ax, mask.float().numpy(), PREDICTION_COLOUR, fill=False)
        x1, y1, x2, y2 = crop.box
        side = (1 + 2 * MARGIN) * max(x2 - x1, y2 - y1)
        x, y = (x1 + x2 - side) / 2, (y1 + y2 - side) / 2
        ax.set(xlim=(x, x + side), ylim=(y + side, y))
        ax.set_title(crop.title, fontsize=8, parse_math=False)
    return figure


def galleries(result: Evaluation, samples: Samples) -> dict[str, Figure]:
    """Title -> figure: the best, median and worst masks, then every kind of failure that occurs."""
    ranked = ranked_crops(result, [samples[i][1]["boxes"] for i in range(len(samples))])
    figures = {
        f"{name} masks": gallery(crops, lambda i: samples[i], result, columns=len(crops))
        for name, crops in ranked.items()
        if crops
    }
    counts = result.failure_counts()
    for kind in KINDS:
        crops = failure_crops(result, kind)
        if crops:
            figures[kind] = gallery(crops, lambda i: samples[i], result)
        if len(crops) < counts[kind]:
            figures[kind].supxlabel(f"the first {len(crops)} of {counts[kind]}; the list below has all", fontsize=9)
    return figures
