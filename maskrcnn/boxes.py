"""Box algebra: area, IoU, the parametrisation of regression, clipping.

A box is (x1, y1, x2, y2) in continuous pixel coordinates: pixel i covers [i, i + 1), so a box that covers pixels
3 to 5 is (3, ..., 6, ...) and its width is x2 - x1 = 3, with no "+ 1" anywhere.

Glossary: N, M boxes; deltas, the four numbers (dx, dy, dw, dh) by which a network moves a reference box.
"""

import math

import torch
from torch import Tensor

# exp(dw) must not overflow in early training: no box grows more than from 16 px to 1000 px in one step.
MAX_LOG_SCALE = math.log(1000.0 / 16)


def area(boxes: Tensor) -> Tensor:
    """Area in square pixels. boxes [N, 4] -> [N]."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def grow(boxes: Tensor, margin: float) -> Tensor:
    """Boxes [N, 4] with `margin` of their width and height added on every side."""
    size = boxes[:, 2:] - boxes[:, :2]
    return torch.cat([boxes[:, :2] - margin * size, boxes[:, 2:] + margin * size], dim=1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every pair. a [N, 4], b [M, 4] -> [N, M], in 0..1; 0 where both boxes are empty."""
    left_top = torch.maximum(a[:, None, :2], b[None, :, :2])  # [N, M, 2]
    right_bottom = torch.minimum(a[:, None, 2:], b[None, :, 2:])  # [N, M, 2]
    width, height = (right_bottom - left_top).clamp_(min=0).unbind(-1)
    intersection = width * height  # [N, M]
    union = area(a)[:, None] + area(b)[None, :] - intersection
    # An empty pair is 0 / 0; it overlaps nothing.
    return torch.where(union > 0, intersection / union, torch.zeros_like(union))


def encode(boxes: Tensor, reference: Tensor, weights: tuple[float, float, float, float] = (1, 1, 1, 1)) -> Tensor:
    """The deltas that move `reference` onto `boxes` (Girshick et al. 2014, appendix C; Ren et al. 2015, eq. 2).

    boxes, reference: [N, 4], none of them empty. weights multiply (dx, dy, dw, dh), to bring them near unit variance
    before the smooth L1 loss. Returns [N, 4].
    """
    size, reference_size = boxes[:, 2:] - boxes[:, :2], reference[:, 2:] - reference[:, :2]  # [N, 2]
    centre, reference_centre = boxes[:, :2] + 0.5 * size, reference[:, :2] + 0.5 * reference_size
    shift = (centre - reference_centre) / reference_size
    scale = torch.log(size / reference_size)
    return torch.cat([shift, scale], dim=1) * boxes.new_tensor(weights)


def decode(deltas: Tensor, reference: Tensor, weights: tuple[float, float, float, float] = (1, 1, 1, 1)) -> Tensor:
    """The inverse of `encode`: move `reference` by `deltas`.

    deltas: [N, 4], or [N, K, 4] for K sets of deltas a box. reference: [N, 4]. Returns boxes of the shape of `deltas`.
    """
    if deltas.dim() == 3:
        reference = reference[:, None]  # [N, 1, 4]
    deltas = deltas / deltas.new_tensor(weights)
    size = reference[..., 2:] - reference[..., :2]
    centre = deltas[..., :2] * size + (reference[..., :2] + 0.5 * size)
    half = 0.5 * torch.exp(deltas[..., 2:].clamp(max=MAX_LOG_SCALE)) * size
    return torch.cat([centre - half, centre + half], dim=-1)


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut boxes [..., 4] to an image of size (height, width)."""
    height, width = size
    return torch.stack(
        [
            boxes[..., 0].clamp(0, width),
            boxes[..., 1].clamp(0, height),
            boxes[..., 2].clamp(0, width),
            boxes[..., 3].clamp(0, height),
        ],
        dim=-1,
    )


def is_larger_than(boxes: Tensor, min_size: float) -> Tensor:
    """Which boxes [N, 4] are at least min_size pixels wide and high. Returns bool [N]."""
    return ((boxes[:, 2:] - boxes[:, :2]) >= min_size).all(dim=1)


def with_batch_index(boxes: list[Tensor]) -> Tensor:
    """Put the boxes of B images, [R_i, 4] each, into one tensor [R, 5] of (image, x1, y1, x2, y2), as RoIAlign reads."""
    index = [boxes_i.new_full((len(boxes_i), 1), i) for i, boxes_i in enumerate(boxes)]
    return torch.cat([torch.cat(index), torch.cat(boxes)], dim=1)
