"""Regions of interest: those sampled for training, the levels they are pooled from, and RoIAlign bin by bin.

Glossary: R RoIs; a bin is one of the M x M parts of an RoI; a sampling point is where RoIAlign interpolates the map.
"""

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from maskrcnn.roi import RoIs, roi_align
from maskrcnn.visualization.backbone import level_name
from maskrcnn.visualization.drawing import COLOURS, GREY, LABEL_SIZE, class_colour, draw_boxes, legend_below


def draw_rois(ax: Axes, rois: RoIs, class_names: Sequence[str], image: int = 0) -> Axes:
    """The RoIs sampled for training: positives in the colours of their classes, background in grey."""
    boxes, labels = rois.boxes[image].cpu(), rois.labels[image].cpu()
    draw_boxes(ax, boxes[labels == 0], edgecolor=GREY, linewidth=0.6, label=f"{int((labels == 0).sum())} background")
    for label in labels[labels > 0].unique().tolist():
        name = f"{int((labels == label).sum())} {class_names[label - 1]}"
        draw_boxes(ax, boxes[labels == label], edgecolor=class_colour(label), label=name)
    return legend_below(ax)


def draw_roi_levels(ax: Axes, boxes: Tensor, levels: Tensor) -> Axes:
    """The level that each RoI is pooled from. boxes: [R, 4]; levels: [R], of `RoIFeatures`."""
    for level in levels.unique().tolist():
        of_level = boxes[levels == level]
        label = f"{len(of_level)} from {level_name(level)}"
        draw_boxes(ax, of_level, edgecolor=COLOURS[level % len(COLOURS)], label=label)
    return legend_below(ax)


def sampling_points(box: Tensor, size: tuple[int, int], bins: int, samples: int, aligned: bool = True) -> Tensor:
    """The points (x, y) at which RoIAlign samples a map: [bins * samples, bins * samples, 2].

    box: [4] in pixels of the map; size: (height, width) of the map; bins, samples: per axis of the RoI and of a bin. The
    points are read off `roi_align` itself, which pools a map of coordinates with one bin per sampling point.
    """
    y, x = (torch.arange(length) + 0.5 for length in size)
    coordinates = torch.stack(torch.meshgrid(x, y, indexing="xy"))[None]  # [1, 2, H, W]
    return roi_align(coordinates, [box[None]], bins * samples, 1.0, 1, aligned)[0].permute(1, 2, 0)


def sampling_weights(
    box: Tensor, size: tuple[int, int], bins: int, samples: int, bin_index: tuple[int, int], aligned: bool = True
) -> Tensor:
    """The weight of each pixel of a map in one bin of an RoI: [H, W]. bin_index: (row, column); the rest as in
    `sampling_points`. RoIAlign is linear in the map, so that its gradient is its weights."""
    pixels = torch.zeros(1, 1, *size, requires_grad=True)
    roi_align(pixels, [box[None]], bins, 1.0, samples, aligned)[0, 0][bin_index].backward()
    assert pixels.grad is not None
    return pixels.grad[0, 0]


def draw_roi_bins(
    ax: Axes, box: Tensor, size: tuple[int, int], bins: int, samples: int = 2, aligned: bool = True,
    point: tuple[int, int] | None = None,
) -> Axes:  # fmt: skip
    """An RoI [4] on the pixels of its map, with its bins and sampling points; arguments as in `sampling_points`.

    point: (row, column) of one sampling point among all, whose four pixels and their weights are shown.
    """
    x1, y1, x2, y2 = box.tolist()
    for i in range(bins + 1):
        ax.plot([x1 + i * (x2 - x1) / bins] * 2, [y1, y2], color="tab:red", linewidth=1.2)
        ax.plot([x1, x2], [y1 + i * (y2 - y1) / bins] * 2, color="tab:red", linewidth=1.2)
    points = sampling_points(box, size, bins, samples, aligned)
    ax.plot(*points.flatten(0, 1).numpy().T, "o", color="black", markersize=3)
    if point is not None:
        ax.plot(*points[point].tolist(), "o", color="tab:red", markersize=7)
        _draw_weights(ax, sampling_weights(box, size, bins * samples, 1, point, aligned))
    ax.set(xlim=(0, size[1]), ylim=(size[0], 0), aspect="equal", xlabel="x, in pixels of the map", ylabel="y")
    ax.set_xticks(range(size[1] + 1))
    ax.set_yticks(range(size[0] + 1))
    ax.tick_params(labelsize=7)
    ax.grid(color="0.8", linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


def _draw_weights(ax: Axes, weights: Tensor) -> None:
    """Tint the pixels that have a weight, and write it into them. weights: [H, W]."""
    patch = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": LABEL_SIZE, "color": "tab:blue", "bbox": patch}
    for row, column in weights.nonzero().tolist():
        ax.add_patch(Rectangle((column, row), 1, 1, facecolor="tab:blue", alpha=0.25))
        ax.text(column + 0.5, row + 0.8, f"{float(weights[row, column]):.2f}", **style)
