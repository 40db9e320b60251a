"""Do the model's anchors fit the cells of a data set? A cell that no anchor overlaps well is hard to propose.

Glossary: N cells; A anchors of an image.
"""

import math

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from data.dataset import SmearDataset
from data.image_size import relative_box_sides
from maskrcnn.boxes import iou
from maskrcnn.images import Size, image_size, scale_boxes
from maskrcnn.model import MaskRCNN


def anchor_fit(model: MaskRCNN, dataset: SmearDataset) -> Figure:
    """Width and height of all cells beside those of the anchors, and a histogram of each cell's IoU with its best anchor."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    shapes, overlaps = figure.subplots(1, 2)
    _plot_shapes(shapes, model, dataset)
    _plot_overlaps(overlaps, best_anchor_ious(model, dataset), model.config.rpn_fg_iou_thresh)
    for ax in (shapes, overlaps):
        ax.legend(fontsize=8)
        ax.grid(alpha=0.3)
    return figure


def best_anchor_ious(model: MaskRCNN, dataset: SmearDataset) -> Tensor:
    """For each cell, the IoU of its box with the best anchor of its image: [N]."""
    best = []
    anchors_at: dict[Size, Tensor] = {}  # size after resizing -> [A, 4]
    for sample in dataset.samples:
        size = sample.size
        resized = model.transform.resized_size(size)
        if resized not in anchors_at:
            anchors_at[resized] = _anchors(model, size)
        best.append(iou(scale_boxes(sample.boxes, size, resized), anchors_at[resized]).amax(dim=1))
    return torch.cat(best)


def _anchors(model: MaskRCNN, size: Size) -> Tensor:
    """The anchors [A, 4] of an image of that size, in pixels of the resized image."""
    padded = image_size(model.transform.preprocess([torch.zeros(3, *size)]).pixels)
    strides = [4 << level for level in range(len(model.config.anchor_sizes))]
    maps = [torch.empty(1, 0, *(math.ceil(length / stride) for length in padded)) for stride in strides]
    return model.anchors(maps, padded).boxes


def _plot_shapes(ax: Axes, model: MaskRCNN, dataset: SmearDataset) -> None:
    sizes = [model.transform.resized_size(sample.size) for sample in dataset.samples]
    cells_per_image = torch.tensor([len(sample.boxes) for sample in dataset.samples])
    shorter = torch.tensor([min(size) for size in sizes]).repeat_interleave(cells_per_image)
    width, height = (relative_box_sides(dataset) * shorter[:, None]).unbind(dim=1)
    ax.scatter(width, height, s=9, alpha=0.5, color="tab:purple", label=f"{len(width)} cells")
    for level, anchor_sizes in enumerate(model.config.anchor_sizes, start=2):
        x1, y1, x2, y2 = model.anchors.base_anchors(anchor_sizes).unbind(dim=1)
        ax.scatter(x2 - x1, y2 - y1, marker="x", s=50, color=f"C{level - 2}", label=f"anchors on P{level}")
    ax.set(xscale="log", yscale="log", xlabel="width", ylabel="height", title="boxes, in pixels of the resized image")
    ticks = [size for anchor_sizes in model.config.anchor_sizes for size in anchor_sizes]
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_ticks([], minor=True)


def _plot_overlaps(ax: Axes, best: Tensor, fg_iou_thresh: float) -> None:
    ax.hist(best.numpy(), bins=torch.linspace(0, 1, 41).tolist(), color="tab:purple")
    positive = float((best >= fg_iou_thresh).float().mean())
    ax.axvline(fg_iou_thresh, color="black", linestyle="--", label=f"positive: {positive:.0%} of the cells")
    ax.set(xlim=(0, 1), xlabel="IoU", ylabel="cells", title="IoU of each cell with its best anchor")
