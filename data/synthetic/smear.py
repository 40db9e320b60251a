"""Draws a whole field of view: red cells, platelets and debris, white cells on top, then the photograph of it.

Like the cells, it is drawn as absorbance, so overlapping cells darken each other. The stain is sampled independently of the
classes, so the background says nothing about them.

Coordinates are in pixels; a size is (width, height), arrays are [H, W]; a disc is a row (x, y, radius).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from data.formats.lisc import GREY_CODES, MASK_MARGIN
from data.synthetic.cell import Array, Cell, absorbance, draw_cell

SIZE = (720, 576)  # width, height of LISC's images


class Stain(NamedTuple):
    """A family of slides: stain and lamp of a laboratory."""

    background: tuple[float, float, float]
    red_cell: tuple[float, float, float]  # colour of a red cell on the background
    white_cell: tuple[float, float, float]  # factors on the absorbance of a white cell


STAINS = {
    "blue-violet": Stain((250, 240, 246), (196, 190, 222), (1.1, 1.05, 0.9)),
    "pink-grey": Stain((244, 236, 238), (210, 187, 202), (0.95, 1.1, 1.1)),
    "grey-green": Stain((230, 238, 226), (190, 193, 196), (1.1, 0.95, 1.15)),
    "pale grey": Stain((246, 245, 247), (208, 207, 220), (0.8, 0.8, 0.8)),
}


def random_stain(rng: Generator) -> Stain:
    """An invented stain: red cells from grey to orange and violet, pale or dark; white cells of another hue and
    density, independent of the red ones; slides from white to grey and yellow."""
    yellow = np.array([1.0, 1.0 - 0.1 * rng.uniform(), 1.0 - 0.35 * rng.uniform()])
    background = 255 * rng.uniform(0.65, 1.0) * (yellow if rng.uniform() < 0.5 else np.ones(3))
    red_cell = 255 * np.exp(-rng.uniform(0.05, 0.5, 3))
    white_cell = np.exp(rng.normal(0, 0.25, 3))
    return Stain(*(tuple(values.tolist()) for values in (background, red_cell, white_cell)))


def draw_smear(
    labels: Sequence[str], rng: Generator, size: tuple[int, int] = SIZE, stain: Stain | None = None
) -> tuple[NDArray, NDArray]:
    """A field of view with a white cell of each label. The cells never touch; the first one without room ends the list.

    stain: by default one of STAINS at random. Returns the image, uint8 [H, W, 3], and its mask, uint8 [H, W] with LISC's
    grey codes for cytoplasm and nucleus.
    """
    stain = stain or list(STAINS.values())[rng.integers(len(STAINS))]
    cells = [draw_cell(label, rng) for label in labels]
    white = place_white_cells(cells, rng, size)
    red = absorbance(stain.red_cell) * rng.normal(1, 0.06, 3).astype(np.float32)
    light = _red_cells(white, rng, size)[..., None] * red  # absorbance [H, W, 3]
    light += _debris(rng, size)[..., None] * absorbance((150, 105, 190))
    tint = np.array(stain.white_cell, np.float32) * rng.normal(1, 0.05, 3).astype(np.float32)
    mask = np.zeros(size[::-1], np.uint8)
    for label, cell, (x, y, _) in zip(labels, cells, white, strict=False):
        in_field, in_cell = _window(int(x), int(y), len(cell.mask), size)
        # A white cell displaces the red ones; a little of those below shines through.
        change = cell.absorbance[in_cell] * tint - 0.9 * light[in_field]
        light[in_field] += cell.coverage[in_cell][..., None] * change
        cytoplasm, nucleus = GREY_CODES[label]
        mask[in_field][cell.mask[in_cell]] = cytoplasm
        mask[in_field][cell.nucleus[in_cell]] = nucleus
    return _photograph(light, stain.background, rng), mask


def _window(x: int, y: int, side: int, size: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of the part of a square window, centred on pixel (x, y), that is inside the field: in the field and in the
    window."""
    left, top = x - side // 2, y - side // 2
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + side, size[0]), min(top + side, size[1])
    return (slice(y1, y2), slice(x1, x2)), (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))


def place_white_cells(cells: Sequence[Cell], rng: Generator, size: tuple[int, int]) -> NDArray:
    """Discs [N, 3] for the first N cells, more than 4 pixels apart; N is where one finds no room.

    One cell in eight is cut by the border.
    """
    discs = np.zeros((0, 3))
    for cell in cells:
        low = np.minimum(int(1.05 * cell.radius) + MASK_MARGIN, np.array(size) // 2 - 1)
        tries = np.column_stack([rng.integers(low, np.array(size) - low, (60, 2)), np.full(60, cell.radius)])
        if rng.uniform() < 1 / 8:
            axis, inside = rng.integers(2), int(cell.radius * rng.uniform(0.2, 0.9)) + MASK_MARGIN
            tries[:, axis] = inside if rng.uniform() < 0.5 else size[axis] - inside
        free = tries[(_gaps(tries, discs) > 4).all(axis=1)]
        if not len(free):
            break
        discs = np.concatenate([discs, free[:1]])
    return discs


def _gaps(a: NDArray, b: NDArray) -> NDArray:
    """Discs [N, 3] and [M, 3] -> distances [N, M] from edge to edge, negative where they overlap."""
    distance = np.hypot(a[:, None, 0] - b[:, 0], a[:, None, 1] - b[:, 1])
    return distance - a[:, None, 2] - b[:, 2]


def place_red_cells(white: NDArray, rng: Generator, size: tuple[int, int]) -> NDArray:
    """Discs [R, 3] of red cells on 42 to 48 % of the area. Some overlap, some lie in rouleaux, like stacked coins."""
    margin = 20  # pixels beyond the border, for cells that it cuts
    extent = np.array(size) + 2 * margin
    target_area = rng.uniform(0.47, 0.54) * (extent.prod() - np.pi * (white[:, 2] ** 2).sum())  # overlaps count twice
    rouleaux, area, count = rng.uniform(0.05, 0.4), 0.0, 0
    discs = np.zeros((int(2 * target_area / 1400) + 1, 3))
    for _ in range(3000):
        radius = float(np.clip(rng.normal(21.4, 2.4), 15, 28))
        centre, overlap = rng.uniform(0, 1, 2) * extent - margin, 0.35 if rng.uniform() < 0.1 else 0.04
        if count and rng.uniform() < rouleaux:
            direction, step = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.0) * 2 * radius
            centre, overlap = discs[count - 1, :2] + step * np.array([np.cos(direction), np.sin(direction)]), 0.5
        disc = np.array([[*centre, radius]])
        within = (np.abs(centre - np.array(size) / 2) < extent / 2).all()
        free = (_gaps(disc, discs[:count]) > -overlap * 2 * radius).all()
        if within and free and (_gaps(disc, white) > -0.4 * radius).all():
            discs[count], count, area = disc, count + 1, area + np.pi * radius**2
        if area > target_area or count == len(discs):
            break
    return discs[:count]


def _red_cells(white: NDArray, rng: Generator, size: tuple[int, int]) -> Array:
    """Thickness [H, W] of the red cells, about 1 in the body of a cell; where two overlap it adds up."""
    discs = place_red_cells(white, rng, size)
    return _draw_discs(discs, rng, size, pallor=rng.uniform(0.2, 1.3), halo=rng.uniform(0, 0.3))


def _debris(rng: Generator, size: tuple[int, int]) -> Array:
    """Thickness [H, W] of platelets, 1.5 to 3 micrometres across, and of smaller and darker grains of stain."""
    platelets, grains = rng.poisson(np.array([7, 4]) * size[0] * size[1] / (720 * 576))
    radii = np.concatenate([rng.uniform(4, 9, platelets), rng.uniform(1, 3.5, grains)])
    discs = np.column_stack([rng.uniform(0, 1, (len(radii), 2)) * size, radii])
    return _draw_discs(discs, rng, size, pallor=-0.4, halo=0) * np.float32(rng.uniform(0.5, 1.0))


def _draw_discs(discs: NDArray, rng: Generator, size: tuple[int, int], pallor: float, halo: float) -> Array:
    """Thickness [H, W] of R nearly round cells, which add up. All are drawn at once in windows [R, side, side].

    pallor: how much thinner the centre is; negative: thicker. halo: strength of the bright ring of refracted light around
    the edge.
    """
    count, half = len(discs), 36
    axis = np.arange(-half, half, dtype=np.float32) + 0.5
    corners = np.floor(discs[:, :2]).astype(int)
    x = axis[None, None, :] - (discs[:, 0] % 1)[:, None, None].astype(np.float32)
    y = axis[None, :, None] - (discs[:, 1] % 1)[:, None, None].astype(np.float32)

    def uniform(low: float, high: float) -> Array:
        return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)

    angle, flatness, radius = uniform(0, np.pi), uniform(0.8, 1.0), discs[:, 2, None, None].astype(np.float32)
    u, v = x * np.cos(angle) + y * np.sin(angle), (y * np.cos(angle) - x * np.sin(angle)) / flatness
    distance = np.sqrt(u * u + v * v) * np.sqrt(flatness) + 1e-3  # from the centre of the ellipse
    cosine, sine = u / distance, v / distance
    three, two = cosine**3 - 3 * cosine * sine**2, 2 * cosine * sine  # waves along the edge: cos(3 theta), sin(2 theta)
    waves = 1 + uniform(-0.07, 0.07) * three + uniform(-0.05, 0.05) * two
    inside = radius - distance * waves  # pixels from the edge
    # From a soft dimple to a flat hole with a sharp edge.
    centre = np.exp(-((distance / (uniform(0.3, 0.6) * radius)) ** uniform(2, 4)))
    ring = np.exp(-(((inside + 2.5) / 1.6) ** 2))
    body = np.clip(inside / 2 + 0.5, 0, 1) * np.maximum(1 - pallor * uniform(0.3, 1.0) * centre, 0.08)
    windows = body * uniform(0.8, 1.15) - halo * ring
    field = np.zeros((size[1] + 4 * half, size[0] + 4 * half), np.float32)
    for (column, row), window in zip(corners + half, windows, strict=True):
        field[row : row + 2 * half, column : column + 2 * half] += window
    return field[2 * half : -2 * half, 2 * half : -2 * half]


def _photograph(light: Array, background: tuple[float, float, float], rng: Generator) -> NDArray[np.uint8]:
    """From absorbance [H, W, 3] to an image: uneven lamp, defocus, sensor noise, the dark edge of LISC's images."""
    height, width = light.shape[:2]
    lamp = Image.fromarray(rng.normal(0, rng.uniform(0.01, 0.04), (3, 3)).astype(np.float32))
    uneven = np.asarray(lamp.resize((width, height), Image.Resampling.BICUBIC))[..., None]
    colour = (np.array(background) + rng.normal(0, 4, 3)).astype(np.float32)
    sharp = np.clip(colour * np.exp(uneven - light), 0, 255).astype(np.uint8)
    blurred = Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.6)))
    image = rng.standard_normal(light.shape, np.float32) * np.float32(rng.uniform(1.5, 4)) + np.asarray(blurred)
    dark = np.linspace(0.9, 0.55, 4, dtype=np.float32)
    image[-4:] *= dark[:, None, None]
    image[:, -4:] *= dark[:, None]
    return np.clip(image, 0, 255).astype(np.uint8)
