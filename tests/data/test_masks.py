import numpy as np
import pytest

from data.lisc import GREY_CODES
from data.masks import contradiction, instances


def rectangles(*corners, size=(96, 120)) -> np.ndarray:
    """Corners x1, y1, x2, y2; x2 and y2 are past the end. Their greys tell them apart."""
    mask = np.zeros(size, np.uint8)
    for grey, (x1, y1, x2, y2) in enumerate(corners, start=8):
        mask[y1:y2, x1:x2] = grey
    return mask


def test_diagonal_neighbours_are_one_cell_and_a_gap_of_one_pixel_makes_two():
    assert instances(rectangles((0, 0, 10, 10), (10, 10, 20, 20))).max() == 1
    found = instances(rectangles((0, 0, 10, 10), (11, 0, 21, 10)))
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
    assert instances(mask).max() == 1 + kept
    # Ten times the large one, and the fragment falls to the second threshold.
    mask = rectangles((50, 50, 100, 70), (0, 0, width, 1), size=(100, 100))
    assert instances(mask).max() == 1
    assert instances(mask, min_area=0, min_area_of_largest=0).max() == 2


def test_a_mask_with_nothing_but_fragments_or_nothing_has_no_cell():
    assert instances(rectangles((0, 0, 4, 1), size=(100, 100))).max() == 0
    assert instances(np.zeros((100, 100), np.uint8)).max() == 0


def test_greys_contradict_a_folder_only_where_both_codes_of_another_class_are_there():
    cells = np.zeros((10, 10), np.int32)
    cells[2:8, 2:8] = 1
    mask = np.zeros((10, 10), np.uint8)
    for name, (cytoplasm, nucleus) in GREY_CODES.items():
        mask[2:8, 2:8], mask[4:6, 4:6] = cytoplasm, nucleus
        assert contradiction(name, mask, cells) == ""
        assert name in contradiction("another", mask, cells)
    for plain in (255, 200, 150, 100):  # of one grey all over, as most programs write masks
        mask[2:8, 2:8] = plain
        assert contradiction("lymphocyte", mask, cells) == ""
