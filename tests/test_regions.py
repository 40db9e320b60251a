"""Masks cut to their boxes, against the whole masks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from maskrcnn.inference.export import rle_encode
from maskrcnn.regions import (
    Region,
    downscale_region,
    paste_regions,
    region_of,
    regions_of_label_map,
    union,
)

BITS = arrays(np.bool_, (6, 9))


def test_a_region_is_a_mask_cut_to_its_box():
    mask = np.zeros((10, 20), bool)
    mask[3:5, 7:12] = True
    mask[4, 7] = False
    region = region_of(mask, top=100, left=200)
    assert (region.top, region.left) == (103, 207)
    assert region.mask.tolist() == [[True] * 5, [False] + [True] * 4]
    assert region.box == (207, 103, 212, 105)
    mask[:] = False
    assert region.mask.any()  # a copy
    assert region_of(mask) is None


@given(BITS)
def test_cut_and_pasted_a_mask_is_itself(mask):
    region = region_of(mask)
    regions = [region] if region else []
    assert np.array_equal(union(regions, mask.shape), mask)
    if region:
        pasted = paste_regions(regions, mask.shape)
        assert pasted.dtype == np.uint8
        assert np.array_equal(pasted[0], mask)
        assert all(edge.any() for edge in (region.mask[0], region.mask[-1], region.mask[:, 0], region.mask[:, -1]))


@given(arrays(np.int64, (6, 9), elements=st.integers(0, 4)))
def test_regions_of_a_label_map_are_those_of_each_number(labels):
    regions = regions_of_label_map(labels)
    present = [k for k in range(1, 5) if (labels == k).any()]
    assert len(regions) == len(present)
    for k, pasted in zip(present, paste_regions(regions, labels.shape)):
        assert np.array_equal(pasted, labels == k)


@given(BITS, BITS)
def test_regions_may_overlap(first, second):
    regions = [region for mask in (first, second) if (region := region_of(mask))]
    assert np.array_equal(union(regions, (6, 9)), first | second)


@given(st.one_of(BITS, arrays(np.bool_, (6, 3), fill=st.just(True))), st.integers(0, 1), st.integers(0, 2))
def test_run_lengths_are_those_of_the_whole_mask(mask, below, beside):
    """Also of runs that go on from the last row of one column to the first of the next."""
    whole = np.pad(mask, ((0, below), (beside, 0)))
    region = region_of(whole)
    if region is None:
        return
    compressed = rle_encode(region, whole.shape)["counts"]
    assert compressed == rle_encode(Region(0, 0, whole), whole.shape)["counts"]
    assert compressed == coco_mask.encode(np.asfortranarray(whole, np.uint8))["counts"].decode()


@given(BITS, st.sets(st.integers(0, 5), min_size=1), st.sets(st.integers(0, 8), min_size=1))
def test_a_reduced_region_is_that_of_the_reduced_mask(mask, rows, columns):
    kept_rows, kept_columns = np.array(sorted(rows)), np.array(sorted(columns))
    region = region_of(mask)
    if region is None:
        return
    reduced = downscale_region(region, kept_rows, kept_columns)
    expected = mask[kept_rows][:, kept_columns]
    assert (reduced is None) == (not expected.any())
    if reduced:
        assert isinstance(reduced, Region)
        assert np.array_equal(paste_regions([reduced], expected.shape)[0], expected)
