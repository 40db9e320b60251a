"""The control of the background, on fields whose link between slide and class the test itself makes or breaks."""

import numpy as np
import pytest
import torch

from data.dataset import Sample
from data.leakage import background, classify, measure

SIZE = 96
SLIDES = np.array([(250, 240, 246), (235, 225, 228), (225, 236, 222), (242, 243, 246), (246, 236, 220)])


def field(label: int, slide: int, rng: np.random.Generator) -> Sample:
    """A cell, whose colour is its class, on the glass of a slide."""
    image = SLIDES[slide] + rng.normal(0, 4, (SIZE, SIZE, 3)) + rng.normal(0, 4, 3)
    ids = np.zeros((SIZE, SIZE), np.uint8)
    y, x = rng.integers(10, 60, 2)
    ids[y : y + 25, x : x + 25] = 1
    image[ids > 0] = 60 + 30 * label
    tensors = torch.from_numpy(np.clip(image, 0, 255).astype(np.uint8)), torch.from_numpy(ids)
    return Sample(*tensors, torch.tensor([[x, y, x + 25.0, y + 25.0]]), torch.tensor([label]), 0)


def fields(slide_of, count=150, classes=5):
    rng = np.random.default_rng(0)
    labels = [k % classes + 1 for k in range(count)]
    return [field(label, slide_of(label, rng), rng) for label in labels]


def test_a_slide_for_each_class_gives_it_away():
    result = measure(fields(lambda label, rng: label - 1), range(150))
    assert result.accuracy > 0.8
    assert result.balanced_accuracy > 0.8
    assert result.chance == result.balanced_chance == pytest.approx(0.2)
    assert f"{result.accuracy:.0%}" in str(result)


def test_slides_independent_of_the_class_say_nothing_though_the_cells_do():
    """The cells' own colours name the class without fail: what is seen of them would show here."""
    result = measure(fields(lambda label, rng: rng.integers(5)), range(150))
    assert abs(result.accuracy - result.chance) < 0.1
    assert result.fields == 150


def test_the_same_field_is_never_learned_from_and_tested_on():
    """Ten fields with slides at random, each there fifteen times: known by heart, were they not kept together."""
    rng = np.random.default_rng(1)
    originals = [field(k % 5 + 1, k % 5, rng) for k in range(10)]
    originals = [one._replace(labels=torch.tensor([int(rng.integers(1, 3))])) for one in originals]
    samples, groups = originals * 15, list(range(10)) * 15
    assert measure(samples, range(150)).accuracy == 1
    assert measure(samples, groups).accuracy < 0.8


def test_two_stains_of_one_class_around_those_of_another_are_told_apart():
    x = torch.cat([torch.full((20, 1), -1.0), torch.full((20, 1), 1.0), torch.zeros(20, 1)])
    x = x + 0.1 * torch.randn(60, 1, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0] * 40 + [1] * 20)
    assert classify(x, labels, torch.tensor([[-1.1], [0.05], [0.9]])).tolist() == [0, 1, 0]


def test_cells_and_what_is_near_them_are_covered():
    sample = field(1, 0, np.random.default_rng(0))
    other = sample.image.clone()
    other[sample.ids > 0] = 255
    assert torch.equal(background(sample), background(sample._replace(image=other)))
    assert not torch.equal(background(sample), background(sample._replace(image=other * 0)))


def test_too_few_classes_or_repeats_only_give_no_result():
    one_class = fields(lambda label, rng: 0, count=20, classes=1)
    assert measure(one_class, range(20)) is None
    two = fields(lambda label, rng: 0, count=20, classes=2)
    assert measure(two, [0] * 20) is None
    mixed = [sample._replace(labels=torch.tensor([1, 2])) for sample in two]
    assert measure(mixed, range(20)) is None
