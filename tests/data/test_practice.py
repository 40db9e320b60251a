from collections import Counter

import numpy as np
import pytest
import torch

from data.dataset import Sample, SmearDataset
from data.lisc import CLASSES
from data.practice import SIDES, draw_practice, field_size


def fields_with_cells(height: int, width: int, side: int, count: int = 3) -> SmearDataset:
    """Empty pictures of that size, each with one cell of that side."""
    ids = torch.zeros(height, width, dtype=torch.uint8)
    ids[:side, : side // 2] = 1
    box = torch.tensor([[0.0, 0, side // 2, side]])
    sample = Sample(torch.zeros(height, width, 3, dtype=torch.uint8), ids, box, torch.tensor([1]), 0)
    return SmearDataset.of([None] * count, [sample] * count, CLASSES)


@pytest.mark.parametrize(("height", "width", "side"), [(480, 640, 160), (576, 720, 85), (300, 300, 60)])
def test_cells_are_as_large_in_a_drawn_field_as_in_those_that_come_after_it(height, width, side):
    like = fields_with_cells(height, width, side)
    drawn = draw_practice(like, cells=40)
    drawn_width, drawn_height = field_size(like)
    assert drawn_width / drawn_height == pytest.approx(width / height, rel=0.01)
    assert {tuple(sample.ids.shape) for sample in drawn.samples} == {(drawn_height, drawn_width)}
    sides = [float((box[2:] - box[:2]).max()) for sample in drawn.samples for box in sample.boxes]
    # Cells that the border cuts are smaller, and classes differ; the middle is what was asked for.
    assert np.median(sides) / drawn_height == pytest.approx(side / height, rel=0.12)


@pytest.mark.parametrize("side", [90, 120])
def test_nuclei_are_as_large_too(side):
    like = fields_with_cells(480, 640, side)
    drawn = draw_practice(like, cells=60, part="nucleus")
    sides = [float((box[2:] - box[:2]).max()) for sample in drawn.samples for box in sample.boxes]
    assert np.median(sides) / drawn.samples[0].ids.shape[0] == pytest.approx(side / 480, rel=0.12)


def test_fields_are_neither_too_small_for_several_cells_nor_too_large_to_draw():
    assert min(field_size(fields_with_cells(100, 120, 90))) == SIDES[0]
    assert max(field_size(fields_with_cells(3000, 4000, 40))) == SIDES[1]


def test_all_classes_are_there_equally_often_and_mixed():
    drawn = draw_practice(fields_with_cells(480, 640, 160), cells=60)
    counts = Counter(label for sample in drawn.samples for label in sample.labels.tolist())
    assert set(counts) == set(range(1, len(CLASSES) + 1))
    assert max(counts.values()) - min(counts.values()) <= 4  # the last of a field may find no room
    assert sum(len(set(sample.labels.tolist())) > 1 for sample in drawn.samples) > len(drawn) / 2


def test_nuclei_can_be_practised_on_though_basophils_have_none():
    like = fields_with_cells(300, 300, 60)
    of_nuclei = draw_practice(like, cells=12, part="nucleus")
    counts = Counter(label for sample in of_nuclei.samples for label in sample.labels.tolist())
    assert set(counts) == {2, 3, 4, 5}
    assert all(len(sample.labels) for sample in of_nuclei.samples)


def test_fields_are_by_seed():
    like = fields_with_cells(480, 640, 160)
    first, again, other = (draw_practice(like, cells=6, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.samples[0].image, again.samples[0].image)
    assert not torch.equal(first.samples[0].image, other.samples[0].image)
