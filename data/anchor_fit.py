"""Do the model's anchors fit the cells of a data set? A cell that no anchor overlaps well is hard to propose.

Glossary: N cells, A anchors.
"""

import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

from data.dataset import SmearDataset
from data.scale import box_sides
from maskrcnn.boxes import iou
from maskrcnn.images import image_size, scale_boxes
from maskrcnn.model import MaskRCNN


def best_overlaps(model: MaskRCNN, dataset: SmearDataset) -> Tensor:
    """For every cell the IoU of its box with the best of the anchors that the model lays over its image: [N]."""
    best, anchors_of = [], {}
    for sample in dataset.samples:
        size = image_size(sample.ids)
        resized = model.transform.resized(size)
        if resized not in anchors_of:
            padded = image_size(model.transform.batch([torch.zeros(3, *size)]).pixels)
            strides = [4 << level for level in range(len(model.config.anchor_sizes))]
            maps = [torch.empty(1, 0, *(math.ceil(length / stride) for length in padded)) for stride in strides]
            anchors_of[resized] = model.anchors(maps, padded).boxes
        best.append(iou(scale_boxes(sample.boxes, size, resized), anchors_of[resized]).amax(dim=1))
    return torch.cat(best)


def anchor_fit(model: MaskRCNN, dataset: SmearDataset) -> Figure:
    """Width and height of all cells beside those of the anchors, and how well the best anchor overlaps each cell."""
    config = model.config
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    shapes, overlaps = figure.subplots(1, 2)
    shorter = torch.tensor([min(model.transform.resized(image_size(sample.ids))) for sample in dataset.samples])
    counts = torch.tensor([len(sample.boxes) for sample in dataset.samples])
    width, height = (box_sides(dataset) * shorter.repeat_interleave(counts)[:, None]).unbind(dim=1)
    shapes.scatter(width, height, s=9, alpha=0.5, color="tab:purple", label=f"{len(width)} cells")
    for level, sizes in enumerate(config.anchor_sizes, start=2):
        x1, y1, x2, y2 = model.anchors.cell(sizes).unbind(dim=1)
        shapes.scatter(x2 - x1, y2 - y1, marker="x", s=50, color=f"C{level - 2}", label=f"anchors on P{level}")
    shapes.set(
        xscale="log", yscale="log", xlabel="width", ylabel="height", title="boxes, in pixels of the resized image"
    )
    ticks = [size for sizes in config.anchor_sizes for size in sizes]
    for axis in (shapes.xaxis, shapes.yaxis):
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_ticks([], minor=True)
    best = best_overlaps(model, dataset)
    overlaps.hist(best.numpy(), bins=torch.linspace(0, 1, 41).tolist(), color="tab:purple")
    share = float((best >= config.rpn_positive_iou).float().mean())
    overlaps.axvline(
        config.rpn_positive_iou, color="black", linestyle="--", label=f"positive: {share:.0%} of the cells"
    )
    overlaps.set(xlim=(0, 1), xlabel="IoU", ylabel="cells", title="overlap of a cell with the best of all anchors")
    for ax in (shapes, overlaps):
        ax.legend(fontsize=8)
        ax.grid(alpha=0.3)
    return figure
