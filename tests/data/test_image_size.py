import pytest
import torch

from data.dataset import SmearDataset
from data.image_size import median_cell_side, relative_box_sides, size_for_cells
from data.samples import Sample
from maskrcnn.config import LISC_CLASSES


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
