import math

import numpy as np
import pytest
import torch

from data.dataset import SmearDataset
from data.image_size import (
    median_cell_side,
    model_sizes,
    relative_box_sides,
    scales_of,
    size_for_cells,
    training_scale,
)
from data.samples import Sample, downscale
from maskrcnn.config import LISC_CLASSES
from maskrcnn.images import ImageTransform
from maskrcnn.regions import Region


def dataset(*images: tuple[int, int, list[tuple[int, int]]]) -> SmearDataset:
    """Images of a height and a width, with boxes of a width and a height."""
    samples = []
    for height, width, boxes in images:
        empty = torch.zeros(height, width, 3, dtype=torch.uint8)
        corners = torch.tensor([[5.0, 5, 5 + w, 5 + h] for w, h in boxes])
        samples.append(Sample(empty, empty[..., 0], corners, torch.ones(len(boxes), dtype=torch.int64), 0))
    return SmearDataset([None] * len(samples), samples, LISC_CLASSES)


def test_sides_are_fractions_of_the_shorter_side_of_the_image():
    data = dataset((100, 200, [(20, 10)]), (200, 100, [(50, 30), (10, 40)]))
    torch.testing.assert_close(relative_box_sides(data), torch.tensor([[0.2, 0.1], [0.5, 0.3], [0.1, 0.4]]))
    assert median_cell_side(data) == pytest.approx(0.4)  # of 0.2, 0.5 and 0.4


@pytest.mark.parametrize(
    ("height", "side", "size"),
    [
        (480, 180, 160),  # 60 pixels of 160 are as much as 180 of 480
        (576, 130, 256),  # 266 is rounded down to a multiple of 32
        (576, 126, 288),  # 274 is rounded up
        (576, 85, 320),  # LISC: no larger
        (300, 250, 96),  # no smaller
    ],
)
def test_the_median_cell_gets_the_size_that_the_anchors_are_made_for(height, side, size):
    assert size_for_cells(dataset((height, 720, [(side, side // 2)]))) == size


def squares(*images):
    """Images of a height and a width, with square cells of a side."""
    samples = []
    for height, width, side in images:
        image = torch.zeros(height, width, 3, dtype=torch.uint8)
        boxes = torch.tensor([[5.0, 5, 5 + side, 5 + side]])
        samples.append(Sample(image, [Region(5, 5, np.ones((side, side), bool))], boxes, torch.ones(1).long()))
    return SmearDataset([None] * len(samples), samples, LISC_CLASSES)


def transform(min_size, max_size):
    return ImageTransform(min_size, max_size, (0, 0, 0), (1, 1, 1), 32)


def test_images_of_one_size_are_trained_on_at_the_models_own_scale():
    data = squares((480, 640, 90), (480, 640, 120), (480, 640, 100))
    known = training_scale(data, transform(256, 512))
    assert known.is_one
    assert known.scale == 256 / 480
    assert known.image_size == (480, 640)
    assert known.diameter == pytest.approx(100 * 2 / math.sqrt(math.pi))
    scales = scales_of(data, known)
    assert model_sizes(data, transform(256, 512), scales) == [transform(256, 512).resized_size((480, 640))] * 3


def test_images_of_several_sizes_but_one_magnification_have_one_scale():
    """A crop is not enlarged: its cells are as large as the others."""
    data = squares((480, 640, 100), (480, 640, 110), (240, 320, 105), (600, 640, 95))
    known = training_scale(data, transform(240, 480))
    assert known.is_one
    assert known.scale == 0.5
    assert model_sizes(data, transform(240, 480), scales_of(data, known))[2] == (120, 160)
    assert not training_scale(data, transform(240, 480), may_be_one=False).is_one


def test_images_whose_cells_are_as_much_larger_as_they_are_keep_their_own_scales():
    data = squares((480, 640, 100), (960, 1280, 200), (240, 320, 51), (480, 640, 98))
    known = training_scale(data, transform(240, 480))
    assert not known.is_one
    assert scales_of(data, known) == [None] * 4
    assert model_sizes(data, transform(240, 480), [None] * 4) == [(240, 320)] * 4
    assert known.percentile(50) == pytest.approx(50 * 2 / math.sqrt(math.pi), rel=0.05)


def test_an_image_that_would_be_too_large_to_train_on_keeps_its_own_scale():
    data = squares((480, 640, 100), (480, 640, 100), (3000, 4000, 100))
    assert not training_scale(data, transform(240, 480)).is_one


def test_scales_are_those_of_the_files_whatever_the_size_in_memory():
    whole = squares((960, 1280, 200), (960, 1280, 220))
    reduced = SmearDataset(whole.records, [downscale(sample, (480, 640)) for sample in whole.samples], LISC_CLASSES)
    a, b = (training_scale(data, transform(240, 480)) for data in (whole, reduced))
    assert a == b
    assert a.scale == 0.25
    assert scales_of(reduced, b) == [0.5, 0.5]
    assert scales_of(whole, b) == [0.25, 0.25]
    assert scales_of(whole, None) == [None, None]
