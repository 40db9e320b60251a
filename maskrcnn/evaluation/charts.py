"""Pictures of an evaluation: precision against recall, confusion, calibration, and the cells themselves."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from maskrcnn.drawing import class_colour, draw_image, draw_outline
from maskrcnn.evaluation.average_precision import RECALLS, THRESHOLDS, APResult
from maskrcnn.evaluation.evaluate import Evaluation
from maskrcnn.evaluation.failures import KINDS, Failure

Sample = tuple[Tensor, dict[str, Tensor]]


class Samples(Protocol):
    """Images and targets by number: a list, or a data set that makes them when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


MARGIN = 0.35  # of a cell's side, shown around it
TRUE, FOUND = "#00a030", "#e0218a"  # outlines: ground truth, detection


def precision_recall(
    ax: Axes, result: APResult, class_names: Sequence[str], title: str, interval: np.ndarray | None = None
) -> Axes:
    """A curve for each class at IoU 0.5, and dashed at 0.75 where that differs. interval [2, 101]: a band to draw."""
    for number, (name, curve) in enumerate(result.curves.items()):
        width = 1.5 + 1.3 * (len(result.curves) - 1 - number)  # the last is the thinnest, so that none hides another
        colour = class_colour(class_names.index(name) + 1) if name in class_names else "black"
        ax.plot(
            RECALLS, curve[0], color=colour, linewidth=width, label=f"{name}, AP50 {result.per_class_ap50[name]:.2f}"
        )
        stricter = curve[list(THRESHOLDS.round(2)).index(0.75)]
        if (stricter != curve[0]).any():
            ax.plot(RECALLS, stricter, color=colour, linewidth=0.8, linestyle="--")
    if interval is not None:
        ax.fill_between(RECALLS, *interval, color="grey", alpha=0.25, linewidth=0, label="95 % interval")
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.03), title=title)
    ax.grid(alpha=0.3)
    ax.legend(fontsize=8, loc="lower left")
    return ax


def confusion(ax: Axes, result: Evaluation) -> Axes:
    """Counts with their intervals, shaded by their share of the row. The last row: detections with no cell; the last column:
    cells missed."""
    order = [*range(1, len(result.class_names) + 1), 0]
    counts = result.confusion[np.ix_(order, order)]
    low, high = (ends[np.ix_(order, order)] for ends in result.confusion_interval)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")  # square, the layout would cut the names below it off
    for (row, column), value in np.ndenumerate(counts):
        if value or row == column:
            colour = "white" if share[row, column] > 0.6 else "black"
            ax.text(column, row, f"{int(value)}", ha="center", va="center", color=colour)
            if value and not np.isnan(low[row, column]):
                text = f"{low[row, column]:.0f} to {high[row, column]:.0f}"
                ax.text(column, row + 0.32, text, ha="center", va="center", color=colour, fontsize=6)
    ax.texts[-1].set_text("")  # no cell and no detection: there is nothing to count
    ax.set_xticks(range(len(order)), [*result.class_names, "missed"], rotation=40, ha="right")
    ax.set_yticks(range(len(order)), [*result.class_names, "nothing there"])
    ax.set(xlabel="called", ylabel="is", title="confusion, shaded by row")
    return ax


def calibration(ax: Axes, result: Evaluation) -> Axes:
    """How often detections of a score are right, with intervals: on the diagonal, a score is a probability."""
    number, right, scores = result.calibration.T
    there = number > 0
    ax.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    mean, share = scores[there] / number[there], right[there] / number[there]
    ax.plot(mean, share, marker="o")
    ax.vlines(mean, *result.calibration_interval[:, there], alpha=0.5)
    for x, y, n in zip(mean, share, number[there], strict=True):
        # Below the point and to its left, but at the axes, whose own numbers stand there.
        beside = (5 if x < 0.15 else -5, 6 if y < 0.1 else -11)
        ax.annotate(
            f"{int(n)}",
            (x, y),
            textcoords="offset points",
            xytext=beside,
            fontsize=8,
            ha="left" if x < 0.15 else "right",
        )
    ax.set(xlabel="score", ylabel="share that is right", xlim=(0, 1.02), ylim=(0, 1.03), title="calibration")
    ax.grid(alpha=0.3)
    return ax


def curves_figure(result: Evaluation) -> Figure:
    figure = Figure(figsize=(17, 4.6), layout="constrained")
    axes = figure.subplots(1, 4)
    precision_recall(axes[0], result.ap["mask"], result.class_names, "masks (dashed: IoU 0.75)")
    any_class = result.ap["mask, any class"]
    precision_recall(axes[1], any_class, result.class_names, "masks of any class", result.curve_interval)
    confusion(axes[2], result)
    calibration(axes[3], result)
    return figure


class Shown(NamedTuple):
    """A cell to be shown: image number, box, and what to write over it."""

    image: int
    box: tuple[float, float, float, float]
    title: str


def ranked_cells(result: Evaluation, gt_boxes: Sequence[Tensor], count: int = 5) -> dict[str, list[Shown]]:
    """The matched cells with the best, the median and the worst outlines. gt_boxes: of each image [N_i, 4]."""
    cells = []
    for i, pairs in enumerate(result.pairs):
        for detection, cell, iou in zip(pairs.detections, pairs.cells, pairs.iou, strict=True):
            called, true = (result.class_names[k - 1] for k in (pairs.labels[detection], pairs.gt_labels[cell]))
            name = true if called == true else f"{true}, called {called}"
            title = f"{Path(result.files[i]).name}\nIoU {iou:.3f}, {name}"
            cells.append((iou, Shown(i, tuple(gt_boxes[i][cell].tolist()), title)))
    cells.sort(key=lambda cell: -cell[0])
    shown = [cell for _, cell in cells]
    middle = max(0, (len(shown) - count) // 2)
    return {"best": shown[:count], "median": shown[middle : middle + count], "worst": shown[-count:][::-1]}


def failures_of(result: Evaluation, kind: str, count: int = 12) -> list[Shown]:
    """The first failures of a kind."""

    def title(i: int, failure: Failure) -> str:
        names = []
        if failure.cell is not None:
            names.append(f"is {result.class_names[result.pairs[i].gt_labels[failure.cell] - 1]}")
        if failure.detection is not None:
            names.append(f"called {result.class_names[result.pairs[i].labels[failure.detection] - 1]}")
            names.append(f"{result.pairs[i].scores[failure.detection]:.2f}")
        return f"{Path(result.files[i]).name}\n{', '.join(names)}"

    of_kind = [(i, one) for i, failures in enumerate(result.failures) for one in failures if one.kind == kind]
    return [Shown(i, one.box, title(i, one)) for i, one in of_kind[:count]]


def gallery(shown: Sequence[Shown], sample: Callable[[int], Sample], result: Evaluation, columns: int = 6) -> Figure:
    """Each cell with some of its surroundings: ground truth outlined in green, detections in pink."""
    rows = max(1, -(-len(shown) // columns))
    figure = Figure(figsize=(2.3 * columns, 2.7 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for ax in axes:
        ax.set_axis_off()
        ax.set_anchor("S")  # square in a slot that is higher: the room is for the title
    for ax, one in zip(figure.axes, shown, strict=False):
        image, target = sample(one.image)
        draw_image(ax, image)
        for masks, colour in ((target["masks"], TRUE), (result.predictions[one.image]["masks"], FOUND)):
            for mask in masks:
                draw_outline(ax, mask.float().numpy(), colour, fill=False)
        x1, y1, x2, y2 = one.box
        side = (1 + 2 * MARGIN) * max(x2 - x1, y2 - y1)
        x, y = (x1 + x2 - side) / 2, (y1 + y2 - side) / 2
        ax.set(xlim=(x, x + side), ylim=(y + side, y))
        ax.set_title(one.title, fontsize=8)
    return figure


def galleries(result: Evaluation, samples: Samples) -> dict[str, Figure]:
    """Title -> picture: cells by outline, then every kind of failure that there is."""
    ranked = ranked_cells(result, [samples[i][1]["boxes"] for i in range(len(samples))])
    figures = {
        f"{name} outlines": gallery(shown, lambda i: samples[i], result, columns=max(1, len(shown)))
        for name, shown in ranked.items()
        if shown
    }
    counts = result.failure_counts()
    for kind in KINDS:
        shown = failures_of(result, kind)
        if shown:
            figures[kind] = gallery(shown, lambda i: samples[i], result)
        if len(shown) < counts[kind]:
            figures[kind].supxlabel(f"the first {len(shown)} of {counts[kind]}; all are in the list", fontsize=9)
    return figures
