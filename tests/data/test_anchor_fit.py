import pytest
import torch

from data.anchor_fit import anchor_fit, best_overlaps
from data.dataset import Sample, SmearDataset
from data.lisc import CLASSES
from maskrcnn import Config, MaskRCNN


@pytest.fixture(scope="module")
def model() -> MaskRCNN:
    return MaskRCNN(Config.lisc(min_size=128, max_size=256))


def field(height: int, width: int, *boxes: list[float]) -> Sample:
    empty = torch.zeros(height, width, 3, dtype=torch.uint8)
    return Sample(empty, empty[..., 0], torch.tensor(boxes), torch.ones(len(boxes), dtype=torch.int64), 0)


def dataset(*samples: Sample) -> SmearDataset:
    return SmearDataset.of([None] * len(samples), samples, CLASSES)


def test_a_cell_with_an_anchors_place_and_shape_overlaps_it_wholly(model):
    # The image is halved; the P2 anchor of side 16 in cell (4, 3) has its centre at (18, 14), so its corner at (10, 6).
    whole = [20.0, 12.0, 52.0, 44.0]
    half_as_wide = [28.0, 12.0, 44.0, 44.0]
    best = best_overlaps(model, dataset(field(256, 256, whole), field(256, 256, half_as_wide)))
    assert best[0] == pytest.approx(1.0)
    # 8 x 16 pixels: the anchor of ratio 2 and the same centre is 11.3 x 22.6.
    assert best[1] == pytest.approx(8 * 16 / (16 * 16), abs=1e-6)


def test_cells_far_from_all_anchors_are_seen_to_be(model):
    tiny, huge = [100.0, 100, 104, 104], [0.0, 0, 128, 128]
    best = best_overlaps(model, dataset(field(128, 128, tiny, huge)))
    assert best[0] == pytest.approx(4 * 4 / (16 * 16), abs=1e-6)
    # The anchor of 128 pixels stands on stride 32, so with its centre at 48 or 80, 16 pixels from the cell's in x and y.
    assert best[1] == pytest.approx(112**2 / (2 * 128**2 - 112**2), abs=1e-6)


def test_the_picture_counts_the_cells_that_have_a_positive_anchor(model):
    figure = anchor_fit(model, dataset(field(256, 256, [20.0, 12.0, 52.0, 44.0]), field(256, 256, [0.0, 0, 6, 6])))
    shapes, overlaps = figure.axes
    assert [text.get_text() for text in overlaps.get_legend().get_texts()] == ["positive: 50% of the cells"]
    assert "2 cells" in [text.get_text() for text in shapes.get_legend().get_texts()]
    # Cells in pixels of the halved image.
    torch.testing.assert_close(
        torch.as_tensor(shapes.collections[0].get_offsets().data).float(), torch.tensor([[16.0, 16.0], [3.0, 3.0]])
    )
