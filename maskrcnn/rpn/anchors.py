"""Anchors: the reference boxes laid over every cell of every feature map (Ren et al. 2015, sec. 3.1.1; Lin et al. 2017,
sec. 4.1: one scale a level, three ratios).

Glossary: A_cell anchors at one cell; A anchors in all. The order is that of the RPN head's output: level by level, then
rows, then columns, then the anchors of the cell (ratio by ratio, and within a ratio size by size).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn.describe import description


class Anchors(NamedTuple):
    """boxes [A, 4] in pixels of the batch, the same for all its images; how many of them lie on each level."""

    boxes: Tensor
    per_level: tuple[int, ...]

    def __repr__(self) -> str:
        return description(self)


class AnchorGenerator:
    """sizes: for each level, the square roots of the anchors' areas in pixels. ratios: height / width.

    `offset` places the anchor in its cell, in cells: 0.5 is the centre, 0 the upper left corner (as torchvision does).
    `rounded` rounds the anchors of a cell to whole pixels (as torchvision does).
    """

    def __init__(
        self,
        sizes: Sequence[Sequence[float]],
        ratios: Sequence[float],
        offset: float = 0.5,
        rounded: bool = False,
    ) -> None:
        if len({len(s) for s in sizes}) != 1:
            raise ValueError(f"the RPN head is shared by all levels, so each needs as many anchor sizes; got {sizes}")
        self.sizes = [tuple(s) for s in sizes]
        self.ratios = tuple(ratios)
        self.offset = offset
        self.rounded = rounded

    @property
    def per_cell(self) -> int:
        """How many anchors stand on one cell."""
        return len(self.sizes[0]) * len(self.ratios)

    def __call__(self, maps: Sequence[Tensor], image_size: tuple[int, int]) -> Anchors:
        """maps: [B, C, H_l, W_l] for each level; image_size: padded (height, width) of the batch."""
        if len(maps) != len(self.sizes):
            raise ValueError(f"{len(maps)} feature maps but anchor sizes for {len(self.sizes)} levels")
        levels = [self._level(s, f.shape[-2:], image_size, f.device) for s, f in zip(self.sizes, maps, strict=True)]
        return Anchors(torch.cat(levels), tuple(len(level) for level in levels))

    def _level(
        self, sizes: tuple[float, ...], cells: Sequence[int], image_size: tuple[int, int], device: torch.device
    ) -> Tensor:
        # The stride that the map really has, which for a padded size that the level does not divide is not 2^l.
        y, x = (
            (torch.arange(n, dtype=torch.float32, device=device) + self.offset) * (length // n)
            for n, length in zip(cells, image_size, strict=True)
        )
        y, x = torch.meshgrid(y, x, indexing="ij")
        centres = torch.stack([x, y, x, y], dim=-1)  # [H_l, W_l, 4]
        return (centres[:, :, None] + self.cell(sizes).to(device)).reshape(-1, 4)  # [H_l * W_l * A_cell, 4]

    def cell(self, sizes: Sequence[float]) -> Tensor:
        """The anchors of one cell, around (0, 0): [A_cell, 4], each of area size^2 and height / width = ratio."""
        root = torch.tensor(self.ratios, dtype=torch.float32).sqrt()[:, None]  # [ratios, 1]
        size = torch.tensor(sizes, dtype=torch.float32)[None]  # [1, sizes]
        half_width, half_height = (size * (1 / root)).flatten() / 2, (size * root).flatten() / 2
        boxes = torch.stack([-half_width, -half_height, half_width, half_height], dim=1)
        return boxes.round() if self.rounded else boxes
