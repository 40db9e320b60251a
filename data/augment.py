"""Random changes of a training image that leave its objects' classes as they are. A smear has no up and no left."""

from collections.abc import Callable

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


def random_flips_and_turns(
    image: Tensor, target: dict[str, Tensor], generator: torch.Generator | None = None
) -> Sample:
    """One of the eight ways to lay a rectangle down, each equally likely."""
    changes: tuple[Callable[..., Sample], ...] = (flip_horizontally, flip_vertically, transpose)
    for change, coin in zip(changes, torch.rand(3, generator=generator).tolist(), strict=True):
        if coin < 0.5:
            image, target = change(image, target)
    return image, target
