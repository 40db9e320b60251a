"""Box algebra: area, IoU, the parametrisation of box regression, clipping, flips.

A box is (x1, y1, x2, y2) in continuous pixel coordinates: pixel i covers [i, i + 1), so a box that covers pixels
3 to 5 is (3, ..., 6, ...) and its width is x2 - x1 = 3, with no "+ 1" anywhere.

Glossary: N, M boxes; deltas, the four numbers (dx, dy, dw, dh) by which a network moves a reference box.
"""

import math

import torch
from torch import Tensor

# exp(dw) must not overflow in early training: no box grows by more than from 16 px to 1000 px in one step.
MAX_LOG_SCALE = math.log(1000.0 / 16)


def area(boxes: Tensor) -> Tensor:
    """Area in square pixels. boxes [N, 4] -> [N]."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def expand(boxes: Tensor, fraction: float) -> Tensor:
    """Boxes [N, 4] with `fraction` of their width and height added on every side."""
    size = boxes[:, 2:] - boxes[:, :2]
    return torch.cat([boxes[:, :2] - fraction * size, boxes[:, 2:] + fraction * size], dim=1)


def intersection_and_union(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Areas of intersection and union of every pair. a [N, 4], b [M, 4] -> two of [N, M], without gradient.

    With one row per coordinate the arithmetic runs along memory; boxes that are stored so already are not copied.
    """
    a, b = a.detach().t().contiguous(), b.detach().t().contiguous()  # [4, N], [4, M]
    left_top = torch.maximum(a[:2, :, None], b[:2, None])  # [2, N, M]
    width, height = torch.minimum(a[2:, :, None], b[2:, None]).sub_(left_top).clamp_(min=0)  # [N, M] each
    intersection = width.mul_(height)
    union = torch.add(area(a.t())[:, None], area(b.t()), out=height).sub_(intersection)
    return intersection, union


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every pair. a [N, 4], b [M, 4] -> [N, M] in 0..1; 0 where both boxes are empty."""
    intersection, union = intersection_and_union(a, b)
    # Two empty boxes would be 0 / 0.
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

    deltas: [N, 4], or [N, K, 4] for K sets of deltas per box. reference: [N, 4]. Returns boxes of the shape of `deltas`.
    """
    if deltas.dim() == 3:
        reference = reference[:, None]  # [N, 1, 4]
    deltas = deltas / deltas.new_tensor(weights)
    size = reference[..., 2:] - reference[..., :2]
    centre = deltas[..., :2] * size + (reference[..., :2] + 0.5 * size)
    half = 0.5 * torch.exp(deltas[..., 2:].clamp(max=MAX_LOG_SCALE)) * size
    return torch.cat([centre - half, centre + half], dim=-1)


def clip_to_image(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Clip boxes [..., 4] to an image of size (height, width)."""
    height, width = size
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)], dim=-1)


def large_enough(boxes: Tensor, min_size: float) -> Tensor:
    """Which boxes [N, 4] are at least min_size pixels wide and high. Returns bool [N]."""
    return ((boxes[:, 2:] - boxes[:, :2]) >= min_size).all(dim=1)


def flip_horizontally(boxes: Tensor, width: float) -> Tensor:
    """Boxes [N, 4] in the mirrored image: an edge at x goes to width - x."""
    x1, y1, x2, y2 = boxes.unbind(1)
    return torch.stack([width - x2, y1, width - x1, y2], dim=1)


def transpose(boxes: Tensor) -> Tensor:
    """Boxes [N, 4] in the transposed image, where x and y are exchanged. With flips it makes all quarter turns."""
    return boxes[:, [1, 0, 3, 2]]


def masks_to_boxes(masks: Tensor) -> Tensor:
    """The tightest boxes [N, 4] around the non-zero pixels of masks [N, H, W]. That of an empty mask means nothing."""
    (x1, x2), (y1, y2) = (_extent(masks.any(dim) != 0) for dim in (1, 2))
    return torch.stack([x1, y1, x2, y2], dim=1).float()


def _extent(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """Where the true values of each row of [N, L] begin and end: two of [N]."""
    length = occupied.shape[1]
    start = torch.arange(length, device=occupied.device)
    return torch.where(occupied, start, length).amin(dim=1), torch.where(occupied, start + 1, 0).amax(dim=1)


def with_batch_index(boxes: list[Tensor]) -> Tensor:
    """Join the boxes of B images, [R_i, 4] each, into one tensor [R, 5] of (image, x1, y1, x2, y2), as RoIAlign reads it."""
    index = [boxes_i.new_full((len(boxes_i), 1), i) for i, boxes_i in enumerate(boxes)]
    return torch.cat([torch.cat(index), torch.cat(boxes)], dim=1)
