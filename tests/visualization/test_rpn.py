import pytest
import torch

from maskrcnn.boxes import iou
from maskrcnn.rpn import AnchorGenerator, Anchors, Proposals, RPNPrediction, RPNTargets
from maskrcnn.visualization.rpn import (
    anchor_grid,
    draw_anchors,
    draw_deltas,
    draw_objectness,
    draw_proposals,
    draw_rpn_targets,
    draw_suppression,
    suppressors,
)  # fmt: skip


@pytest.mark.parametrize(("level", "shape", "stride"), [(0, (4, 8, 2, 4), 8), (1, (1, 2, 2, 4), 32)])
def test_the_anchor_grid_of_a_level(anchors, level, shape, stride):
    grid = anchor_grid(anchors, level)
    assert grid.boxes.shape == shape
    assert grid.stride == stride
    centres = (grid.boxes[..., :2] + grid.boxes[..., 2:]) / 2
    for row, column in ((0, 0), (shape[0] - 1, shape[1] - 1)):
        assert centres[row, column].tolist() == [[stride * (column + 0.5), stride * (row + 0.5)]] * 2


def test_a_level_of_one_location_has_twice_the_stride_of_the_level_before():
    generator = AnchorGenerator([(8,), (16,)], (1.0,))
    anchors = generator([torch.empty(1, 1, 2, 1), torch.empty(1, 1, 1, 1)], (16, 8))
    assert [anchor_grid(anchors, level).stride for level in range(2)] == [8, 16]


def test_a_single_location_can_be_drawn(ax, drawn_boxes):
    anchors = Anchors(torch.tensor([[0.0, 0, 8, 8]]), (1,))
    assert anchor_grid(anchors, 0).stride == 8
    assert drawn_boxes(draw_anchors(ax, anchors, (0, 0))) == [[0, 0, 8, 8]]


def test_the_anchors_of_the_location_around_a_point(anchors, ax, drawn_boxes, legend):
    draw_anchors(ax, anchors, (20.5, 9.0), levels=[0])  # in column 2, row 1: centre (20, 12)
    assert drawn_boxes(ax) == [[16, 8, 24, 16], [18, 4, 22, 20]]  # the second is four times as high as it is wide
    assert legend(ax) == ["P2: 2 per location"]


def test_objectness_is_the_highest_of_a_locations_anchors(anchors, ax):
    logits = torch.full((1, 68), -9.0)
    logits[0, 2 * (8 * 3 + 5) + 1] = 0.0  # level 0, row 3, column 5, second shape
    heat = draw_objectness(ax, RPNPrediction(logits, torch.zeros(1, 68, 4)), anchors, 0).images[0]
    assert heat.get_array().shape == (4, 8)
    assert heat.get_array()[3, 5] == pytest.approx(0.5)
    assert heat.get_array().sum() < 0.51
    assert heat.get_extent() == [0, 64, 32, 0]


def test_deltas_are_arrows_from_the_anchor_to_its_decoded_box(anchors, ax, drawn_boxes):
    logits, deltas = torch.zeros(1, 68), torch.zeros(1, 68, 4)
    logits[0, 0] = 5.0
    deltas[0, 0] = torch.tensor([0.5, 0.25, 0.0, 0.0])  # of an anchor of 8 x 8 around (4, 4)
    draw_deltas(ax, RPNPrediction(logits, deltas), anchors, count=1)
    assert drawn_boxes(ax) == [[0, 0, 8, 8], [4, 2, 12, 10]]
    assert (ax.texts[0].xyann, ax.texts[0].xy) == ((4, 4), (8, 6))


def test_sampled_anchors_are_those_of_the_image(anchors, ax, drawn_boxes, legend):
    targets = RPNTargets(torch.tensor([0, 68]), torch.tensor([3, 4, 69, 70, 71]), torch.zeros(2, 4))
    draw_rpn_targets(ax, targets, anchors, image=1)
    assert drawn_boxes(ax) == [anchors.boxes[0].tolist()]
    assert legend(ax) == ["3 negative", "1 positive"]
    x, y = ax.lines[0].get_data()
    assert list(zip(x.tolist(), y.tolist(), strict=True)) == [(4, 4), (12, 4), (12, 4)]


def test_only_the_best_proposals_are_drawn_the_best_on_top(ax, drawn_boxes, legend):
    boxes = torch.tensor([[0.0, 0, 4, 4], [1, 1, 5, 5], [2, 2, 6, 6]])
    draw_proposals(ax, Proposals([boxes], [torch.tensor([0.9, 0.5, 0.1])]), count=2)
    assert drawn_boxes(ax) == [[1, 1, 5, 5], [0, 0, 4, 4]]
    assert ax.get_title() == "2 proposals"
    assert legend(ax) == ["objectness 0.90", "objectness 0.50"]


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_each_box_is_suppressed_by_the_best_kept_box(threshold):
    generator = torch.Generator().manual_seed(1)
    corner, size = torch.rand(60, 2, generator=generator) * 40, torch.rand(60, 2, generator=generator) * 30 + 5
    boxes, scores = torch.cat([corner, corner + size], dim=1), torch.rand(60, generator=generator)
    by = [-1] * 60
    for i in scores.argsort(descending=True).tolist():  # the loop that defines NMS
        if by[i] < 0:
            by[i] = i
            for j in range(60):
                if by[j] < 0 and iou(boxes[i : i + 1], boxes[j : j + 1]).item() > threshold:
                    by[j] = i
    assert suppressors(boxes, scores, threshold).tolist() == by


def test_suppression_shows_the_kept_boxes_and_how_many_each_removes(ax, drawn_boxes):
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 1, 10, 11]])
    draw_suppression(ax, boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), 0.5)
    assert [text.get_text() for text in ax.texts] == ["0.90, removes 2", "0.70"]
    assert ax.get_title() == "NMS at 0.5: 2 of 4 kept"
    assert drawn_boxes(ax) == [[1, 0, 11, 10], [0, 1, 10, 11]]
