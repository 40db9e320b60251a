"""From a 28 x 28 mask in its box to a mask over the image (He et al. 2017, sec. 3.1 "Inference"), to a fraction of a pixel.

RoIAlign cuts: mask cell i covers 1 / M of the box, and its centre is at (i + 0.5) / M of it. Pasting is the inverse: every
pixel inside the box reads the mask at its own centre, bilinearly. The box is never rounded to whole pixels.

Glossary: D detections; M the side of a mask; H, W the size of the image.
"""

import torch
from torch import Tensor


def paste_masks(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """masks [D, M, M] probabilities, boxes [D, 4] in pixels of the image, size (H, W) -> probabilities [D, H, W].

    A pixel whose centre lies outside the box is 0. Bilinear interpolation is separable, so it is two matrix products.
    """
    rows = _interpolation(boxes[:, 1], boxes[:, 3], masks.shape[-2], size[0])  # [D, H, M]
    columns = _interpolation(boxes[:, 0], boxes[:, 2], masks.shape[-1], size[1])  # [D, W, M]
    with torch.autocast(boxes.device.type, enabled=False):  # in bfloat16 an outline would move by tenths of a pixel
        return rows @ masks.to(rows.dtype) @ columns.transpose(1, 2)  # [D, H, M] x [D, M, M] x [D, M, W]


def _interpolation(start: Tensor, end: Tensor, cells: int, pixels: int) -> Tensor:
    """How much of each of M mask cells is in each pixel of one axis, [D, pixels, M], for boxes from start to end [D]."""
    centre = torch.arange(pixels, device=start.device, dtype=start.dtype) + 0.5
    inside = (centre > start[:, None]) & (centre < end[:, None])  # [D, pixels]
    length = (end - start).clamp(min=torch.finfo(start.dtype).tiny)
    position = (centre - start[:, None]) / length[:, None] * cells - 0.5  # in mask cells, counted from centre to centre
    # Between the box's edge and the first cell's centre there is only that cell to read.
    position = position.clamp(0, cells - 1)
    distance = (position[..., None] - torch.arange(cells, device=start.device)).abs()  # [D, pixels, M]
    return (1 - distance).clamp(min=0) * inside[..., None]


def label_map(masks: Tensor, threshold: float = 0.5) -> Tensor:
    """masks [D, 1, H, W] probabilities -> int32 [H, W]: 0 is background, d + 1 the object whose probability is highest.

    Unlike masks, objects of a label map do not overlap.
    """
    if not len(masks):
        return torch.zeros(masks.shape[-2:], dtype=torch.int32, device=masks.device)
    best, index = masks[:, 0].max(dim=0)  # [H, W]
    return torch.where(best > threshold, index + 1, 0).int()
