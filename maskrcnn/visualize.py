"""A picture of every stage's output, in the order of `MaskRCNN.stages`.

Each function takes what the stage yields and a matplotlib Axes, draws on it, and returns it. Those that draw boxes lay them
over what is there: draw the image first (`draw_batch`). Coordinates are continuous pixels of the resized image: pixel i
covers i to i + 1. Levels are counted from 0, the finest, and called P2, P3, ...; `image` is the number in the batch.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle
from torch import Tensor

from maskrcnn import boxes as box_algebra
from maskrcnn.backbone import Features
from maskrcnn.drawing import COLOURS, class_colour, draw_box, draw_image, draw_outline
from maskrcnn.heads import BoxPrediction, Detections, MaskPrediction, MaskTargets
from maskrcnn.images import Batch, ImageTransform
from maskrcnn.roi import RoIs, roi_align
from maskrcnn.rpn import Anchors, Proposals, RPNPrediction, RPNTargets, nms

GREY = "0.55"
LINES = ("-", "--", ":", "-.")  # of one anchor shape after the other


def level_name(level: int) -> str:
    """The paper's name: stride 4 is P2 (Lin et al. 2017, sec. 3)."""
    return f"P{level + 2}"


def draw_batch(ax: Axes, batch: Batch, transform: ImageTransform, image: int = 0) -> Axes:
    """An image of the batch as the network sees it, in its own colours again; dashed: where padding begins."""
    draw_image(ax, transform.picture(batch, image))
    height, width = batch.sizes[image]
    ax.add_patch(Rectangle((0, 0), width, height, fill=False, edgecolor="black", linestyle="--", linewidth=0.8))
    return ax


def draw_features(
    ax: Axes, features: Features, level: int = 0, image: int = 0, channel: int | None = None, alpha: float = 1.0
) -> Axes:
    """One channel of a feature map, or how strong all of them are together (their root mean square)."""
    maps = features.maps[level][image].detach().float().cpu()  # [C, H, W]
    shown = maps.square().mean(dim=0).sqrt() if channel is None else maps[channel]
    height, width, stride = *shown.shape, features.strides[level]
    ax.imshow(shown.numpy(), extent=(0, width * stride, height * stride, 0), alpha=alpha)
    ax.set_title(f"{features.names[level]}: {height} x {width}")
    ax.set_axis_off()
    return ax


class Grid(NamedTuple):
    """How the anchors of a level stand: boxes [rows, columns, A_place, 4], and pixels from one place to the next."""

    boxes: Tensor
    stride: float


def grid_of(anchors: Anchors, level: int) -> Grid:
    """The anchors of a level, place by place."""
    boxes = anchors.boxes.split(anchors.per_level)[level].cpu()
    x, y = _centres(boxes).unbind(dim=1)
    here = (x == x[0]) & (y == y[0])
    per_place = int(here.sum())
    columns = int((y == y[0]).sum()) // per_place
    boxes = boxes.view(-1, columns, per_place, 4)
    if columns > 1 or len(boxes) > 1:
        step = x[per_place] - x[0] if columns > 1 else y[columns * per_place] - y[0]
        return Grid(boxes, float(step))
    return Grid(boxes, 2 * grid_of(anchors, level - 1).stride if level else float(2 * x[0]))


def draw_anchors(ax: Axes, anchors: Anchors, point: tuple[float, float], levels: Sequence[int] | None = None) -> Axes:
    """The anchors of the place nearest to a point (x, y), of each level: a colour a level, a kind of line a shape."""
    for level in range(len(anchors.per_level)) if levels is None else levels:
        boxes = grid_of(anchors, level).boxes.flatten(0, 1)  # [places, A_place, 4]
        here = boxes[(_centres(boxes[:, 0]) - torch.tensor(point)).square().sum(dim=1).argmin()]
        for box, line in zip(here, (LINES * len(here))[: len(here)], strict=True):
            _draw_boxes(ax, box[None], edgecolor=COLOURS[level % 10], linestyle=line)
        x, y = _centres(here[:1])[0].tolist()
        ax.plot(x, y, ".", color=COLOURS[level % 10], label=f"{level_name(level)}: {len(here)} a place")
    _legend_below(ax)
    return ax


def draw_objectness(
    ax: Axes, prediction: RPNPrediction, anchors: Anchors, level: int, image: int = 0, alpha: float = 0.6
) -> Axes:
    """Heat: how sure the RPN is, at each place of a level, that the best of the place's anchors holds an object."""
    grid = grid_of(anchors, level)
    logits = prediction.objectness.detach().split(anchors.per_level, dim=1)[level][image].cpu()
    best = logits.sigmoid().view(grid.boxes.shape[:3]).amax(dim=2)  # [rows, columns]
    extent = (0, best.shape[1] * grid.stride, best.shape[0] * grid.stride, 0)
    ax.imshow(best.numpy(), extent=extent, cmap="inferno", vmin=0, vmax=1, alpha=alpha)
    ax.set_title(f"objectness on {level_name(level)}, up to {float(best.max()):.2f}")
    return ax


def draw_deltas(ax: Axes, prediction: RPNPrediction, anchors: Anchors, image: int = 0, count: int = 12) -> Axes:
    """The anchors most likely to hold an object (grey), the boxes that their deltas make of them, an arrow between both."""
    best = prediction.objectness[image].detach().topk(count).indices
    before = anchors.boxes[best]
    after = box_algebra.decode(prediction.deltas.detach()[image, best], before).cpu()
    _draw_boxes(ax, before, edgecolor=GREY, linestyle="--", linewidth=0.8)
    _draw_boxes(ax, after, edgecolor="tab:red")
    for start, end in zip(_centres(before.cpu()).tolist(), _centres(after).tolist(), strict=True):
        ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "black", "shrinkA": 0, "shrinkB": 0})
    ax.set_title(f"{count} anchors (dashed) and what their deltas make of them")
    return ax


def draw_rpn_targets(ax: Axes, targets: RPNTargets, anchors: Anchors, image: int = 0) -> Axes:
    """The anchors that learn: those that are objects (blue boxes), and the centres of those drawn as background (grey)."""
    count = len(anchors.boxes)

    def own(index: Tensor) -> Tensor:
        return anchors.boxes[index[index // count == image] % count].cpu()

    positive, negative = own(targets.positive), own(targets.negative)
    x, y = _centres(negative).unbind(dim=1)
    ax.plot(x.numpy(), y.numpy(), ".", color=GREY, markersize=3, label=f"{len(negative)} background")
    _draw_boxes(ax, positive, edgecolor="tab:blue", label=f"{len(positive)} object")
    _legend_below(ax)
    return ax


def draw_proposals(ax: Axes, proposals: Proposals, image: int = 0, count: int | None = None) -> Axes:
    """The best proposals of an image, from yellow (surely an object) to dark blue (surely none)."""
    boxes, scores = proposals.boxes[image][:count], proposals.objectness[image][:count].detach().cpu()
    colours = colormaps["plasma"](scores.numpy())
    # The best are drawn last, on top.
    _draw_boxes(ax, boxes.flip(0), edgecolor=colours[::-1])
    for i in sorted({0, len(scores) - 1} & set(range(len(scores)))):
        ax.plot([], [], color=colours[i], label=f"objectness {float(scores[i]):.2f}")
    _legend_below(ax)
    ax.set_title(f"{len(boxes)} proposals")
    return ax


def suppressors(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """For each box [N, 4] the index of the kept box that strikes it out in NMS, of a kept box its own: int64 [N]."""
    kept = nms(boxes, scores, iou_threshold)
    overlaps = box_algebra.iou(boxes[kept], boxes) > iou_threshold  # [kept, N], best first
    by = kept[overlaps.int().argmax(dim=0)]  # the first, so the best
    by[kept] = kept
    return by


def draw_suppression(ax: Axes, boxes: Tensor, scores: Tensor, iou_threshold: float) -> Axes:
    """NMS: each box that is kept in a colour of its own, with its score and how many it strikes out; those in the same
    colour, dashed."""
    by = suppressors(boxes, scores, iou_threshold)
    kept = [i for i, winner in enumerate(by.tolist()) if winner == i]
    for number, winner in enumerate(sorted(kept, key=lambda i: -float(scores[i]))):
        colour = COLOURS[number % 10]
        losers = boxes[(by == winner) & (torch.arange(len(by), device=by.device) != winner)]
        _draw_boxes(ax, losers, edgecolor=colour, linestyle="--", linewidth=0.8)
        text = f", {len(losers)} out" if len(losers) else ""
        draw_box(ax, boxes[winner].tolist(), f"{float(scores[winner]):.2f}{text}", colour, line="-")
    ax.set_title(f"NMS at {iou_threshold:g}: {len(kept)} of {len(boxes)} kept")
    return ax


def draw_rois(ax: Axes, rois: RoIs, class_names: Sequence[str], image: int = 0) -> Axes:
    """The RoIs that the heads learn from: objects in the colours of their classes, background in grey."""
    boxes, labels = rois.boxes[image].cpu(), rois.labels[image].cpu()
    _draw_boxes(ax, boxes[labels == 0], edgecolor=GREY, linewidth=0.6, label=f"{int((labels == 0).sum())} background")
    for label in labels[labels > 0].unique().tolist():
        name = f"{int((labels == label).sum())} {class_names[label - 1]}"
        _draw_boxes(ax, boxes[labels == label], edgecolor=class_colour(label), label=name)
    _legend_below(ax)
    return ax


def draw_roi_levels(ax: Axes, boxes: Tensor, levels: Tensor) -> Axes:
    """Which map each RoI is cut from. boxes: [R, 4]; levels: [R], of RoIFeatures."""
    for level in levels.unique().tolist():
        of_level = boxes[levels == level]
        label = f"{len(of_level)} from {level_name(level)}"
        _draw_boxes(ax, of_level, edgecolor=COLOURS[level % 10], label=label)
    _legend_below(ax)
    return ax


def sampling_points(box: Tensor, size: tuple[int, int], bins: int, samples: int, aligned: bool = True) -> Tensor:
    """Where RoIAlign reads a map of a size (height, width): (x, y) of each sample, [bins * samples, bins * samples, 2].

    Nothing is computed again: a map that holds its own coordinates is read by `roi_align`, one bin a sample.
    """
    y, x = (torch.arange(length) + 0.5 for length in size)
    coordinates = torch.stack(torch.meshgrid(x, y, indexing="xy"))[None]  # [1, 2, H, W]
    return roi_align(coordinates, [box[None]], bins * samples, 1.0, 1, aligned)[0].permute(1, 2, 0)


def sampling_weights(
    box: Tensor, size: tuple[int, int], bins: int, samples: int, place: tuple[int, int], aligned: bool = True
) -> Tensor:
    """How much of each pixel of a map of a size (height, width) is in the bin at place (row, column): [H, W].

    RoIAlign is linear, so that its weights are its gradient.
    """
    pixels = torch.zeros(1, 1, *size, requires_grad=True)
    roi_align(pixels, [box[None]], bins, 1.0, samples, aligned)[0, 0][place].backward()
    assert pixels.grad is not None
    return pixels.grad[0, 0]


def draw_roi_bins(
    ax: Axes, box: Tensor, size: tuple[int, int], bins: int, samples: int = 2, aligned: bool = True,
    point: tuple[int, int] | None = None,
) -> Axes:  # fmt: skip
    """One RoI [4] on the pixels of its map: its bins, the points where they are sampled, and, for the point (row, column)
    of all, the four pixels that it reads and how much of each."""
    x1, y1, x2, y2 = box.tolist()
    for i in range(bins + 1):
        ax.plot([x1 + i * (x2 - x1) / bins] * 2, [y1, y2], color="tab:red", linewidth=1.2)
        ax.plot([x1, x2], [y1 + i * (y2 - y1) / bins] * 2, color="tab:red", linewidth=1.2)
    places = sampling_points(box, size, bins, samples, aligned)
    ax.plot(*places.flatten(0, 1).numpy().T, "o", color="black", markersize=3)
    if point is not None:
        weights = sampling_weights(box, size, bins * samples, 1, point, aligned)
        ax.plot(*places[point].tolist(), "o", color="tab:red", markersize=7)
        for row, column in weights.nonzero().tolist():
            ax.add_patch(Rectangle((column, row), 1, 1, facecolor="tab:blue", alpha=0.25))
            text = f"{float(weights[row, column]):.2f}"
            patch = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
            ax.text(column + 0.5, row + 0.8, text, ha="center", va="center", fontsize=8, color="tab:blue", bbox=patch)
    ax.set(xlim=(0, size[1]), ylim=(size[0], 0), aspect="equal", xlabel="x, in pixels of the map", ylabel="y")
    ax.set_xticks(range(size[1] + 1))
    ax.set_yticks(range(size[0] + 1))
    ax.tick_params(labelsize=7)
    ax.grid(color="0.8", linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


def draw_class_scores(ax: Axes, prediction: BoxPrediction, roi: int, class_names: Sequence[str]) -> Axes:
    """What the box head takes an RoI for: the softmax over background and classes."""
    scores = prediction.class_logits[roi].detach().softmax(dim=0).cpu().numpy()
    names = ["background", *class_names]
    ax.barh(names, scores, color=[GREY, *(class_colour(k) for k in range(1, len(names)))])
    ax.invert_yaxis()
    ax.set(xlim=(0, 1), xlabel="probability", title=f"RoI {roi}: {names[int(scores.argmax())]}")
    return ax


def draw_mask_target(ax: Axes, targets: MaskTargets, roi: int) -> Axes:
    """What the mask head should say of an RoI: M x M mask pixels from 0 to 1."""
    return _draw_small(ax, targets.masks[roi], "target", cmap="gray", vmin=0, vmax=1)


def draw_mask_logits(ax: Axes, prediction: MaskPrediction, roi: int, label: int | None = None) -> Axes:
    """The logits of an RoI, by default those of its own class: above 0 (red) is the object."""
    label = int(prediction.labels[roi]) if label is None else label
    logits = prediction.mask_logits[roi, label - 1]
    largest = float(logits.detach().abs().max())
    return _draw_small(ax, logits, "logits", cmap="RdBu_r", vmin=-largest, vmax=largest)


def draw_pasted(ax: Axes, image: Tensor, result: Mapping[str, Tensor], index: int = 0) -> Axes:
    """A pasted mask as heat over the image [3, H, W], and its outline at 0.5. result: what `MaskRCNN` returns."""
    height, width = image.shape[-2:]
    mask = result["masks"][index, 0].detach().float().cpu().numpy()
    draw_image(ax, image)
    ax.imshow(mask, extent=(0, width, height, 0), cmap="inferno", vmin=0, vmax=1, alpha=0.5)
    ax.set_title("pasted; the line is at 0.5")
    return draw_outline(ax, mask, "white", fill=False)


def draw_detections(
    ax: Axes, detections: Detections, class_names: Sequence[str], image: int = 0, min_score: float = 0.0
) -> Axes:
    """Boxes, classes and scores of what was found, before there are masks; the surest on top, where one has two names."""
    values = (field[image].tolist() for field in detections)
    for box, label, score in sorted(zip(*values, strict=True), key=lambda found: float(found[2])):
        if score >= min_score:
            draw_box(ax, box, f"{class_names[label - 1]} {score:.2f}", class_colour(label), line="-")
    return ax


def draw_losses(ax: Axes, losses: Mapping[str, Tensor]) -> Axes:
    """The losses that are added up, as bars."""
    values = [float(value.detach()) for value in losses.values()]
    ax.barh(list(losses), values, color=COLOURS[: len(values)])
    for row, value in enumerate(values):
        ax.text(value, row, f" {value:.3f}", va="center", fontsize=8)
    ax.invert_yaxis()
    ax.set(xlim=(0, 1.2 * max(values, default=1) or 1), xlabel="loss", title=f"losses, {sum(values):.3f} in all")
    return ax


def _centres(boxes: Tensor) -> Tensor:
    """(x, y) of boxes [..., 4]."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _draw_boxes(ax: Axes, boxes: Tensor, label: str | None = None, **style: Any) -> None:
    """Outlines of boxes [N, 4], however many."""
    corners = boxes.detach().cpu().tolist()
    rectangles = [Rectangle((x1, y1), x2 - x1, y2 - y1) for x1, y1, x2, y2 in corners]
    ax.add_collection(PatchCollection(rectangles, facecolor="none", **{"linewidth": 1.2, **style}))
    if label:
        ax.plot([], [], color=style["edgecolor"], label=label)


def _legend_below(ax: Axes) -> None:
    """Beside the picture: upon it, it would hide what is to be seen."""
    ax.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4, borderaxespad=0.3, frameon=False)


def _draw_small(ax: Axes, mask: Tensor, title: str, **style: Any) -> Axes:
    values: np.ndarray = mask.detach().float().cpu().numpy()
    ax.imshow(values, extent=(0, values.shape[1], values.shape[0], 0), **style)
    ax.set_title(f"{title} {values.shape[0]} x {values.shape[1]}")
    ax.set_axis_off()
    return ax
