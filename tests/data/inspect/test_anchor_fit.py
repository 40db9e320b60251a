import pytest
import torch

from data.dataset import SmearDataset
from data.inspect.anchor_fit import anchor_fit, best_anchor_ious
from data.samples import Sample
from maskrcnn import Config, MaskRCNN
from maskrcnn.config import LISC_CLASSES


@pytest.fixture(scope="module")
def model() -> MaskRCNN:
    return MaskRCNN(Config.small(min_size=128, max_size=256))


def make_sample(height: int, width: int, *boxes: list[float]) -> Sample:
    empty = torch.zeros(height, width, 3, dtype=torch.uint8)
    return Sample(empty, [], torch.tensor(boxes), torch.ones(len(boxes), dtype=torch.int64))


def dataset(*samples: Sample) -> SmearDataset:
    return SmearDataset([None] * len(samples), list(samples), LISC_CLASSES)


def test_a_cell_with_the_position_and_shape_of_an_anchor_has_an_iou_of_1(model):
    # The image is halved; the P2 anchor of side 16 at location (4, 3) is centred on (18, 14), so its corner is (10, 6).
    square = [20.0, 12.0, 52.0, 44.0]
    half_as_wide = [28.0, 12.0, 44.0, 44.0]
    best = best_anchor_ious(model, dataset(make_sample(256, 256, square), make_sample(256, 256, half_as_wide)))
    assert best[0] == pytest.approx(1.0)
    # 8 x 16 pixels: the anchor of ratio 2 and the same centre is 11.3 x 22.6.
    assert best[1] == pytest.approx(8 * 16 / (16 * 16), abs=1e-6)


def test_cells_far_from_all_anchors_have_a_low_iou(model):
    tiny, huge = [100.0, 100, 104, 104], [0.0, 0, 128, 128]
    best = best_anchor_ious(model, dataset(make_sample(128, 128, tiny, huge)))
    assert best[0] == pytest.approx(4 * 4 / (16 * 16), abs=1e-6)
    # The anchor of 128 pixels has stride 32, so its centre is at 48 or 80, 16 pixels from the cell's in x and y.
    assert best[1] == pytest.approx(112**2 / (2 * 128**2 - 112**2), abs=1e-6)


def test_the_figure_counts_the_cells_that_have_a_positive_anchor(model):
    square = [20.0, 12.0, 52.0, 44.0]
    images = dataset(make_sample(256, 256, square, [0.0, 0, 6, 8]), make_sample(128, 128, [10.0, 6, 26, 22]))
    shapes, overlaps = anchor_fit(model, images).axes
    assert [text.get_text() for text in overlaps.get_legend().get_texts()] == ["positive: 67% of the cells"]
    assert "3 cells" in [text.get_text() for text in shapes.get_legend().get_texts()]
    # Width and height in pixels of the resized images: the first one is halved, the second one is not.
    torch.testing.assert_close(
        torch.as_tensor(shapes.collections[0].get_offsets().data).float(),
        torch.tensor([[16.0, 16.0], [3.0, 4.0], [16.0, 16.0]]),
    )
