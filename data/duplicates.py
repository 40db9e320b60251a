"""Images of the same field of view, found from their pixels, so that a split can keep them on one side.

LISC contains some fields two or three times, shifted or identical. A model trained on one of them has seen the others.

Two images show the same field if one can be shifted over the other so that they correlate where they overlap. All pairs are
compared at a small size, by the Fourier transform, or, of many images, those that share patches, at the shift that these
have in common; similar pairs are compared once more at a larger size.

Glossary: N images; H, W their size after downscaling; a shift is (down, right) in pixels of that size.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import lru_cache, partial
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor
from tqdm import tqdm

from data.patch_matches import possible_pairs

SMALL, LARGE = 96, 288  # longer side of an image in the first and the second comparison
MIN_OVERLAP = 0.3  # of the image's area
# In LISC the same field correlates by 0.92 or more, other fields by at most 0.31, where they are compared in full.
CANDIDATE, SAME = 0.6, 0.75
DOUBTFUL = 0.4  # at half of the small size, where the shift is known to two pixels
ALL_PAIRS = 300  # images of one size; of more, only pairs that share patches are compared

Texture = NDArray[np.float32]
Group = TypeVar("Group", bound=Hashable)


def duplicate_groups(images: Sequence[NDArray[np.uint8]], progress: bool = True) -> list[int]:
    """A group number for each image: equal for images that show the same field, 0, 1, 2, ... in order of appearance.

    images: [H, W, 3] each. Only images of the same size are compared. Flipped or rotated copies are not recognised.
    """
    group = list(range(len(images)))
    for members in members_by_group([image.shape for image in images]).values():
        for i, own in zip(members, _groups([images[i] for i in members], progress), strict=True):
            group[i] = members[own]
    numbers = {g: k for k, g in enumerate(dict.fromkeys(group))}
    return [numbers[g] for g in group]


def members_by_group(groups: Sequence[Group]) -> dict[Group, list[int]]:
    """Group -> the indices of its members."""
    members: dict[Group, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    return members


def _groups(images: Sequence[NDArray[np.uint8]], progress: bool) -> list[int]:
    """For each image, of equal size, the number of one that stands for its group."""
    if len(images) == 1:
        return [0]
    small = torch.stack([texture(image, SMALL) for image in images])
    larger = lru_cache(maxsize=512)(lambda i: texture(images[i], LARGE))
    parent = list(range(len(images)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for i, j, are_alike in _candidates(small, progress):
        if root(i) != root(j) and are_alike() and correlation(larger(i), larger(j)) > SAME:
            parent[max(root(i), root(j))] = min(root(i), root(j))
    return [root(i) for i in range(len(images))]


def _candidates(small: Tensor, progress: bool) -> Iterator[tuple[int, int, Callable[[], bool]]]:
    """Pairs of textures [N, H, W] that are worth a closer look, each with a function that takes it."""
    if len(small) > ALL_PAIRS:
        half, full = F.avg_pool2d(small, 2).numpy(), small.numpy()

        def are_alike(i: int, j: int, down: int, right: int) -> bool:
            roughly = _correlation_at(half[i], half[j], round(down / 2), round(right / 2))
            return roughly > DOUBTFUL and _correlation_near(full[i], full[j], down, right) > CANDIDATE

        for pair in possible_pairs(small, progress).tolist():
            yield pair[0], pair[1], partial(are_alike, *pair)
        return
    spectra, energies = _spectra(small), _energies(small)
    rows = range(len(small) - 1)
    for i in tqdm(rows, "looking for repeated fields", disable=None if progress else True, leave=False):
        best = _best_correlation(spectra[i], spectra[i + 1 :], energies[i], energies[i + 1 :])
        yield from ((i, j, lambda: True) for j in (torch.nonzero(best > CANDIDATE).flatten() + i + 1).tolist())


def _correlation_near(a: Texture, b: Texture, down: int, right: int) -> float:
    """The best correlation of a with b at about this shift."""
    return max(_correlation_at(a, b, down + y, right + x) for y in (-1, 0, 1) for x in (-1, 0, 1))


def _correlation_at(a: Texture, b: Texture, down: int, right: int) -> float:
    """The correlation of textures [H, W] over their overlap if b is shifted; -1 if that is too small."""
    height, width = a.shape
    if max(height - abs(down), 0) * max(width - abs(right), 0) < MIN_OVERLAP * height * width:
        return -1.0
    first = a[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)].ravel()
    second = b[max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)].ravel()
    return float(first @ second / np.sqrt((first @ first) * (second @ second) + 1e-6))


def correlation(a: Tensor, b: Tensor) -> float:
    """The highest correlation of two textures [H, W] over all shifts with enough overlap: 1 if b is a, shifted."""
    both = torch.stack([a, b])
    spectra, energies = _spectra(both), _energies(both)
    return _best_correlation(spectra[0], spectra[1:], energies[0], energies[1:]).item()


def texture(image: NDArray[np.uint8], side: int) -> Tensor:
    """[H, W, 3] -> float [h, w], the longer side of `side` pixels: local contrast, without the lamp's slow gradient.

    The outermost rows and columns are left out: some cameras darken them, and a feature that all images share would make
    all images similar.
    """
    height, width = image.shape[:2]
    edge = min(max(height, width) // 100, (min(height, width) - 1) // 2)
    inner = Image.fromarray(image).convert("L").crop((edge, edge, width - edge, height - edge))
    scale = side / max(inner.size)
    size = (max(8, round(inner.width * scale)), max(8, round(inner.height * scale)))
    # Smoothed, so that a shift by half a pixel does not matter.
    grey = ndimage.gaussian_filter(np.asarray(inner.resize(size, Image.Resampling.BOX), np.float32), 0.7)
    flat = grey - ndimage.gaussian_filter(grey, side / 12)
    spread = np.abs(flat).mean() + 1e-3
    # Clipped, so that one dark white cell does not outweigh the pattern of the red cells: white cells look alike.
    return torch.from_numpy(np.clip(flat, -spread, spread))


def _padded(images: Tensor) -> Tensor:
    """Twice the size, so that shifts do not wrap around."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, width, 0, height))


def _spectra(images: Tensor) -> Tensor:
    return torch.fft.rfft2(_padded(images))


def _energies(images: Tensor) -> Tensor:
    """[N, 2, 2H, 2W]: for each shift, the sum of squares of an image over its overlap with another one; first if the other
    one is shifted, then if the image itself is shifted."""
    squares, frame = _spectra(images.square()), _spectra(torch.ones_like(images[:1]))
    size = _padded(images).shape[-2:]
    fixed = torch.fft.irfft2(squares * frame.conj(), s=size)
    shifted = torch.fft.irfft2(frame * squares.conj(), s=size)
    return torch.stack([fixed, shifted], dim=1).clamp(min=1e-3)


def _best_correlation(spectrum: Tensor, others: Tensor, energy: Tensor, other_energies: Tensor) -> Tensor:
    """The best correlation of one image with each of N others, over all shifts with enough overlap: [N]."""
    size = energy.shape[-2:]
    height, width = size[0] // 2, size[1] // 2
    products = torch.fft.irfft2(spectrum * others.conj(), s=size)  # [N, 2H, 2W], for each shift
    # A shift beyond half of the padded size is one in the other direction.
    down, right = (torch.fft.fftfreq(length, 1 / length).abs() for length in size)
    overlap = (1 - down / height).clamp(min=0)[:, None] * (1 - right / width).clamp(min=0)
    correlations = products / (energy[0] * other_energies[:, 1]).sqrt()
    return correlations.masked_fill(overlap < MIN_OVERLAP, -1).flatten(1).amax(dim=1)
