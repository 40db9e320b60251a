"""Polygons of masks, against shapely, scikit-image and the reader of annotations."""

import numpy as np
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.measure import grid_points_in_poly

from data.records import Shape
from data.shapes import rasterize
from maskrcnn.inference.outlines import polygons
from maskrcnn.regions import region_of

SIDES = st.integers(1, 9)
MASKS = st.one_of(
    arrays(np.bool_, st.tuples(SIDES, SIDES)),
    st.integers(0, 99).map(lambda seed: np.random.default_rng(seed).random((30, 25)) < (seed + 1) / 101),
)
RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool)  # its hole touches the outside at a corner
PINCHED = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]], bool)  # a hole that reaches the outside at two corners
DIAGONAL = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1]], bool)


@given(MASKS)
@example(RING)
@example(PINCHED)
@example(DIAGONAL)
@example(np.pad(~RING, 2))
def test_filled_the_polygons_are_the_very_mask(mask):
    region = region_of(np.pad(mask, ((3, 1), (2, 4))))
    if region is None:
        return
    rings = tuple(tuple(ring.astype(float) for ring in part.rings) for part in polygons(region))
    again = rasterize(Shape("", rings, None, ""), (mask.shape[0] + 4, mask.shape[1] + 6))
    assert (again.top, again.left) == (region.top, region.left)
    assert np.array_equal(again.mask, region.mask)


@given(MASKS)
@example(RING)
@example(PINCHED)
@example(DIAGONAL)
def test_every_part_is_a_valid_polygon_with_the_area_of_its_pixels(mask):
    region = region_of(mask)
    if region is None:
        return
    parts = [shapely.Polygon(part.outer, part.holes) for part in polygons(region)]
    assert all(part.is_valid for part in parts)
    assert shapely.MultiPolygon(parts).is_valid
    labelled, count = ndimage.label(region.mask)
    assert [part.area for part in parts] == ndimage.sum_labels(region.mask, labelled, range(1, count + 1)).tolist()


def test_a_ring_has_corners_only_and_the_hole_runs_the_other_way():
    mask = np.ones((4, 5), bool)
    mask[1:3, 1:3] = False
    (part,) = polygons(region_of(mask, top=10, left=20))
    assert part.outer.tolist() == [[20, 10], [25, 10], [25, 14], [20, 14]]
    (hole,) = part.holes
    assert sorted(hole.tolist()) == [[21, 11], [21, 13], [23, 11], [23, 13]]
    assert shapely.LinearRing(part.outer).is_ccw != shapely.LinearRing(hole).is_ccw


def test_scikit_image_finds_the_pixels_of_a_disc_in_its_polygon():
    rows, columns = np.mgrid[:40, :50]
    disc = (rows - 20) ** 2 + (columns - 22) ** 2 < 15**2
    (part,) = polygons(region_of(disc))
    centres = grid_points_in_poly((40, 50), part.outer[:, ::-1] - 0.5)
    assert np.array_equal(centres, disc)


@pytest.mark.parametrize("side", [1, 2])
def test_the_smallest_masks_are_squares(side):
    (part,) = polygons(region_of(np.ones((side, side), bool)))
    assert len(part.outer) == 4
    assert part.holes == []
