"""Drawn fields of view against measurements of LISC."""

from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from data.formats.lisc import GREY_CODES
from data.synthetic.cell import draw_cell
from data.synthetic.smear import SIZE, Stain, draw_smear, place_red_cells, place_white_cells, random_stain
from maskrcnn.config import LISC_CLASSES

SMALL = (200, 160)


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", LISC_CLASSES)
def test_the_mask_is_where_the_cell_was_drawn(name):
    """The stain of a white cell absorbs green: less so inside the same mask shifted by a few pixels."""
    green, cells = [], []
    for seed in range(8):
        image, mask = draw_smear([name], rng(seed), SMALL)
        green.append(image[8:-12, 8:-12, 1].astype(float))
        cells.append(mask > 0)

    def mean_green(dy: int, dx: int) -> float:
        shifted = [np.roll(cell, (dy, dx), (0, 1))[8:-12, 8:-12] for cell in cells]
        return float(np.mean([pixels[cell].mean() for pixels, cell in zip(green, shifted)]))

    inside = mean_green(0, 0)
    outside = np.mean([pixels[~cell[8:-12, 8:-12]].mean() for pixels, cell in zip(green, cells)])
    assert inside < outside - 30
    assert all(mean_green(dy, dx) > inside + 1 for dy, dx in ((6, 0), (-6, 0), (0, 6), (0, -6)))


def test_the_cells_of_an_image_are_its_connected_components():
    for seed in range(12):
        labels = list(rng(seed).permutation(LISC_CLASSES)[:3])
        _, mask = draw_smear(labels, rng(seed), (400, 300))
        components, count = ndimage.label(mask, np.ones((3, 3)))
        found = [set(np.unique(mask[components == k])) for k in range(1, count + 1)]
        assert 1 <= count <= 3
        expected = [set(GREY_CODES[label]) for label in labels[:count]]
        assert Counter(map(frozenset, found)) == Counter(map(frozenset, expected))


def test_the_stain_of_a_field_can_be_chosen():
    """The empty slide has its colour, a red cell what the slide and the cell let through together."""
    stain = Stain((200, 180, 120), (255 * 0.9, 255 * 0.6, 255 * 0.7), (1, 1, 1))
    image, _ = draw_smear([], rng(3), (400, 300), stain)
    pixels = image[5:-5, 5:-5].reshape(-1, 3)
    darkness = pixels.sum(axis=1)
    slide = np.median(pixels[darkness > np.quantile(darkness, 0.6)], axis=0)
    np.testing.assert_allclose(slide, (200, 180, 120), rtol=0.1)
    cells = np.median(
        pixels[(darkness < np.quantile(darkness, 0.35)) & (darkness > np.quantile(darkness, 0.1))], axis=0
    )
    np.testing.assert_allclose(-np.log(cells / slide) / -np.log((0.9, 0.6, 0.7)), 1, atol=0.45)


def test_random_stains_colour_red_and_white_cells_independently():
    stains = [random_stain(rng(k)) for k in range(300)]
    slides, red, white = (np.array(values) for values in zip(*stains))
    assert slides.min() > 100
    assert slides.max() <= 255
    assert (slides[:, 0] >= slides[:, 2]).all()  # yellow, never blue
    assert {"red", "green", "blue"} == {("red", "green", "blue")[k] for k in red.argmax(axis=1)}  # any hue
    assert np.ptp(red.mean(axis=1)) > 50  # pale and dark
    assert np.abs(np.corrcoef(red.T, np.log(white).T)[:3, 3:]).max() < 0.2
    assert np.median(white) == pytest.approx(1, abs=0.05)


def test_red_cells_have_the_measured_size_and_number():
    """42.8 px across (5 to 95 %: 37 to 54), about 130 in an image of 720 x 576."""
    diameters, counts = [], []
    for seed in range(8):
        cells = place_red_cells(np.zeros((0, 3)), rng(seed), SIZE)
        inside = ((cells[:, :2] > 0) & (cells[:, :2] < SIZE)).all(axis=1)
        counts.append(inside.sum())
        diameters.extend(2 * cells[inside, 2])
    low, middle, high = np.percentile(diameters, (5, 50, 95))
    assert 40 < middle < 46
    assert 33 < low < 40
    assert 48 < high < 56
    assert 110 < np.mean(counts) < 150


def test_white_cells_touch_red_ones_and_the_border():
    touching, at_border = 0, 0
    for seed in range(40):
        generator = rng(seed)
        white = place_white_cells([draw_cell("monocyte", generator)], generator, SIZE)
        x, y, radius = white[0]
        red = place_red_cells(white, generator, SIZE)
        touching += (np.hypot(red[:, 0] - x, red[:, 1] - y) < red[:, 2] + 0.9 * radius).any()
        at_border += x < radius or y < radius or x > SIZE[0] - radius or y > SIZE[1] - radius
    assert touching > 12
    assert 2 <= at_border <= 15


def test_red_cells_cover_what_they_do_in_lisc():
    """42 to 48 % of the area, roughly: pixels well below the brightest, outside the white cell."""
    fractions = []
    for seed in range(6):
        image, mask = draw_smear(["lymphocyte"], rng(seed))
        green = ndimage.gaussian_filter(image[..., 1].astype(float), 2)[:-4, :-4]
        lamp = ndimage.percentile_filter(green[::8, ::8], 95, 15).repeat(8, 0).repeat(8, 1)[:572, :716]
        fractions.append((green < lamp - 14)[mask[:-4, :-4] == 0].mean())
    assert 0.36 < np.mean(fractions) < 0.54


def test_the_last_rows_and_columns_darken():
    image, _ = draw_smear(["monocyte"], rng(3), SMALL)
    grey = image.astype(float).mean(axis=2)
    assert grey[-1].mean() < grey[-2].mean() < grey[-5].mean()
    assert grey[:, -1].mean() < grey[:, -2].mean() < grey[:, -5].mean()
