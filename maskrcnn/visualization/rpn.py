"""The Region Proposal Network: anchors, objectness, deltas, targets, proposals, and NMS step by step.

Glossary: a location is a pixel of a feature map; A_location anchors per location; A anchors in all; N boxes.
"""

from collections.abc import Sequence
from itertools import cycle
from typing import NamedTuple

import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from torch import Tensor

from maskrcnn import boxes as box_algebra
from maskrcnn.rpn import Anchors, Proposals, RPNPrediction, RPNTargets, nms
from maskrcnn.visualization.backbone import level_name
from maskrcnn.visualization.drawing import COLOURS, GREY, draw_box, draw_boxes, legend_below

LINE_STYLES = ("-", "--", ":", "-.")  # one per anchor shape


class AnchorGrid(NamedTuple):
    """The anchors of a level, location by location: boxes [H_l, W_l, A_location, 4]; stride: pixels between locations."""

    boxes: Tensor
    stride: float


def anchor_grid(anchors: Anchors, level: int) -> AnchorGrid:
    """The anchors of one level, 0 being the finest."""
    boxes = anchors.boxes.split(anchors.per_level)[level].cpu()
    x, y = _centres(boxes).unbind(dim=1)
    per_location = int(((x == x[0]) & (y == y[0])).sum())
    columns = int((y == y[0]).sum()) // per_location
    boxes = boxes.view(-1, columns, per_location, 4)
    if columns > 1 or len(boxes) > 1:
        step = x[per_location] - x[0] if columns > 1 else y[columns * per_location] - y[0]
        return AnchorGrid(boxes, float(step))
    # A single location has no neighbour to measure the stride by: twice that of the level before.
    return AnchorGrid(boxes, 2 * anchor_grid(anchors, level - 1).stride if level else float(2 * x[0]))


def draw_anchors(ax: Axes, anchors: Anchors, point: tuple[float, float], levels: Sequence[int] | None = None) -> Axes:
    """For each level the anchors of the location nearest to a point (x, y): one colour per level, one line style per
    anchor shape. levels: all by default."""
    for level in range(len(anchors.per_level)) if levels is None else levels:
        boxes = anchor_grid(anchors, level).boxes.flatten(0, 1)  # [H_l * W_l, A_location, 4]
        nearest = boxes[(_centres(boxes[:, 0]) - torch.tensor(point)).square().sum(dim=1).argmin()]
        colour = COLOURS[level % len(COLOURS)]
        for box, line in zip(nearest, cycle(LINE_STYLES), strict=False):
            draw_boxes(ax, box[None], edgecolor=colour, linestyle=line)
        x, y = _centres(nearest[:1])[0].tolist()
        ax.plot(x, y, ".", color=colour, label=f"{level_name(level)}: {len(nearest)} per location")
    return legend_below(ax)


def draw_objectness(
    ax: Axes, prediction: RPNPrediction, anchors: Anchors, level: int, image: int = 0, alpha: float = 0.6
) -> Axes:
    """A heat map of one level: for each location, the highest objectness probability among its anchors."""
    grid = anchor_grid(anchors, level)
    logits = prediction.objectness.detach().split(anchors.per_level, dim=1)[level][image].cpu()
    best = logits.sigmoid().view(grid.boxes.shape[:3]).amax(dim=2)  # [H_l, W_l]
    extent = (0, best.shape[1] * grid.stride, best.shape[0] * grid.stride, 0)
    ax.imshow(best.numpy(), extent=extent, cmap="inferno", vmin=0, vmax=1, alpha=alpha)
    ax.set_title(f"objectness on {level_name(level)}, up to {float(best.max()):.2f}")
    return ax


def draw_deltas(ax: Axes, prediction: RPNPrediction, anchors: Anchors, image: int = 0, count: int = 12) -> Axes:
    """The `count` anchors of highest objectness (grey), their decoded boxes (red), and an arrow from one to the other."""
    best = prediction.objectness[image].detach().topk(count).indices
    before = anchors.boxes[best]
    after = box_algebra.decode(prediction.deltas.detach()[image, best], before).cpu()
    draw_boxes(ax, before, edgecolor=GREY, linestyle="--", linewidth=0.8)
    draw_boxes(ax, after, edgecolor="tab:red")
    for start, end in zip(_centres(before.cpu()).tolist(), _centres(after).tolist(), strict=True):
        ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "black", "shrinkA": 0, "shrinkB": 0})
    ax.set_title(f"{count} anchors (dashed) and their decoded boxes")
    return ax


def draw_rpn_targets(ax: Axes, targets: RPNTargets, anchors: Anchors, image: int = 0) -> Axes:
    """The anchors sampled for the loss: the boxes of positives (blue) and the centres of negatives (grey)."""
    count = len(anchors.boxes)

    def of_image(index: Tensor) -> Tensor:
        """index counts the anchors of all images of the batch."""
        return anchors.boxes[index[index // count == image] % count].cpu()

    positive, negative = of_image(targets.positive), of_image(targets.negative)
    x, y = _centres(negative).unbind(dim=1)
    ax.plot(x.numpy(), y.numpy(), ".", color=GREY, markersize=3, label=f"{len(negative)} negative")
    draw_boxes(ax, positive, edgecolor="tab:blue", label=f"{len(positive)} positive")
    return legend_below(ax)


def draw_proposals(ax: Axes, proposals: Proposals, image: int = 0, count: int | None = None) -> Axes:
    """The best `count` proposals of an image (default: all), coloured by objectness from dark blue (0) to yellow (1)."""
    boxes, scores = proposals.boxes[image][:count], proposals.objectness[image][:count].detach().cpu()
    colours = colormaps["plasma"](scores.numpy())
    # Worst first, so that the best lie on top.
    draw_boxes(ax, boxes.flip(0), edgecolor=colours[::-1])
    for i in sorted({0, len(scores) - 1} & set(range(len(scores)))):
        ax.plot([], [], color=colours[i], label=f"objectness {float(scores[i]):.2f}")
    ax.set_title(f"{len(boxes)} proposals")
    return legend_below(ax)


def suppressors(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """For each box [N, 4] the index of the box that suppresses it in NMS; a kept box has its own index: int64 [N]."""
    kept = nms(boxes, scores, iou_threshold)
    overlaps = box_algebra.iou(boxes[kept], boxes) > iou_threshold  # [kept, N], best first
    by = kept[overlaps.int().argmax(dim=0)]  # argmax finds the first, so the best
    by[kept] = kept
    return by


def draw_suppression(ax: Axes, boxes: Tensor, scores: Tensor, iou_threshold: float) -> Axes:
    """NMS: each kept box in a separate colour, with its score and the number of boxes that it suppresses; these are
    dashed, in the same colour."""
    by = suppressors(boxes, scores, iou_threshold)
    kept = [i for i, winner in enumerate(by.tolist()) if winner == i]
    for number, winner in enumerate(sorted(kept, key=lambda i: -float(scores[i]))):
        colour = COLOURS[number % len(COLOURS)]
        suppressed = boxes[(by == winner) & (torch.arange(len(by), device=by.device) != winner)]
        draw_boxes(ax, suppressed, edgecolor=colour, linestyle="--", linewidth=0.8)
        text = f", removes {len(suppressed)}" if len(suppressed) else ""
        draw_box(ax, boxes[winner].tolist(), f"{float(scores[winner]):.2f}{text}", colour, line="-")
    ax.set_title(f"NMS at {iou_threshold:g}: {len(kept)} of {len(boxes)} kept")
    return ax


def _centres(boxes: Tensor) -> Tensor:
    """(x, y) of boxes [..., 4]."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2
