import pytest
import torch
from matplotlib.figure import Figure

from maskrcnn.roi import RoIs, roi_align
from maskrcnn.visualization.roi import draw_roi_bins, draw_roi_levels, draw_rois, sampling_points, sampling_weights

NAMES = ("round", "square")


def test_rois_are_told_apart_by_class_and_by_level(ax, drawn_boxes, legend):
    boxes = torch.tensor([[0.0, 0, 4, 4], [1, 1, 5, 5], [2, 2, 6, 6]])
    draw_rois(ax, RoIs([boxes], [torch.tensor([2, 0, 2])], [torch.zeros(3).long()]), NAMES)
    assert legend(ax) == ["1 background", "2 square"]
    other = draw_roi_levels(Figure().subplots(), boxes, torch.tensor([1, 0, 1]))
    assert legend(other) == ["1 from P2", "2 from P3"]
    assert drawn_boxes(other) == [[1, 1, 5, 5], [0, 0, 4, 4], [2, 2, 6, 6]]


@pytest.mark.parametrize(("aligned", "shift"), [(True, 0.0), (False, 0.5)])
def test_sampling_points_lie_in_the_middle_of_equal_parts_of_the_box(aligned, shift):
    points = sampling_points(torch.tensor([2.0, 1.0, 6.0, 4.0]), (8, 9), bins=2, samples=2, aligned=aligned)
    assert points[0, :, 0].tolist() == pytest.approx([2.5 + shift, 3.5 + shift, 4.5 + shift, 5.5 + shift])
    assert points[:, 0, 1].tolist() == pytest.approx([1 + 0.75 * (k + 0.5) + shift for k in range(4)])


def test_sampling_weights_are_bilinear_and_reproduce_roi_align():
    box = torch.tensor([1.3, 1.2, 6.4, 5.9])
    weights = sampling_weights(box, (8, 8), 6, 1, (2, 3))  # the point (4.275, 3.1583), worked by hand
    expected = torch.zeros(8, 8)
    expected[2, 3], expected[2, 4] = 0.341667 * 0.225, 0.341667 * 0.775
    expected[3, 3], expected[3, 4] = 0.658333 * 0.225, 0.658333 * 0.775
    assert torch.allclose(weights, expected, atol=1e-5)
    feature = torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
    bins = roi_align(feature[None, None], [box[None]], 3, 1.0, 2, True)[0, 0]
    assert (sampling_weights(box, (8, 8), 3, 2, (1, 2)) * feature).sum() == pytest.approx(bins[1, 2].item())


def test_a_roi_shows_its_bins_its_points_and_the_weights_of_one_point(ax):
    draw_roi_bins(ax, torch.tensor([1.3, 1.2, 6.4, 5.9]), (8, 8), bins=3, point=(2, 3))
    assert sorted(text.get_text() for text in ax.texts) == ["0.08", "0.15", "0.26", "0.51"]
    assert sorted((patch.get_x(), patch.get_y()) for patch in ax.patches) == [(3, 2), (3, 3), (4, 2), (4, 3)]
    points = [line for line in ax.lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in points] == [36, 1]
    assert len(ax.lines) - len(points) == 2 * 4  # the edges of three bins along each axis
