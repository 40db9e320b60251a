"""Anchors: the reference boxes at every location of every feature map (Ren et al. 2015, sec. 3.1.1; Lin et al. 2017,
sec. 4.1: one scale per level, three aspect ratios).

Glossary: a location is a pixel of a feature map; A_location anchors per location; A anchors in all. Their order is that of
the RPN head's output: level by level, then rows, columns, and the anchors of a location (by aspect ratio, then by size).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn.describe import described


@described
class Anchors(NamedTuple):
    """boxes [A, 4] in pixels of the batch, the same for all its images; per_level: the number of anchors of each level."""

    boxes: Tensor
    per_level: tuple[int, ...]


class AnchorGenerator:
    """sizes: for each level, the square roots of the anchors' areas in pixels. aspect_ratios: height / width.

    offset: where in its location an anchor is centred: 0.5 the middle, 0 the upper left corner (as torchvision does).
    rounded: round the base anchors to whole pixels (as torchvision does).
    """

    def __init__(
        self,
        sizes: Sequence[Sequence[float]],
        aspect_ratios: Sequence[float],
        offset: float = 0.5,
        rounded: bool = False,
    ) -> None:
        if len({len(s) for s in sizes}) != 1:
            raise ValueError(f"the RPN head is shared by all levels, so each needs as many anchor sizes; got {sizes}")
        self.sizes = [tuple(s) for s in sizes]
        self.aspect_ratios = tuple(aspect_ratios)
        self.offset = offset
        self.rounded = rounded

    @property
    def num_anchors_per_location(self) -> int:
        """A_location, the same on every level."""
        return len(self.sizes[0]) * len(self.aspect_ratios)

    def __call__(self, maps: Sequence[Tensor], image_size: tuple[int, int]) -> Anchors:
        """maps: [B, C, H_l, W_l] for each level; image_size: padded (height, width) of the batch."""
        if len(maps) != len(self.sizes):
            raise ValueError(f"{len(maps)} feature maps but anchor sizes for {len(self.sizes)} levels")
        levels = [self._level(s, f.shape[-2:], image_size, f.device) for s, f in zip(self.sizes, maps, strict=True)]
        return Anchors(torch.cat(levels), tuple(level.shape[0] for level in levels))

    def _level(
        self, sizes: tuple[float, ...], map_size: Sequence[int], image_size: tuple[int, int], device: torch.device
    ) -> Tensor:
        # The actual stride of the map: not 2^l where the padded size is no multiple of it.
        y, x = (
            (torch.arange(n, dtype=torch.float32, device=device) + self.offset) * (length // n)
            for n, length in zip(map_size, image_size, strict=True)
        )
        y, x = torch.meshgrid(y, x, indexing="ij")
        centres = torch.stack([x, y, x, y], dim=-1)  # [H_l, W_l, 4]
        return (centres[:, :, None] + self.base_anchors(sizes).to(device)).reshape(-1, 4)  # [H_l * W_l * A_location, 4]

    def base_anchors(self, sizes: Sequence[float]) -> Tensor:
        """The anchors of one location, centred on (0, 0): [A_location, 4], of area size^2 and height / width = ratio."""
        root = torch.tensor(self.aspect_ratios, dtype=torch.float32).sqrt()[:, None]  # [aspect ratios, 1]
        size = torch.tensor(sizes, dtype=torch.float32)[None]  # [1, sizes]
        half_width, half_height = (size * (1 / root)).flatten() / 2, (size * root).flatten() / 2
        boxes = torch.stack([-half_width, -half_height, half_width, half_height], dim=1)
        return boxes.round() if self.rounded else boxes
