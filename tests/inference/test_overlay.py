"""The picture of an image's objects, and that of a label map."""

import tracemalloc

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from maskrcnn.inference.label_placement import Style, place_labels
from maskrcnn.inference.objects import Objects
from maskrcnn.inference.overlay import overlay, preview
from maskrcnn.regions import Patch
from maskrcnn.visualization.drawing import class_colour, text_colour

NAMES = ("basophil", "eosinophil", "lymphocyte")


def discs(size, *found):
    """found: (x, y, radius, label, score) of each."""
    patches = []
    for x, y, radius, *_ in found:
        rows, columns = np.mgrid[max(0, y - radius) : y + radius, max(0, x - radius) : x + radius]
        inside = (rows + 0.5 - y) ** 2 + (columns + 0.5 - x) ** 2 < radius**2
        patches.append(Patch(max(0, y - radius), max(0, x - radius), inside[: size[0], : size[1]] * np.float32(0.9)))
    rows = torch.tensor(found, dtype=torch.float32).reshape(-1, 5)
    centres, radii = rows[:, :2], rows[:, 2:3]
    boxes = torch.cat([centres - radii, centres + radii], 1).clamp(min=0)
    return Objects(size, boxes, rows[:, 3].long(), rows[:, 4], patches)


def noise(*size):
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def rgb(colour):
    return [round(255 * part) for part in to_rgb(colour)]


@pytest.fixture
def two():
    """An eosinophil and, at the left border, a basophil, with room for their labels."""
    return discs((200, 300), (150, 120, 30, 2, 0.87), (5, 60, 25, 1, 0.5))


def test_only_cells_with_their_rim_and_labels_are_drawn(two):
    image = noise(200, 300)
    original = image.copy()
    picture = overlay(image, two, NAMES)
    assert picture.shape == image.shape
    assert picture.dtype == np.uint8
    style = Style.of(two)
    untouched = np.ones((200, 300), bool)
    for label in place_labels(two, NAMES, style):
        untouched[label.box.slices] = False
    for region in two.regions():
        x1, y1, x2, y2 = region.box
        untouched[max(0, y1 - style.edge) : y2 + style.edge, max(0, x1 - style.edge) : x2 + style.edge] = False
    assert untouched.mean() > 0.8
    assert (picture == image)[untouched].all()
    assert (image == original).all()


def test_a_cell_has_a_line_in_the_colour_of_its_class_a_tint_within_and_a_rim_around(two):
    image = noise(200, 300)
    picture = overlay(image, two, NAMES)
    line, edge = Style.of(two).line, Style.of(two).edge
    row = picture[120]  # from its left edge at 120 to its centre at 150
    assert (row[120 : 120 + line] == rgb(class_colour(2))).all()
    assert (row[120 - edge : 120] == rgb(text_colour(class_colour(2)))).all()
    inside = slice(120 + line, 180 - line)
    assert np.abs(row[inside] - (0.875 * image[120, inside] + 0.125 * np.array(rgb(class_colour(2))))).max() <= 0.51
    assert (picture[60, :line] == rgb(class_colour(1))).all()  # along the border of the image, too
    assert (picture == rgb(class_colour(2))).all(axis=2).sum() > 2 * np.pi * 29 * line * 0.8


def test_a_line_is_as_wide_in_every_direction():
    """That of a disc is a ring, whose area is known."""
    cell = discs((2000, 2000), (1000, 1000, 500, 1, 0.9))
    picture = overlay(np.full((2000, 2000, 3), 200, np.uint8), cell, NAMES)
    width = Style.of(cell).line
    line = (picture[500:1500, 500:1500] == rgb(class_colour(1))).all(axis=2)
    assert width > 10
    assert line.sum() == pytest.approx(np.pi * (500**2 - (500 - width) ** 2), rel=0.04)
    assert line[500, :500].sum() == width
    assert np.diagonal(line)[:500].sum() * np.sqrt(2) == pytest.approx(width, rel=0.1)


def test_of_two_cells_that_overlap_the_better_is_on_top():
    crossing = discs((200, 300), (130, 100, 40, 1, 0.9), (160, 100, 40, 2, 0.8))
    picture = overlay(noise(200, 300), crossing, NAMES)
    assert (picture[100, 168] == rgb(class_colour(1))).all()  # the right end of the first is inside the second
    ring = (np.hypot(*(np.mgrid[:200, :300] + 0.5 - np.array([100, 130])[:, None, None])) < 40)[60:140, 90:170]
    inner = np.pad(ring, 1)
    edge = ring & ~(inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:])
    assert (picture[60:140, 90:170][edge] == rgb(class_colour(1))).all()


def test_cells_that_touch_both_keep_their_lines():
    for better, other in ((1, 2), (2, 1)):
        touching = discs((200, 300), (120, 100, 30, better, 0.9), (180, 100, 30, other, 0.8))
        row = overlay(noise(200, 300), touching, NAMES)[100]
        line = Style.of(touching).line
        assert (row[150 - line : 150] == rgb(class_colour(better))).all()
        assert (row[150 : 150 + line] == rgb(class_colour(other))).all()


def test_without_cells_it_is_the_image_itself():
    image = noise(50, 70)
    picture = overlay(image, discs((50, 70)), NAMES)
    assert (picture == image).all()
    assert picture is not image


def test_an_object_without_a_mask_is_not_drawn(two):
    empty = Objects(two.size, two.boxes, two.labels, two.scores, [Patch(0, 0, np.zeros((0, 0), np.float32))] * 2)
    image = noise(200, 300)
    assert (overlay(image, empty, NAMES) == image).all()


def test_a_label_is_written_on_the_colour_of_its_class(two):
    picture = overlay(noise(200, 300), two, NAMES)
    for box, text, colour in place_labels(two, NAMES, Style.of(two)):
        pixels = picture[box.slices].astype(int)
        assert (pixels[0] == rgb(colour)).all()  # the padding around the text
        to_background, to_ink = (np.abs(pixels - rgb(each)).sum(axis=2) for each in (colour, text_colour(colour)))
        assert 0.1 < (to_ink < to_background).mean() < 0.4, text


def test_it_takes_the_memory_of_the_image_and_a_third_for_any_number_of_cells():
    side = 1500
    places = [(x, y) for x in range(30, side, 60) for y in range(30, side, 60)]
    objects = discs((side, side), *((x, y, 20, 1 + (x + y) % 3, 0.9) for x, y in places))
    image = noise(side, side)
    assert len(objects) == 625
    overlay(image, objects.select([0]), NAMES)  # the font is loaded
    tracemalloc.start()
    try:
        overlay(image, objects, NAMES)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < image.nbytes * (1 + 1 / 3) + 1e6


def test_a_label_map_is_shown_on_black_and_neighbours_differ():
    """A wall of bricks: each touches up to six others."""
    rows, columns = np.mgrid[:120, :200]
    course = rows // 10
    labels = (1 + course * 30 + (columns + 5 * (course % 2)) // 10).astype(np.int32)
    labels[:20] = 0
    picture = preview(labels)
    assert picture.shape == (120, 200, 3)
    assert picture.dtype == np.uint8
    assert not picture[:20].any()
    assert picture[20:].max(axis=2).min() > 200
    for a, b in ((np.s_[20:-1], np.s_[21:]), (np.s_[20:, :-1], np.s_[20:, 1:])):
        changes = labels[a] != labels[b]
        distance = np.abs(picture[a].astype(int) - picture[b]).sum(axis=2)
        assert changes.any()
        assert (distance[changes] > 50).all()
        assert (distance[~changes] == 0).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int64])
def test_a_label_map_may_have_gaps_or_nothing(dtype):
    labels = np.zeros((8, 9), dtype)
    assert not preview(labels).any()
    labels[2:4, 2:4], labels[5:7, 5:7] = 3, 900
    assert (preview(labels).any(axis=2) == (labels > 0)).all()
