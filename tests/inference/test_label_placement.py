"""Labels beside the objects: what is written, and where."""

import numpy as np
import pytest
import torch

from maskrcnn.inference.label_placement import SMALLEST_TEXT, Style, place_labels
from maskrcnn.inference.objects import Objects
from maskrcnn.regions import Patch
from maskrcnn.visualization.drawing import class_colour

NAMES = ("basophil", "eosinophil", "lymphocyte")


def squares(size, *found):
    """found: (x1, y1, x2, y2) of each; their classes are 1, 2, 3, 1, ..., their scores fall from 0.99."""
    boxes = torch.tensor(found).float().reshape(-1, 4)
    patches = [Patch(y1, x1, np.full((y2 - y1, x2 - x1), 0.9, np.float32)) for x1, y1, x2, y2 in found]
    number = torch.arange(len(found))
    return Objects(size, boxes, 1 + number % 3, 0.99 - number / 1000, patches)


def grid(size, side, gap):
    """Squares of one size over the whole image."""
    corners = [(x, y) for y in range(gap, size[0] - side, side + gap) for x in range(gap, size[1] - side, side + gap)]
    return squares(size, *((x, y, x + side, y + side) for x, y in corners))


def placed(objects, names=NAMES):
    return place_labels(objects, names, Style.of(objects))


def assert_beside_everything(labels, objects):
    """Inside the image, with no pixel of an object or of another label."""
    taken = np.zeros(objects.size, int)
    for region in objects.regions():
        taken[region.slices] |= region.mask
    height, width = objects.size
    for label in labels:
        assert 0 <= label.box.x1 < label.box.x2 <= width
        assert 0 <= label.box.y1 < label.box.y2 <= height
        taken[label.box.slices] += 1
    assert taken.max() == 1


@pytest.mark.parametrize("objects", [
    squares((200, 300), (100, 100, 160, 160)),
    squares((200, 300), (0, 0, 60, 60)),
    squares((200, 300), (240, 140, 300, 200)),
    squares((200, 300), (100, 0, 160, 200)),
    squares((200, 300), (0, 70, 300, 130)),
    squares((120, 98), (38, 40, 78, 80)),
    squares((200, 300), (60, 60, 110, 110), (115, 60, 165, 110), (60, 115, 110, 165), (115, 115, 165, 165)),
], ids=["inside", "first corner", "last corner", "top to bottom", "left to right", "narrow", "four together"])  # fmt: skip
def test_a_cell_is_labelled_with_class_and_score_beside_it(objects):
    labels = placed(objects)
    texts = [f"{NAMES[k - 1]} {score:.2f}" for k, score in zip(objects.labels.tolist(), objects.scores.tolist())]
    assert [label.text for label in labels] == texts
    assert [label.colour for label in labels] == [class_colour(k) for k in objects.labels.tolist()]
    assert_beside_everything(labels, objects)
    for label, (x1, y1, x2, y2) in zip(labels, objects.boxes.tolist()):  # no farther than it is high
        height = label.box.y2 - label.box.y1
        assert max(x1 - label.box.x2, label.box.x1 - x2, y1 - label.box.y2, label.box.y1 - y2) < 2 * height


def test_a_label_is_above_its_cell_where_there_is_room():
    (label,) = placed(squares((200, 300), (100, 100, 160, 160)))
    assert label.box.y2 <= 100
    assert (label.box.x1 + label.box.x2) / 2 == pytest.approx(130, abs=1)
    (label,) = placed(squares((200, 300), (100, 0, 160, 60)))
    assert label.box.y1 >= 60


def test_a_cell_without_room_for_its_name_is_numbered():
    """The last, the eleventh, stands between two others and the upper border of the image."""
    objects = squares((300, 1200), *((100 + 100 * k, 200, 140 + 100 * k, 240) for k in range(8)),
                      (0, 0, 100, 60), (140, 0, 240, 60), (104, 38, 136, 60))  # fmt: skip
    labels = placed(objects)
    assert [label.text for label in labels][-1] == "11"
    assert [label.text for label in labels][:2] == ["basophil 0.99", "eosinophil 0.99"]
    assert_beside_everything(labels, objects)


def test_in_a_crowd_all_are_numbered_and_a_legend_tells_the_colours():
    objects = grid((400, 600), side=30, gap=22)
    objects = objects.select([i for i, (x, y, *_) in enumerate(objects.boxes.tolist()) if x > 200 or y < 250])
    labels = placed(objects)
    assert [label.text for label in labels[:3]] == list(NAMES)
    assert [label.colour for label in labels[:3]] == [class_colour(k) for k in (1, 2, 3)]
    assert labels[0].box.x1 == 0
    assert labels[2].box.y2 == 400
    assert [int(label.text) for label in labels[3:]] == list(range(1, len(objects) + 1))
    assert_beside_everything(labels, objects)


@pytest.mark.parametrize(("side", "gap"), [(30, 22), (30, 12), (30, 4), (60, 0), (6, 5)])
def test_no_label_covers_a_cell_however_crowded(side, gap):
    objects = grid((400, 600), side, gap)
    assert_beside_everything(placed(objects), objects)


def test_a_cell_that_is_closed_in_has_no_label():
    assert placed(squares((60, 60), (0, 0, 60, 60))) == []
    assert placed(squares((200, 200))) == []


def test_a_name_longer_than_the_image_gives_way_to_the_number():
    objects = squares((200, 300), (100, 100, 160, 160))
    assert [label.text for label in placed(objects, ["x" * 200] * 3)] == ["1"]
    assert [label.text for label in placed(objects, ["two\nlines"] * 3)] == ["two lines 0.99"]


def test_objects_without_a_mask_are_not_labelled_and_numbers_are_those_of_the_table():
    objects = grid((400, 600), side=30, gap=22)
    objects.patches[0] = Patch(0, 0, np.zeros((0, 0), np.float32))
    numbers = [int(label.text) for label in placed(objects) if label.text.isdigit()]
    assert numbers == list(range(2, len(objects) + 1))


@pytest.mark.parametrize(("size", "diameter", "text", "line"), [
    ((480, 640), 120, 13, 3), ((480, 640), 30, SMALLEST_TEXT, 2), ((60, 80), 20, SMALLEST_TEXT, 2),
    ((10_000, 10_000), 1200, 200, 50), ((10_000, 10_000), 40, SMALLEST_TEXT, 2), ((1944, 2592), 250, 42, 10),
])  # fmt: skip
def test_sizes_follow_the_image_and_its_cells(size, diameter, text, line):
    boxes = torch.tensor([[0.0, 0, diameter, diameter]] * 3 + [[0, 0, 3, 3]])
    objects = Objects(size, boxes, torch.ones(4).long(), torch.ones(4), [])
    assert Style.of(objects)[:2] == (text, line)
