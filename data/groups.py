"""Pictures of the same spot, found from their pixels, so that a split can keep them on one side.

LISC holds some fields twice or three times, shifted or identical. A model that has trained on one of them knows the others.

Two pictures belong together if one can be laid over the other, shifted, so that where they overlap they correlate. All pairs
are compared small, by the Fourier transform; the few that look alike are compared once more, larger.
N pictures, [H, W] the size after shrinking, a shift is (down, right) in pixels of that size.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor
from tqdm import tqdm

SMALL, LARGE = 96, 288  # the longer side of a picture in the first and the second comparison
MIN_OVERLAP = 0.3  # of the picture's area
# In LISC the same field correlates by 0.92 or more, other fields by at most 0.31, where they are compared in full.
CANDIDATE, SAME = 0.6, 0.75


def same_field(pictures: Sequence[NDArray[np.uint8]], progress: bool = True) -> list[int]:
    """A group's number for each picture: equal for pictures that show the same field, 0, 1, 2, ... in order of appearance.

    pictures: [H, W, 3] each. Only pictures of one size are compared. Flipped or turned copies are not recognised.
    """
    group = list(range(len(pictures)))
    sizes = [picture.shape for picture in pictures]
    for size in dict.fromkeys(sizes):
        members = [i for i, other in enumerate(sizes) if other == size]
        for a, b in _same_pairs([pictures[i] for i in members], progress):
            first, second = sorted((group[members[a]], group[members[b]]))
            group = [first if g == second else g for g in group]
    numbers = {g: k for k, g in enumerate(dict.fromkeys(group))}
    return [numbers[g] for g in group]


def _same_pairs(pictures: Sequence[NDArray[np.uint8]], progress: bool) -> list[tuple[int, int]]:
    small = torch.stack([texture(picture, SMALL) for picture in pictures])
    spectra, energies = _spectra(small), _energies(small)
    large: dict[int, Tensor] = {}
    pairs = []
    for i in tqdm(range(len(pictures) - 1), "looking for repeated fields", disable=not progress, leave=False):
        best, _ = _best_shift(spectra[i], spectra[i + 1 :], energies[i], energies[i + 1 :])
        for j in (torch.nonzero(best > CANDIDATE).flatten() + i + 1).tolist():
            for k in (i, j):
                if k not in large:
                    large[k] = texture(pictures[k], LARGE)
            pairs += [(i, j)] if correlation(large[i], large[j]) > SAME else []
    return pairs


def correlation(a: Tensor, b: Tensor) -> float:
    """The highest correlation of two textures [H, W] over all shifts that leave enough overlap: 1 if b is a, shifted."""
    both = torch.stack([a, b])
    spectra, energies = _spectra(both), _energies(both)
    best, _ = _best_shift(spectra[0], spectra[1:], energies[0], energies[1:])
    return best.item()


def texture(picture: NDArray[np.uint8], side: int) -> Tensor:
    """[H, W, 3] -> float [h, w], the longer of the two `side` pixels: what is left without the lamp's slow gradient.

    The outermost rows are left out: cameras darken some, and what all pictures share would make them all alike.
    """
    height, width = picture.shape[:2]
    edge = max(height, width) // 100
    inner = Image.fromarray(picture).convert("L").crop((edge, edge, width - edge, height - edge))
    scale = side / max(inner.size)
    size = (max(8, round(inner.width * scale)), max(8, round(inner.height * scale)))
    # A shift by half a pixel must not matter: the sharpest of what the small picture holds is smoothed away.
    grey = ndimage.gaussian_filter(np.asarray(inner.resize(size, Image.Resampling.BOX), np.float32), 0.7)
    flat = grey - ndimage.gaussian_filter(grey, side / 12)
    spread = np.abs(flat).mean() + 1e-3
    # One dark white cell must not outweigh the pattern of the red ones: any two white cells look alike.
    return torch.from_numpy(np.clip(flat, -spread, spread))


def _padded(images: Tensor) -> Tensor:
    """Twice the size, so that shifts do not wrap around."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, width, 0, height))


def _spectra(images: Tensor) -> Tensor:
    return torch.fft.rfft2(_padded(images))


def _energies(images: Tensor) -> Tensor:
    """[N, 2, 2H, 2W]: the sum of squares in the part of an image that stays inside the other one, when it is the one that
    stands still and when it is the one that moves, for each shift."""
    squares, frame = _spectra(images.square()), _spectra(torch.ones_like(images[:1]))
    size = _padded(images).shape[-2:]
    still = torch.fft.irfft2(squares * frame.conj(), s=size)
    moves = torch.fft.irfft2(frame * squares.conj(), s=size)
    return torch.stack([still, moves], dim=1).clamp(min=1e-3)


def _best_shift(spectrum: Tensor, others: Tensor, energy: Tensor, other_energies: Tensor) -> tuple[Tensor, Tensor]:
    """One image against N others -> the best correlation of each [N], and the shift's place in the table [N]."""
    size = energy.shape[-2:]
    height, width = size[0] // 2, size[1] // 2
    product = torch.fft.irfft2(spectrum * others.conj(), s=size)  # [N, 2H, 2W], at each shift
    down = torch.fft.fftfreq(
        size[0], 1 / size[0]
    ).abs()  # a shift beyond half of the table is one in the other direction
    right = torch.fft.fftfreq(size[1], 1 / size[1]).abs()
    overlap = (1 - down / height).clamp(min=0)[:, None] * (1 - right / width).clamp(min=0)
    table = product / (energy[0] * other_energies[:, 1]).sqrt()
    best = table.masked_fill(overlap < MIN_OVERLAP, -1).flatten(1).max(dim=1)
    return best.values, best.indices
