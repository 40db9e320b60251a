"""From a 28 x 28 mask in its box to a mask over the image (He et al. 2017, sec. 3.1 "Inference"), with sub-pixel accuracy.

Pasting is the inverse of RoIAlign's cropping: mask pixel i covers 1 / M of the box, and its centre is at (i + 0.5) / M of
it. Every image pixel inside the box reads the mask at its own centre, bilinearly. The box is never rounded to whole pixels.

Glossary: D detections; M the side of a mask; H, W the size of the image.
"""

import math

import numpy as np
import torch
from torch import Tensor

from maskrcnn.boxes import masks_to_boxes
from maskrcnn.heads.postprocess import Detections
from maskrcnn.images import Batch, scale_boxes
from maskrcnn.regions import Patch


def paste_masks(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """masks [D, M, M] probabilities, boxes [D, 4] in pixels of the image, size (H, W) -> probabilities [D, H, W].

    A pixel whose centre is outside the box is 0.
    """
    return _paste(masks, boxes, (0, size[0]), (0, size[1]))


def paste_patches(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> list[Patch]:
    """As `paste_masks`, but of each mask only the pixels in its box, so that an image of any size can have any number."""
    patches = []
    for mask, box in zip(masks, boxes, strict=True):
        x1, y1, x2, y2 = box.tolist()
        rows = max(0, math.floor(y1)), min(size[0], math.ceil(y2))
        columns = max(0, math.floor(x1)), min(size[1], math.ceil(x2))
        if rows[0] < rows[1] and columns[0] < columns[1]:
            values = _paste(mask[None], box[None], rows, columns)[0]
            patches.append(Patch(rows[0], columns[0], values.cpu().numpy()))
        else:  # outside of the image
            patches.append(Patch(0, 0, np.zeros((0, 0), np.float32)))
    return patches


def _paste(masks: Tensor, boxes: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """These rows and columns of the image, from the first up to, but not with, the second: [D, rows, columns]. Bilinear
    interpolation is separable, so it is two matrix products."""
    down = _interpolation(boxes[:, 1], boxes[:, 3], masks.shape[-2], rows)  # [D, H, M]
    across = _interpolation(boxes[:, 0], boxes[:, 2], masks.shape[-1], columns)  # [D, W, M]
    with torch.autocast(boxes.device.type, enabled=False):  # in bfloat16 an outline would move by tenths of a pixel
        return down @ masks.to(down.dtype) @ across.transpose(1, 2)  # [D, H, M] x [D, M, M] x [D, M, W]


def _interpolation(start: Tensor, end: Tensor, mask_pixels: int, pixels: tuple[int, int]) -> Tensor:
    """The weights of M mask pixels in each image pixel along one axis, [D, pixels, M], for boxes from start to end [D]."""
    centre = torch.arange(*pixels, device=start.device, dtype=start.dtype) + 0.5
    inside = (centre > start[:, None]) & (centre < end[:, None])  # [D, pixels]
    length = (end - start).clamp(min=torch.finfo(start.dtype).tiny)
    # In mask pixels, 0 at the centre of the first.
    position = (centre - start[:, None]) / length[:, None] * mask_pixels - 0.5  # [D, pixels]
    # Between the box's edge and the centre of the outermost mask pixel there is only that pixel to read.
    position = position.clamp(0, mask_pixels - 1)
    distance = (position[..., None] - torch.arange(mask_pixels, device=start.device)).abs()  # [D, pixels, M]
    return (1 - distance).clamp(min=0) * inside[..., None]


def restore(
    batch: Batch, detections: Detections, mask_rois: list[Tensor], masks: Tensor, around_masks: bool = False
) -> list[dict[str, Tensor]]:
    """Detections and their masks in pixels of the original images: one dict per image, see `MaskRCNN`.

    mask_rois: [D_i, 4] for each image, the boxes that the masks [D, M, M] of all images together were predicted in.
    around_masks: report the boxes of `boxes_around` instead of those of the detections.
    """
    results = []
    for i, mask in enumerate(masks.split([len(boxes) for boxes in detections.boxes])):
        size = batch.original_sizes[i]
        boxes = scale_boxes(detections.boxes[i], batch.sizes[i], size)
        pasted = paste_masks(mask, scale_boxes(mask_rois[i], batch.sizes[i], size), size)[:, None]  # [D_i, 1, H, W]
        boxes = boxes_around(pasted, boxes) if around_masks else boxes
        result = {"boxes": boxes, "labels": detections.labels[i], "scores": detections.scores[i], "masks": pasted}
        results.append(result)
    return results


def boxes_around(masks: Tensor, boxes: Tensor, threshold: float = 0.5) -> Tensor:
    """The tightest box around each mask, or the given one for a mask that is nowhere above the threshold.

    masks [D, 1, H, W] probabilities, boxes [D, 4] -> [D, 4]. A mask shows the edge of an object to a pixel of the 28 x 28,
    which is more precise than the regressed box.
    """
    inside = masks[:, 0] > threshold
    seen = inside.flatten(1).any(dim=1)
    return torch.where(seen[:, None], masks_to_boxes(inside).to(boxes.dtype), boxes)
