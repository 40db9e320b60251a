"""Which regions are stray fragments, and what is left of an image and its cells at a smaller size."""

import numpy as np
import pytest
import torch

from data.image_io import Annotated
from data.masks import Cell
from data.records import ImageRecord
from data.samples import Sample, class_conflict, downscale, make_sample, within, without_fragments
from maskrcnn.regions import Region, region_of


def disc(radius: int, is_component: bool) -> Region:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return Region(0, 0, x * x + y * y <= radius * radius, is_component)


def sample_of(*regions: Region, labels=None, size=(150, 200)) -> Sample:
    image = torch.zeros(*size, 3, dtype=torch.uint8)
    boxes = torch.tensor([region.box for region in regions], dtype=torch.float32).reshape(-1, 4)
    return Sample(image, list(regions), boxes, torch.tensor(labels or [1] * len(regions), dtype=torch.int64))


def test_only_connected_components_of_masks_are_fragments():
    """A platelet of radius 12 beside a leukocyte of radius 60 is 4 % of it; of radius 3, 0.3 %."""
    radii = (60, 12, 3)
    drawn = sample_of(*(disc(radius, False) for radius in radii))
    found = sample_of(*(disc(radius, True) for radius in radii))
    drawn, found = without_fragments([drawn, found])
    assert (len(drawn.regions), drawn.fragments) == (3, 0)
    assert (len(found.regions), len(found.boxes), len(found.labels), found.fragments) == (1, 1, 1, 2)


def test_a_fragment_is_tiny_beside_the_cells_of_its_class():
    cells = [disc(60, True), disc(12, True), disc(12, True), disc(2, True)]
    one_class, two_classes = (
        without_fragments([sample_of(*cells, labels=labels)])[0] for labels in (None, [1, 2, 2, 2])
    )
    assert (len(one_class.regions), one_class.fragments) == (1, 3)
    assert (len(two_classes.regions), two_classes.fragments) == (3, 1)
    assert two_classes.labels.tolist() == [1, 2, 2]


def test_a_slip_of_the_pen_in_the_grey_of_another_class_is_a_fragment():
    """It is alone of its class in its image, and 3 % of a cell of this class elsewhere."""
    slip = sample_of(disc(60, True), disc(2, True), labels=[1, 2])
    other = sample_of(disc(12, True), labels=[2])
    assert [sample.labels.tolist() for sample in without_fragments([slip, other])] == [[1], [2]]


def test_a_component_is_still_one_at_a_smaller_size_and_as_a_nucleus():
    component = disc(20, True)
    assert downscale(sample_of(component), (75, 100)).regions[0].is_component
    nucleus = region_of(disc(10, False).mask, 10, 10)
    annotated = Annotated(np.zeros((150, 200, 3), np.uint8), [Cell(component, "cell", nucleus)], [], [])
    sample = make_sample(annotated, ImageRecord(None), ("cell",), "nucleus")
    assert sample.regions[0].is_component
    assert sample.regions[0].box == nucleus.box


@pytest.mark.parametrize("is_component", [True, False])
def test_regions_that_vanish_at_a_smaller_size_are_counted(is_component):
    speck, cell = np.ones((1, 1), bool), np.ones((40, 40), bool)
    regions = [Region(0, 0, speck, is_component), Region(10, 10, cell), Region(0, 5, speck, is_component)]
    centre = Region(73, 100, speck)  # of one of the squares of 3 x 3 pixels that become one
    once = downscale(sample_of(*regions, centre, labels=[1, 2, 3, 4], size=(150, 210)), (50, 70))
    assert (once.vanished, once.labels.tolist()) == (2, [2, 4])
    twice = downscale(once, (25, 35))
    assert twice.vanished == 3
    assert (len(twice.regions), len(twice.boxes), twice.labels.tolist()) == (1, 1, [2])


@pytest.mark.parametrize("size", [(1001, 1333), (577, 2999), (301, 300)])
def test_the_size_of_the_file_is_kept(size):
    sample = sample_of(size=size)
    assert (sample.file_size, sample.scale) == (None, 1)
    reduced = within(within(sample, 211), 100)
    assert min(reduced.size) == 100
    assert reduced.file_size == size
    assert reduced.scale == reduced.size[0] / size[0]


def test_reduced_regions_keep_no_larger_array_in_memory():
    reduced = within(sample_of(disc(60, True), disc(50, False)), 50)
    assert [region.mask.base for region in reduced.regions] == [None, None]
    assert all(region.mask.nbytes == region.mask.size for region in reduced.regions)


def test_greys_are_in_conflict_only_with_a_class_that_the_data_have():
    cells = [Cell(disc(5, True), "cell", None, "eosinophil"), Cell(disc(5, True), "cell", None, "monocyte")]
    assert class_conflict(cells, ("cell",)) == ""
    assert class_conflict(cells, ("cell", "monocyte")).endswith("(monocyte)")
