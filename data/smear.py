"""Drawing a whole field: red cells, platelets and specks, white cells on top of them, and the photograph of it all.

Like the cells it is drawn as absorbance, so that overlapping cells darken each other. The stain is drawn independently of
the classes, so that the background tells nothing about them. Coordinates are pixels, sizes (width, height), arrays [H, W].
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from data.cells import Array, Cell, absorbance, draw_cell
from data.lisc import GREY_CODES, MASK_MARGIN

SIZE = (720, 576)  # width, height of LISC's images


class Stain(NamedTuple):
    """A family of slides: each laboratory's stain and lamp look different."""

    background: tuple[int, int, int]
    red_cell: tuple[int, int, int]  # before the background
    white_cell: tuple[float, float, float]  # factors on a white cell's absorbance


STAINS = {
    "blue-violet": Stain((250, 240, 246), (196, 190, 222), (1.1, 1.05, 0.9)),
    "pink-grey": Stain((244, 236, 238), (210, 187, 202), (0.95, 1.1, 1.1)),
    "grey-green": Stain((230, 238, 226), (190, 193, 196), (1.1, 0.95, 1.15)),
    "pale grey": Stain((246, 245, 247), (208, 207, 220), (0.8, 0.8, 0.8)),
}


def draw_smear(labels: Sequence[str], rng: Generator, size: tuple[int, int] = SIZE) -> tuple[NDArray, NDArray]:
    """A field with a white cell of each label, as far as they fit without touching each other.

    Returns the image, uint8 [H, W, 3], and its mask, uint8 [H, W] of LISC's grey codes for cytoplasm and nucleus.
    """
    stain = list(STAINS.values())[rng.integers(len(STAINS))]
    cells = [draw_cell(label, rng) for label in labels]
    places = _place_white(cells, rng, size)
    red = absorbance(stain.red_cell) * rng.normal(1, 0.06, 3).astype(np.float32)
    light = _red_cells(places, rng, size)[..., None] * red  # absorbance [H, W, 3]
    light += _specks(rng, size)[..., None] * absorbance((150, 105, 190))
    tint = np.array(stain.white_cell, np.float32) * rng.normal(1, 0.05, 3).astype(np.float32)
    mask = np.zeros(size[::-1], np.uint8)
    for label, cell, (x, y, _) in zip(labels, cells, places, strict=False):
        there, here = _window(int(x), int(y), len(cell.mask), size)
        # A white cell pushes the red ones aside; a little of those beneath shines through.
        light[there] += cell.cover[here][..., None] * (cell.absorbance[here] * tint - 0.9 * light[there])
        cytoplasm, nucleus = GREY_CODES[label]
        mask[there][cell.mask[here]] = cytoplasm
        mask[there][cell.nucleus[here]] = nucleus
    return _photograph(light, stain.background, rng), mask


def _window(x: int, y: int, side: int, size: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a square window around pixel (x, y) lies in a field, and the part of the window inside the field."""
    left, top = x - side // 2, y - side // 2
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + side, size[0]), min(top + side, size[1])
    return (slice(y1, y2), slice(x1, x2)), (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))


def _place_white(cells: Sequence[Cell], rng: Generator, size: tuple[int, int]) -> NDArray:
    """x, y and radius [N, 3], with a few pixels between any two; what comes after the first that does not fit is left out.

    The border cuts one cell in eight.
    """
    places = np.zeros((0, 3))
    for cell in cells:
        low = np.minimum(int(1.05 * cell.radius) + MASK_MARGIN, np.array(size) // 2 - 1)
        tries = np.column_stack([rng.integers(low, np.array(size) - low, (60, 2)), np.full(60, cell.radius)])
        if rng.uniform() < 1 / 8:
            axis, inside = rng.integers(2), int(cell.radius * rng.uniform(0.2, 0.9)) + MASK_MARGIN
            tries[:, axis] = inside if rng.uniform() < 0.5 else size[axis] - inside
        free = tries[(_gaps(tries, places) > 4).all(axis=1)]
        if not len(free):
            break
        places = np.concatenate([places, free[:1]])
    return places


def _gaps(some: NDArray, others: NDArray) -> NDArray:
    """[N, 3] and [M, 3], each x, y, radius -> distances [N, M] from rim to rim, negative where they overlap."""
    apart = np.hypot(some[:, None, 0] - others[:, 0], some[:, None, 1] - others[:, 1])
    return apart - some[:, None, 2] - others[:, 2]


def _place_red(white: NDArray, rng: Generator, size: tuple[int, int]) -> NDArray:
    """x, y and radius [R, 3] of red cells on 42 to 48 % of the area: some overlap, some lie in rouleaux, like coins."""
    margin = 20  # beyond the border, for cells that it cuts
    extent = np.array(size) + 2 * margin
    wanted = rng.uniform(0.47, 0.54) * (extent.prod() - np.pi * (white[:, 2] ** 2).sum())  # what overlaps counts twice
    rouleaux, area, count = rng.uniform(0.05, 0.4), 0.0, 0
    cells = np.zeros((int(2 * wanted / 1400) + 1, 3))
    for _ in range(3000):
        radius = float(np.clip(rng.normal(21.4, 2.4), 15, 28))
        place, overlap = rng.uniform(0, 1, 2) * extent - margin, 0.35 if rng.uniform() < 0.1 else 0.04
        if count and rng.uniform() < rouleaux:
            direction, step = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.0) * 2 * radius
            place, overlap = cells[count - 1, :2] + step * np.array([np.cos(direction), np.sin(direction)]), 0.5
        cell = np.array([[*place, radius]])
        within = (np.abs(place - np.array(size) / 2) < extent / 2).all()
        free = (_gaps(cell, cells[:count]) > -overlap * 2 * radius).all()
        if within and free and (_gaps(cell, white) > -0.4 * radius).all():
            cells[count], count, area = cell, count + 1, area + np.pi * radius**2
        if area > wanted or count == len(cells):
            break
    return cells[:count]


def _red_cells(white: NDArray, rng: Generator, size: tuple[int, int]) -> Array:
    """Thickness [H, W] of the red cells, about 1 in the flesh of a cell; where two overlap it adds up."""
    cells = _place_red(white, rng, size)
    return _discs(cells, rng, size, pallor=rng.uniform(0.2, 1.3), halo=rng.uniform(0, 0.3))


def _specks(rng: Generator, size: tuple[int, int]) -> Array:
    """Thickness [H, W] of platelets, 1.5 to 3 micrometres across, and of smaller and darker grains of stain."""
    platelets, grains = rng.poisson(np.array([7, 4]) * size[0] * size[1] / (720 * 576))
    radii = np.concatenate([rng.uniform(4, 9, platelets), rng.uniform(1, 3.5, grains)])
    places = np.column_stack([rng.uniform(0, 1, (len(radii), 2)) * size, radii])
    return _discs(places, rng, size, pallor=-0.4, halo=0) * np.float32(rng.uniform(0.5, 1.0))


def _discs(cells: NDArray, rng: Generator, size: tuple[int, int], pallor: float, halo: float) -> Array:
    """Add up round cells x, y, radius [R, 3] on a field [H, W]: all drawn at once in windows [R, side, side].

    pallor: how much thinner the middle is; negative where it is thicker. halo: light bent to a bright ring around the rim.
    """
    count, half = len(cells), 36
    axis = np.arange(-half, half, dtype=np.float32) + 0.5
    corners = np.floor(cells[:, :2]).astype(int)
    x = axis[None, None, :] - (cells[:, 0] % 1)[:, None, None].astype(np.float32)
    y = axis[None, :, None] - (cells[:, 1] % 1)[:, None, None].astype(np.float32)

    def draw(low: float, high: float) -> Array:
        return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)

    angle, flat, radius = draw(0, np.pi), draw(0.8, 1.0), cells[:, 2, None, None].astype(np.float32)
    u, v = x * np.cos(angle) + y * np.sin(angle), (y * np.cos(angle) - x * np.sin(angle)) / flat
    far = np.sqrt(u * u + v * v) * np.sqrt(flat) + 1e-3
    cosine, sine = u / far, v / far
    three, two = cosine**3 - 3 * cosine * sine**2, 2 * cosine * sine  # waves around the rim: cos(3 theta), sin(2 theta)
    bump = 1 + draw(-0.07, 0.07) * three + draw(-0.05, 0.05) * two
    inside = radius - far * bump  # pixels from the rim
    # From a soft dimple to a flat hole with an edge of its own.
    middle = np.exp(-((far / (draw(0.3, 0.6) * radius)) ** draw(2, 4)))
    ring = np.exp(-(((inside + 2.5) / 1.6) ** 2))
    body = np.clip(inside / 2 + 0.5, 0, 1) * np.maximum(1 - pallor * draw(0.3, 1.0) * middle, 0.08)
    drawn = body * draw(0.8, 1.15) - halo * ring
    field = np.zeros((size[1] + 4 * half, size[0] + 4 * half), np.float32)
    for (column, row), window in zip(corners + half, drawn, strict=True):
        field[row : row + 2 * half, column : column + 2 * half] += window
    return field[2 * half : -2 * half, 2 * half : -2 * half]


def _photograph(light: Array, background: tuple[int, int, int], rng: Generator) -> NDArray[np.uint8]:
    """From absorbance [H, W, 3] to an image: uneven lamp, defocus, noise of the sensor, LISC's dark edge."""
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
