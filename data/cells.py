"""Drawing one white cell of each class: outline, nucleus, granules, colours.

Stain absorbs light by the law of Beer and Lambert: what passes through two layers is the product of what passes through
each, so their absorbances, the negative logarithms, add up. All is drawn as absorbance; an image is made only at the end.

Sizes, nucleus shares and colours follow measurements of LISC (Rezatofighi and Soltanian-Zadeh, 2011), 6 pixels a micrometre.
S is the side of the square window that a cell is drawn in; x and y in it are in units of the cell's radius.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
Shape = Callable[[Array, Array, float, Generator], Array]


class Cell(NamedTuple):
    absorbance: Array  # [S, S, 3]
    cover: Array  # [S, S] in 0..1, the part of each pixel that the cell covers
    mask: NDArray[np.bool_]  # [S, S], the pixels covered by half or more
    nucleus: NDArray[np.bool_]  # [S, S]
    radius: float  # pixels, to the outline's farthest point


@dataclass(frozen=True)
class Kind:
    """How a class of cells looks. Pairs are the ends of a range to draw from."""

    diameter: tuple[float, float]  # pixels
    nucleus_share: tuple[float, float]  # of the cell's area
    nucleus_shape: Shape
    nucleus_colour: tuple[int, int, int]  # seen before white
    cytoplasm_colours: tuple[tuple[int, int, int], tuple[int, int, int]]
    raggedness: float  # of the rim, in radii
    lacing: float  # how uneven the nucleus is
    granule_size: float  # pixels, the standard deviation of a blob
    granule_strength: float  # against the cytoplasm's own absorbance
    granules_cover_nucleus: float = 0.0  # how much of them shows over the nucleus
    vacuoles: float = 0.0  # how much thinner the cytoplasm is where it holds a bubble
    rim: float = 0.0  # how much darker the cytoplasm is at the cell's edge


def absorbance(colour: tuple[float, ...] | Array) -> Array:
    """[3] of a layer that makes white look like this colour."""
    return -np.log(np.maximum(np.asarray(colour, np.float32), 1) / 255)


def grain(rng: Generator, size: int, sigma: float) -> Array:
    """[size, size] of smooth random blobs about 2 sigma across, mean 0, standard deviation 1."""
    noise = ndimage.gaussian_filter(rng.standard_normal((size, size), np.float32), sigma, mode="wrap")
    return (noise - noise.mean()) / noise.std()


# Nuclei. Each returns a level [S, S]: the signed distance inside its outline, in cell radii. The outline is then moved in or
# out until the nucleus has the share of the cell's area that was asked for.


def _bar(x: Array, y: Array, start: NDArray, end: NDArray) -> Array:
    """Distance from the segment between two points."""
    along = end - start
    t = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / max(float(along @ along), 1e-6)
    t = np.clip(t, 0, 1)
    return np.hypot(x - start[0] - t * along[0], y - start[1] - t * along[1])


def _lobes(x: Array, y: Array, share: float, rng: Generator, count: int, arc: float, filament: float) -> Array:
    """Lobes side by side on an arc around the middle, joined by filaments of that half width."""
    angles = rng.uniform(0, 2 * np.pi) + arc * (np.linspace(-0.5, 0.5, count) + rng.uniform(-0.06, 0.06, count))
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1) * rng.uniform(0.36, 0.58, (count, 1))
    places += rng.uniform(-0.12, 0.12, 2)
    radii = np.sqrt(share / count) * rng.uniform(0.7, 1.15, count)
    level = np.full_like(x, -9)
    for place, radius, angle in zip(places, radii, angles, strict=True):
        stretch = radius * rng.uniform(0.1, 0.6) * np.array([-np.sin(angle), np.cos(angle)])
        level = np.maximum(level, 0.9 * radius - _bar(x, y, place - stretch, place + stretch))
    for start, end in pairwise(places):
        level = np.maximum(level, filament - _bar(x, y, start, end))
    return level


def _segmented(x: Array, y: Array, share: float, rng: Generator) -> Array:
    """Neutrophil: two to five lobes, mostly three or four, on thin filaments."""
    count = int(rng.choice([2, 3, 4, 5], p=[0.15, 0.35, 0.35, 0.15]))
    arc = min(4.4, rng.uniform(0.9, 1.4) * count)
    return _lobes(x, y, share, rng, count, arc, filament=rng.uniform(0.06, 0.12))


def _bilobed(x: Array, y: Array, share: float, rng: Generator) -> Array:
    """Eosinophil: two large lobes, seldom three, on a thicker bridge."""
    count = int(rng.choice([2, 3], p=[0.85, 0.15]))
    return _lobes(x, y, share, rng, count, arc=rng.uniform(1.7, 2.6) * count / 2, filament=rng.uniform(0.1, 0.22))


def _round(x: Array, y: Array, share: float, rng: Generator) -> Array:
    """Lymphocyte: nearly fills the cell, to one side of it; and, behind its granules, the basophil's."""
    off = rng.uniform(-1, 1, 2) * (1 - np.sqrt(share)) * 0.9
    flat = rng.uniform(0.9, 1.1)
    return np.sqrt(share) - np.hypot((x - off[0]) * flat, (y - off[1]) / flat)


def _kidney(x: Array, y: Array, share: float, rng: Generator) -> Array:
    """Monocyte: a disc with a bite out of one side, from a shallow dent to a horseshoe."""
    angle, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.1)
    side = np.array([np.cos(angle), np.sin(angle)])
    disc = 0.85 - np.hypot(x + 0.08 * side[0], y + 0.08 * side[1])
    return np.minimum(disc, _bar(x, y, (1.05 - depth) * side, 1.5 * side) - rng.uniform(0.16, 0.3))


KINDS = {
    "basophil": Kind(
        diameter=(64, 90),
        nucleus_share=(0.5, 0.7),
        nucleus_shape=_round,
        nucleus_colour=(158, 112, 212),
        cytoplasm_colours=((172, 122, 210), (150, 104, 196)),
        raggedness=0.06,
        lacing=0.1,
        granule_size=1.3,
        granule_strength=0.75,
        granules_cover_nucleus=0.75,
    ),
    "eosinophil": Kind(
        diameter=(76, 90),
        nucleus_share=(0.35, 0.48),
        nucleus_shape=_bilobed,
        nucleus_colour=(160, 92, 172),
        cytoplasm_colours=((176, 114, 160), (232, 150, 142)),
        raggedness=0.012,
        lacing=0.12,
        granule_size=1.3,
        granule_strength=0.4,
    ),
    "lymphocyte": Kind(
        diameter=(53, 59),
        nucleus_share=(0.78, 0.9),
        nucleus_shape=_round,
        nucleus_colour=(160, 108, 214),
        cytoplasm_colours=((185, 170, 232), (205, 190, 240)),
        raggedness=0.012,
        lacing=0.12,
        granule_size=1.2,
        granule_strength=0.1,
        rim=0.5,
    ),
    "monocyte": Kind(
        diameter=(76, 107),
        nucleus_share=(0.5, 0.6),
        nucleus_shape=_kidney,
        nucleus_colour=(186, 122, 236),
        cytoplasm_colours=((222, 190, 242), (205, 200, 232)),
        raggedness=0.03,
        lacing=0.25,
        granule_size=1.6,
        granule_strength=0.2,
        vacuoles=0.6,
    ),
    "neutrophil": Kind(
        diameter=(77, 94),
        nucleus_share=(0.42, 0.48),
        nucleus_shape=_segmented,
        nucleus_colour=(156, 106, 206),
        cytoplasm_colours=((230, 200, 240), (238, 206, 232)),
        raggedness=0.012,
        lacing=0.12,
        granule_size=1.0,
        granule_strength=0.25,
    ),
}


def draw_cell(name: str, rng: Generator) -> Cell:
    """A cell of the class in the middle of a window that it just fits into."""
    kind = KINDS[name]
    radius = rng.uniform(*kind.diameter) / 2
    size = 2 * int(1.35 * radius) + 5
    axis = np.arange(size, dtype=np.float32) - size // 2
    x, y = axis[None, :] / radius, axis[:, None] / radius
    x, y = np.broadcast_to(x, (size, size)), np.broadcast_to(y, (size, size))
    rim = _outline(x, y, kind.raggedness, rng)
    inside = rim - np.hypot(x, y)  # in radii, positive inside
    share = rng.uniform(*kind.nucleus_share)
    level = np.minimum(kind.nucleus_shape(x, y, share, rng), inside - 0.03)
    level = level + 0.025 * grain(rng, size, 0.12 * radius)
    cell = inside >= 0
    nucleus = (level > np.quantile(level[cell], 1 - share)) & cell
    cover = np.clip(inside * radius + 0.5, 0, 1)
    return Cell(_colour(kind, cover, nucleus, rng), cover, cell, nucleus, float(np.hypot(x, y)[cell].max() * radius))


def _outline(x: Array, y: Array, raggedness: float, rng: Generator) -> Array:
    """Distance of the rim from the middle in the direction of each pixel: some slow waves, and fine ones where ragged."""
    theta = np.arctan2(y, x)
    rim = np.ones_like(theta)
    fine = [(wave, raggedness / 4) for wave in (7, 9, 11, 13, 16, 19, 23)]
    for wave, height in ((2, 0.06), (3, 0.03), (4, 0.02), (5, 0.01), *fine):
        rim += rng.normal(0, height) * np.cos(wave * theta + rng.uniform(0, 2 * np.pi))
    return np.clip(rim, 0.75, 1.25)


def _colour(kind: Kind, cover: Array, nucleus: NDArray[np.bool_], rng: Generator) -> Array:
    """Absorbance [S, S, 3] of cytoplasm, nucleus over it, and granules."""
    size = len(cover)
    first, second = (absorbance(colour) for colour in kind.cytoplasm_colours)
    mix = rng.uniform()
    cytoplasm = mix * first + (1 - mix) * second
    chromatin = absorbance(kind.nucleus_colour) * rng.normal(1, 0.05, 3)
    edge = ndimage.gaussian_filter(nucleus.astype(np.float32), 0.8)
    density = 1 + kind.lacing * np.clip(grain(rng, size, 2.2), -2, 2)
    blobs = np.clip(grain(rng, size, kind.granule_size), -0.9, 2)
    granules = np.clip(1 + kind.granule_strength * blobs, 0.4, None)
    clouds = 1 + 0.12 * grain(rng, size, 8)
    bubbles = 1 - kind.vacuoles * np.clip(2 * grain(rng, size, 2.4) - 3, 0, 1)
    edge_of_cell = 1 + kind.rim * np.exp(-((ndimage.distance_transform_edt(cover > 0.5) / 2.5) ** 2))
    body = (clouds * granules * bubbles * edge_of_cell)[..., None] * cytoplasm
    over = kind.granules_cover_nucleus * np.clip(blobs, 0, None)[..., None] * cytoplasm * kind.granule_strength
    core = density[..., None] * chromatin + over
    return (edge[..., None] * core + (1 - edge[..., None]) * body) * rng.uniform(0.85, 1.2)
