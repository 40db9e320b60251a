import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data.formats.lisc import GREY_CODES
from data.masks import class_conflict, label_instances, label_nuclei


def rectangles(*corners, size=(96, 120)) -> np.ndarray:
    """Corners x1, y1, x2, y2; x2 and y2 are past the end. Each rectangle has its own grey."""
    mask = np.zeros(size, np.uint8)
    for grey, (x1, y1, x2, y2) in enumerate(corners, start=8):
        mask[y1:y2, x1:x2] = grey
    return mask


def test_diagonal_neighbours_are_one_cell_and_a_gap_of_one_pixel_makes_two():
    assert label_instances(rectangles((0, 0, 10, 10), (10, 10, 20, 20))).max() == 1
    found = label_instances(rectangles((0, 0, 10, 10), (11, 0, 21, 10)))
    assert found.max() == 2
    assert (found[:10, :10] == 1).all()
    assert (found[:10, 11:21] == 2).all()


@pytest.mark.parametrize(
    ("width", "kept"),
    [
        # 100 x 100 pixels: 0.05 % is 5 pixels. The large one has 10 x 10: 5 % is 5 pixels as well.
        (4, False),
        (5, True),
    ],
)
def test_fragments_below_the_thresholds_are_dropped(width, kept):
    mask = rectangles((50, 50, 60, 60), (0, 0, width, 1), size=(100, 100))
    assert label_instances(mask).max() == 1 + kept
    # The large one is ten times larger, so the fragment is below the second threshold.
    mask = rectangles((50, 50, 100, 70), (0, 0, width, 1), size=(100, 100))
    assert label_instances(mask).max() == 1
    assert label_instances(mask, min_area=0, min_area_of_largest=0).max() == 2


def test_a_mask_with_nothing_but_fragments_or_nothing_has_no_cell():
    assert label_instances(rectangles((0, 0, 4, 1), size=(100, 100))).max() == 0
    assert label_instances(np.zeros((100, 100), np.uint8)).max() == 0


@given(arrays(np.uint8, (9, 12), elements=st.sampled_from([0, 0, 0, 75, 255])))
def test_cells_are_numbered_without_gaps_and_cover_the_mask(mask):
    cells = label_instances(mask, min_area=0, min_area_of_largest=0)
    assert np.array_equal(cells > 0, mask > 0)
    assert set(np.unique(cells)) | {0} == set(range(cells.max() + 1))
    first_pixels = [np.flatnonzero(cells == k)[0] for k in range(1, cells.max() + 1)]
    assert first_pixels == sorted(first_pixels)  # from top to bottom


def test_the_nucleus_is_above_the_middle_of_the_greys_and_not_on_it():
    cells = np.ones((1, 5), np.int32)
    assert label_nuclei(np.array([[100, 149, 150, 151, 200]], np.uint8), cells).tolist() == [[0, 0, 0, 1, 1]]
    assert label_nuclei(np.array([[100, 100, 100, 114, 114]], np.uint8), cells).max() == 0  # too little contrast
    assert label_nuclei(np.array([[100, 100, 100, 115, 115]], np.uint8), cells).tolist() == [[0, 0, 0, 1, 1]]


def test_greys_conflict_with_a_folder_only_if_they_are_both_codes_of_another_class():
    cells = np.zeros((10, 10), np.int32)
    cells[2:8, 2:8] = 1
    mask = np.zeros((10, 10), np.uint8)
    for name, (cytoplasm, nucleus) in GREY_CODES.items():
        mask[2:8, 2:8], mask[4:6, 4:6] = cytoplasm, nucleus
        assert class_conflict(name, mask, cells) == ""
        assert name in class_conflict("another", mask, cells)
    for plain in (255, 200, 150, 100):  # one grey, as most programs write masks
        mask[2:8, 2:8] = plain
        assert class_conflict("lymphocyte", mask, cells) == ""
