"""The background control, on images in which the tests make or break the link between slide and class."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from data.dataset import SmearDataset
from data.inspect.background_control import background_colours, background_control, classify, control_of_splits
from data.samples import Sample
from data.splits import Splits
from maskrcnn.config import LISC_CLASSES
from maskrcnn.regions import Region, union

SIZE = 96
SLIDES = np.array([(250, 240, 246), (235, 225, 228), (225, 236, 222), (242, 243, 246), (246, 236, 220)])


def make_sample(label: int, slide: int, rng: np.random.Generator) -> Sample:
    """A cell, whose colour is its class, on the background of a slide."""
    image = SLIDES[slide] + rng.normal(0, 4, (SIZE, SIZE, 3)) + rng.normal(0, 4, 3)
    y, x = rng.integers(10, 60, 2)
    image[y : y + 25, x : x + 25] = 60 + 30 * label
    pixels = torch.from_numpy(np.clip(image, 0, 255).astype(np.uint8))
    cell = Region(int(y), int(x), np.ones((25, 25), bool))
    return Sample(pixels, [cell], torch.tensor([[x, y, x + 25.0, y + 25.0]]), torch.tensor([label]))


def make_samples(slide_of, count=150, classes=5):
    rng = np.random.default_rng(0)
    labels = [k % classes + 1 for k in range(count)]
    return [make_sample(label, slide_of(label, rng), rng) for label in labels]


def test_a_slide_for_each_class_gives_it_away():
    result = background_control(make_samples(lambda label, rng: label - 1), range(150))
    assert result.accuracy > 0.8
    assert result.balanced_accuracy > 0.8
    assert result.chance == result.balanced_chance == pytest.approx(0.2)
    assert f"{result.accuracy:.0%}" in str(result)


def test_slides_independent_of_the_class_do_not_though_the_cells_do():
    """The colours of the cells tell the class without fail: if any of them were visible, the accuracy would show it."""
    result = background_control(make_samples(lambda label, rng: rng.integers(5)), range(150))
    assert abs(result.accuracy - result.chance) < 0.1
    assert result.images == 150


def test_a_field_is_never_both_trained_and_tested_on():
    """Ten fields with slides at random, fifteen images of each: they would be recognised if they were not kept together."""
    rng = np.random.default_rng(1)
    originals = [make_sample(k % 5 + 1, k % 5, rng) for k in range(10)]
    originals = [sample._replace(labels=torch.tensor([int(rng.integers(1, 3))])) for sample in originals]
    samples, groups = originals * 15, list(range(10)) * 15
    assert background_control(samples, range(150)).accuracy == 1
    assert background_control(samples, groups).accuracy < 0.8


def test_a_class_with_two_stains_is_separated_from_a_class_between_them():
    x = torch.cat([torch.full((20, 1), -1.0), torch.full((20, 1), 1.0), torch.zeros(20, 1)])
    x = x + 0.1 * torch.randn(60, 1, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0] * 40 + [1] * 20)
    assert classify(x, labels, torch.tensor([[-1.1], [0.05], [0.9]])).tolist() == [0, 1, 0]


def test_cells_and_a_halo_around_them_are_covered():
    """2 % of 96 pixels are 2: pixels up to that distance have no effect, those beyond do."""
    sample = make_sample(1, 0, np.random.default_rng(0))
    distance = ndimage.distance_transform_edt(~union(sample.regions, sample.size))

    def changed(where: np.ndarray) -> Sample:
        image = sample.image.clone()
        image[torch.from_numpy(where)] = 0
        return sample._replace(image=image)

    expected = background_colours(sample)
    assert torch.equal(background_colours(changed(distance == 0)), expected)
    assert torch.equal(background_colours(changed(distance <= 2)), expected)
    assert not torch.equal(background_colours(changed((distance > 2) & (distance <= 4))), expected)


def test_too_few_classes_or_repeats_only_give_no_result():
    one_class = make_samples(lambda label, rng: 0, count=20, classes=1)
    assert background_control(one_class, range(20)) is None
    two = make_samples(lambda label, rng: 0, count=20, classes=2)
    assert background_control(two, [0] * 20) is None
    mixed = [sample._replace(labels=torch.tensor([1, 2])) for sample in two]
    assert background_control(mixed, range(20)) is None


def test_all_images_of_the_splits_are_used():
    samples = make_samples(lambda label, rng: label - 1, count=30, classes=2)
    train, val = (SmearDataset([None] * 15, half, LISC_CLASSES) for half in (samples[:15], samples[15:]))
    text = control_of_splits(Splits(train, val, list(range(30)), []))
    assert text == str(background_control(samples, range(30)))
    assert "of 30 images" in text
    assert "no background control" in control_of_splits(Splits(train, val, [0] * 30, []))
