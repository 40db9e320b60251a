"""Random changes of a training image that leave its objects' classes as they are. A smear has no up and no left."""

from collections.abc import Sequence

import torch
from torch import Tensor

Sample = tuple[Tensor, dict[str, Tensor]]  # image [3, H, W]; target with boxes [N, 4], masks [N, H, W] and more


def flip_horizontally(image: Tensor, target: dict[str, Tensor]) -> Sample:
    """Mirror left and right. An edge at x goes to W - x, in continuous coordinates."""
    width = image.shape[-1]
    x1, y1, x2, y2 = target["boxes"].unbind(1)
    boxes = torch.stack([width - x2, y1, width - x1, y2], dim=1)
    return image.flip(-1), {**target, "boxes": boxes, "masks": target["masks"].flip(-1)}


def transpose(image: Tensor, target: dict[str, Tensor]) -> Sample:
    """Mirror along the diagonal: rows become columns. With flips it makes every quarter turn."""
    boxes = target["boxes"][:, [1, 0, 3, 2]]
    masks = target["masks"].transpose(-1, -2)
    return image.transpose(-1, -2), {**target, "boxes": boxes, "masks": masks}


def flip_vertically(image: Tensor, target: dict[str, Tensor]) -> Sample:
    """Mirror up and down. An edge at y goes to H - y."""
    return transpose(*flip_horizontally(*transpose(image, target)))


def random_flips_and_turns(samples: Sequence[Sample], generator: torch.Generator | None = None) -> list[Sample]:
    """Lay each image of a batch down in one of its eight ways, each equally likely.

    Turning by a quarter is for all or for none: an upright image beside a lying one would be padded to a square.
    """
    turn = torch.rand(1, generator=generator).item() < 0.5
    laid = []
    for image, target in samples:
        for change, coin in zip((flip_horizontally, flip_vertically), torch.rand(2, generator=generator), strict=True):
            if coin < 0.5:
                image, target = change(image, target)
        laid.append(transpose(image, target) if turn else (image, target))
    return laid
