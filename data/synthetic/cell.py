"""Draws one white cell of each class: outline, nucleus, granules, colours.

Stain absorbs light by the law of Beer and Lambert: the transmittances of two layers multiply, so their absorbances, the
negative logarithms, add up. Everything is drawn as absorbance and becomes an image only at the end (see smear.py).

Sizes, nucleus fractions and colours follow measurements of LISC (Rezatofighi and Soltanian-Zadeh 2011), at 6 pixels per
micrometre.

Glossary: S is the side of the square window that a cell is drawn in; x and y are coordinates in it, [S, S], from its centre
and in units of the cell's radius; an inside distance is positive inside a shape and negative outside.
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
NucleusShape = Callable[[Array, Array, float, Generator], Array]  # x, y, area fraction, rng -> inside distance [S, S]


class Cell(NamedTuple):
    absorbance: Array  # [S, S, 3]
    coverage: Array  # [S, S] in 0..1, the fraction of each pixel that the cell covers
    mask: NDArray[np.bool_]  # [S, S], the pixels of which at least half is covered
    nucleus: NDArray[np.bool_]  # [S, S]
    radius: float  # pixels, to the farthest point of the outline


@dataclass(frozen=True)
class CellType:
    """How the cells of a class look. Pairs of numbers are the ends of a range to sample from."""

    diameter: tuple[float, float]  # pixels
    nucleus_fraction: tuple[float, float]  # of the cell's area
    nucleus_shape: NucleusShape
    nucleus_colour: tuple[int, int, int]  # on a white background, as all colours here
    cytoplasm_colours: tuple[tuple[int, int, int], tuple[int, int, int]]
    raggedness: float  # of the outline, in radii
    chromatin_texture: float  # relative variation of the nucleus's absorbance
    granule_size: float  # pixels, standard deviation of the smoothing
    granule_strength: float  # relative to the cytoplasm's absorbance
    granules_over_nucleus: float = 0.0  # fraction of their absorbance that shows over the nucleus
    vacuoles: float = 0.0  # fraction of the cytoplasm's absorbance that is missing in a vacuole
    rim: float = 0.0  # how much darker the cytoplasm is at the cell's edge, relative


def absorbance(colour: tuple[float, ...] | Array) -> Array:
    """[3]: that of a layer which makes white light look like this colour, 0..255."""
    return -np.log(np.maximum(np.asarray(colour, np.float32), 1) / 255)


def smooth_noise(rng: Generator, size: int, sigma: float) -> Array:
    """[size, size] of random blobs about 2 sigma across, with mean 0 and standard deviation 1."""
    noise = ndimage.gaussian_filter(rng.standard_normal((size, size), np.float32), sigma, mode="wrap")
    return (noise - noise.mean()) / noise.std()


# Shapes of nuclei. Each returns the inside distance [S, S]. draw_cell then thresholds it where the nucleus has the wanted
# fraction of the cell's area, so the size that a shape has here is only approximate.


def _distance_to_segment(x: Array, y: Array, start: NDArray, end: NDArray) -> Array:
    """Distance [S, S] from the line segment between two points."""
    along = end - start
    t = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / max(float(along @ along), 1e-6)
    t = np.clip(t, 0, 1)
    return np.hypot(x - start[0] - t * along[0], y - start[1] - t * along[1])


def _lobes(x: Array, y: Array, fraction: float, rng: Generator, count: int, arc: float, filament: float) -> Array:
    """`count` lobes on an arc around the centre, joined by filaments. arc: in radians; filament: half its width."""
    angles = rng.uniform(0, 2 * np.pi) + arc * (np.linspace(-0.5, 0.5, count) + rng.uniform(-0.06, 0.06, count))
    centres = np.stack([np.cos(angles), np.sin(angles)], axis=1) * rng.uniform(0.36, 0.58, (count, 1))
    centres += rng.uniform(-0.12, 0.12, 2)
    radii = np.sqrt(fraction / count) * rng.uniform(0.7, 1.15, count)
    inside = np.full_like(x, -9)
    for centre, radius, angle in zip(centres, radii, angles, strict=True):
        stretch = radius * rng.uniform(0.1, 0.6) * np.array([-np.sin(angle), np.cos(angle)])
        inside = np.maximum(inside, 0.9 * radius - _distance_to_segment(x, y, centre - stretch, centre + stretch))
    for start, end in pairwise(centres):
        inside = np.maximum(inside, filament - _distance_to_segment(x, y, start, end))
    return inside


def _segmented(x: Array, y: Array, fraction: float, rng: Generator) -> Array:
    """Neutrophil: two to five lobes, mostly three or four, joined by thin filaments."""
    count = int(rng.choice([2, 3, 4, 5], p=[0.15, 0.35, 0.35, 0.15]))
    arc = min(4.4, rng.uniform(0.9, 1.4) * count)
    return _lobes(x, y, fraction, rng, count, arc, filament=rng.uniform(0.06, 0.12))


def _bilobed(x: Array, y: Array, fraction: float, rng: Generator) -> Array:
    """Eosinophil: two large lobes, rarely three, on a thicker filament."""
    count = int(rng.choice([2, 3], p=[0.85, 0.15]))
    return _lobes(x, y, fraction, rng, count, arc=rng.uniform(1.7, 2.6) * count / 2, filament=rng.uniform(0.1, 0.22))


def _round(x: Array, y: Array, fraction: float, rng: Generator) -> Array:
    """Lymphocyte: a disc that nearly fills the cell, off its centre. Also the basophil's, hidden by granules."""
    offset = rng.uniform(-1, 1, 2) * (1 - np.sqrt(fraction)) * 0.9
    stretch = rng.uniform(0.9, 1.1)
    return np.sqrt(fraction) - np.hypot((x - offset[0]) * stretch, (y - offset[1]) / stretch)


def _kidney(x: Array, y: Array, fraction: float, rng: Generator) -> Array:
    """Monocyte: a disc with an indentation on one side, from a shallow dent to a horseshoe."""
    angle, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.1)
    side = np.array([np.cos(angle), np.sin(angle)])
    disc = 0.85 - np.hypot(x + 0.08 * side[0], y + 0.08 * side[1])
    return np.minimum(disc, _distance_to_segment(x, y, (1.05 - depth) * side, 1.5 * side) - rng.uniform(0.16, 0.3))


CELL_TYPES = {
    "basophil": CellType(
        diameter=(64, 90),
        nucleus_fraction=(0.5, 0.7),
        nucleus_shape=_round,
        nucleus_colour=(158, 112, 212),
        cytoplasm_colours=((172, 122, 210), (150, 104, 196)),
        raggedness=0.06,
        chromatin_texture=0.1,
        granule_size=1.3,
        granule_strength=0.75,
        granules_over_nucleus=0.75,
    ),
    "eosinophil": CellType(
        diameter=(76, 90),
        nucleus_fraction=(0.35, 0.48),
        nucleus_shape=_bilobed,
        nucleus_colour=(160, 92, 172),
        cytoplasm_colours=((176, 114, 160), (232, 150, 142)),
        raggedness=0.012,
        chromatin_texture=0.12,
        granule_size=1.3,
        granule_strength=0.4,
    ),
    "lymphocyte": CellType(
        diameter=(53, 59),
        nucleus_fraction=(0.78, 0.9),
        nucleus_shape=_round,
        nucleus_colour=(160, 108, 214),
        cytoplasm_colours=((185, 170, 232), (205, 190, 240)),
        raggedness=0.012,
        chromatin_texture=0.12,
        granule_size=1.2,
        granule_strength=0.1,
        rim=0.5,
    ),
    "monocyte": CellType(
        diameter=(76, 107),
        nucleus_fraction=(0.5, 0.6),
        nucleus_shape=_kidney,
        nucleus_colour=(186, 122, 236),
        cytoplasm_colours=((222, 190, 242), (205, 200, 232)),
        raggedness=0.03,
        chromatin_texture=0.25,
        granule_size=1.6,
        granule_strength=0.2,
        vacuoles=0.6,
    ),
    "neutrophil": CellType(
        diameter=(77, 94),
        nucleus_fraction=(0.42, 0.48),
        nucleus_shape=_segmented,
        nucleus_colour=(156, 106, 206),
        cytoplasm_colours=((230, 200, 240), (238, 206, 232)),
        raggedness=0.012,
        chromatin_texture=0.12,
        granule_size=1.0,
        granule_strength=0.25,
    ),
}


def draw_cell(name: str, rng: Generator) -> Cell:
    """A cell of the class, in the centre of a window that it just fits into."""
    cell_type = CELL_TYPES[name]
    radius = rng.uniform(*cell_type.diameter) / 2
    size = 2 * int(1.35 * radius) + 5
    axis = np.arange(size, dtype=np.float32) - size // 2
    x, y = axis[None, :] / radius, axis[:, None] / radius
    x, y = np.broadcast_to(x, (size, size)), np.broadcast_to(y, (size, size))
    inside = _outline(x, y, cell_type.raggedness, rng) - np.hypot(x, y)  # inside distance of the cell
    fraction = rng.uniform(*cell_type.nucleus_fraction)
    nucleus_inside = np.minimum(cell_type.nucleus_shape(x, y, fraction, rng), inside - 0.03)
    nucleus_inside = nucleus_inside + 0.025 * smooth_noise(rng, size, 0.12 * radius)
    mask = inside >= 0
    nucleus = (nucleus_inside > np.quantile(nucleus_inside[mask], 1 - fraction)) & mask
    coverage = np.clip(inside * radius + 0.5, 0, 1)
    farthest = float(np.hypot(x, y)[mask].max() * radius)
    return Cell(_absorbance(cell_type, coverage, nucleus, rng), coverage, mask, nucleus, farthest)


def _outline(x: Array, y: Array, raggedness: float, rng: Generator) -> Array:
    """Distance of the outline from the centre in the direction of each pixel: a few slow waves, and fine ones if ragged."""
    theta = np.arctan2(y, x)
    outline = np.ones_like(theta)
    fine = [(wave, raggedness / 4) for wave in (7, 9, 11, 13, 16, 19, 23)]
    for wave, height in ((2, 0.06), (3, 0.03), (4, 0.02), (5, 0.01), *fine):
        outline += rng.normal(0, height) * np.cos(wave * theta + rng.uniform(0, 2 * np.pi))
    return np.clip(outline, 0.75, 1.25)


def _absorbance(cell_type: CellType, coverage: Array, nucleus: NDArray[np.bool_], rng: Generator) -> Array:
    """Absorbance [S, S, 3] of the cytoplasm, the nucleus on it, and the granules."""
    size = len(coverage)
    first, second = (absorbance(colour) for colour in cell_type.cytoplasm_colours)
    mix = rng.uniform()
    cytoplasm = mix * first + (1 - mix) * second
    chromatin = absorbance(cell_type.nucleus_colour) * rng.normal(1, 0.05, 3)
    alpha = ndimage.gaussian_filter(nucleus.astype(np.float32), 0.8)[..., None]  # of the nucleus, with soft edges
    density = 1 + cell_type.chromatin_texture * np.clip(smooth_noise(rng, size, 2.2), -2, 2)
    blobs = np.clip(smooth_noise(rng, size, cell_type.granule_size), -0.9, 2)
    granules = np.clip(1 + cell_type.granule_strength * blobs, 0.4, None)
    clouds = 1 + 0.12 * smooth_noise(rng, size, 8)
    vacuoles = 1 - cell_type.vacuoles * np.clip(2 * smooth_noise(rng, size, 2.4) - 3, 0, 1)
    rim = 1 + cell_type.rim * np.exp(-((ndimage.distance_transform_edt(coverage > 0.5) / 2.5) ** 2))
    body = (clouds * granules * vacuoles * rim)[..., None] * cytoplasm
    over = cell_type.granules_over_nucleus * np.clip(blobs, 0, None)[..., None] * cytoplasm * cell_type.granule_strength
    core = density[..., None] * chromatin + over
    return (alpha * core + (1 - alpha) * body) * rng.uniform(0.85, 1.2)
