from collections import Counter

import numpy as np
import pytest
import torch

from data.dataset import SmearDataset
from data.samples import Sample
from data.synthetic.pretraining import MAX_SIDE, MIN_SIDE, matching_size, pretraining_set
from data.synthetic.smear import Stain
from maskrcnn.config import LISC_CLASSES
from maskrcnn.regions import Region


def images_with_cells(height: int, width: int, side: int, count: int = 3) -> SmearDataset:
    """Empty images of that size, each with one cell of that side."""
    cell = Region(0, 0, np.ones((side, side // 2), bool))
    box = torch.tensor([[0.0, 0, side // 2, side]])
    sample = Sample(torch.zeros(height, width, 3, dtype=torch.uint8), [cell], box, torch.tensor([1]))
    return SmearDataset([None] * count, [sample] * count, LISC_CLASSES)


@pytest.mark.parametrize(("height", "width", "side"), [(480, 640, 160), (576, 720, 85), (300, 300, 60)])
def test_cells_are_as_large_relative_to_the_image_as_in_the_reference(height, width, side):
    reference = images_with_cells(height, width, side)
    dataset = pretraining_set(reference, cells=40)
    drawn_width, drawn_height = matching_size(reference)
    assert drawn_width / drawn_height == pytest.approx(width / height, rel=0.01)
    assert {sample.size for sample in dataset.samples} == {(drawn_height, drawn_width)}
    sides = [float((box[2:] - box[:2]).max()) for sample in dataset.samples for box in sample.boxes]
    # Cells that the border cuts are smaller, and classes differ; the median is as asked for.
    assert np.median(sides) / drawn_height == pytest.approx(side / height, rel=0.12)


@pytest.mark.parametrize("side", [90, 120])
def test_nuclei_are_as_large_relative_to_the_image_as_in_the_reference(side):
    reference = images_with_cells(480, 640, side)
    dataset = pretraining_set(reference, cells=60, compartment="nucleus")
    sides = [float((box[2:] - box[:2]).max()) for sample in dataset.samples for box in sample.boxes]
    assert np.median(sides) / dataset.samples[0].size[0] == pytest.approx(side / 480, rel=0.12)


def test_images_are_neither_too_small_for_several_cells_nor_too_large():
    assert min(matching_size(images_with_cells(100, 120, 90))) == MIN_SIDE
    assert max(matching_size(images_with_cells(3000, 4000, 40))) == MAX_SIDE


def test_all_classes_are_equally_frequent_and_mixed():
    dataset = pretraining_set(images_with_cells(480, 640, 160), cells=60)
    counts = Counter(label for sample in dataset.samples for label in sample.labels.tolist())
    assert set(counts) == set(range(1, len(LISC_CLASSES) + 1))
    assert max(counts.values()) - min(counts.values()) <= 4  # the last ones of an image may find no room
    assert sum(len(set(sample.labels.tolist())) > 1 for sample in dataset.samples) > len(dataset) / 2


def test_half_of_the_images_have_a_stain_that_exists_nowhere(monkeypatch):
    blue_slide = Stain((60, 90, 200), (200, 190, 210), (1, 1, 1))
    monkeypatch.setattr("data.synthetic.pretraining.random_stain", lambda rng: blue_slide)
    dataset = pretraining_set(images_with_cells(300, 300, 60), cells=400)
    slides = [np.quantile(sample.image.flatten(0, 1).numpy(), 0.9, axis=0) for sample in dataset.samples]
    blue = np.mean([slide[0] < 100 < slide[2] for slide in slides])
    assert len(dataset) > 50
    assert 0.35 < blue < 0.65


def test_nuclei_can_be_trained_on_though_basophils_have_none():
    reference = images_with_cells(300, 300, 60)
    nuclei = pretraining_set(reference, cells=12, compartment="nucleus")
    counts = Counter(label for sample in nuclei.samples for label in sample.labels.tolist())
    assert set(counts) == {2, 3, 4, 5}
    assert all(len(sample.labels) for sample in nuclei.samples)


def test_images_are_deterministic_by_seed():
    reference = images_with_cells(480, 640, 160)
    first, again, other = (pretraining_set(reference, cells=6, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.samples[0].image, again.samples[0].image)
    assert not torch.equal(first.samples[0].image, other.samples[0].image)


def test_classes_are_those_of_the_reference():
    reference = images_with_cells(300, 300, 90)
    reference.class_names = ("neutrophil", "something else", "basophil")
    dataset = pretraining_set(reference, cells=8)
    assert dataset.class_names == reference.class_names
    assert {label for sample in dataset.samples for label in sample.labels.tolist()} == {1, 3}
