"""IoU of detections and objects, by hand and against a count of pixels."""

import numpy as np
import pytest
import torch

from maskrcnn.evaluation.instances import regions_of_masks
from maskrcnn.evaluation.iou import box_areas, box_iou, mask_iou, region_areas, region_intersections, region_iou
from maskrcnn.regions import Region

NO_CROWD = np.zeros(2, bool)


def test_boxes_by_hand():
    detections = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 40]])
    objects = torch.tensor([[5.0, 0, 15, 10], [20, 20, 30, 30]])
    assert box_iou(detections, objects, NO_CROWD).tolist() == [[50 / 150, 0], [0, 0.5]]
    assert box_areas(detections).tolist() == [100, 200]


def test_a_crowd_counts_the_part_of_the_detection_inside_it():
    detections = torch.tensor([[0.0, 0, 10, 10], [90, 90, 110, 110]])
    objects = torch.tensor([[0.0, 0, 100, 100], [0, 0, 100, 100]])
    expected = [[1, 0.01], [0.25, 100 / (10_000 + 400 - 100)]]
    assert box_iou(detections, objects, np.array([True, False])) == pytest.approx(np.array(expected))


def test_box_iou_is_in_double_precision():
    """In float32 the area of the union would be rounded to a multiple of 64."""
    detections, objects = torch.tensor([[0.0, 0, 30001, 30001]]), torch.tensor([[0.0, 0, 30001, 30000]])
    assert box_iou(detections, objects, NO_CROWD[:1])[0, 0] == 30000 / 30001


def test_empty_boxes_and_masks_overlap_nothing():
    empty = torch.tensor([[5.0, 5, 5, 5]])
    assert box_iou(empty, empty, NO_CROWD[:1]).tolist() == [[0]]
    assert mask_iou(torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4)).tolist() == [[0]]
    assert mask_iou(torch.zeros(0, 1, 4, 4), torch.ones(2, 4, 4)).shape == (0, 2)
    assert mask_iou(torch.ones(2, 1, 4, 4), torch.zeros(0, 4, 4)).shape == (2, 0)


@pytest.mark.parametrize("crowd", [None, np.array([True, False, True, False])])
def test_masks_against_a_count_of_pixels(crowd):
    """Random pixels, and objects that reach the borders."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(3, 1, 9, 12, generator=generator)
    gt_masks = (torch.rand(4, 9, 12, generator=generator) > 0.7).to(torch.uint8)
    gt_masks[0, :, :6] = gt_masks[1, 4:] = 0
    iou = mask_iou(masks, gt_masks, crowd)
    for d, mask in enumerate(masks[:, 0].tolist()):
        for i, gt in enumerate(gt_masks.tolist()):
            pairs = [(p > 0.5, t > 0) for row, gt_row in zip(mask, gt) for p, t in zip(row, gt_row)]
            both, either = sum(p and t for p, t in pairs), sum(p or t for p, t in pairs)
            whole = sum(p for p, _ in pairs) if crowd is not None and crowd[i] else either
            assert iou[d, i] == both / whole
            assert region_intersections(regions_of_masks(masks[:, 0], 0.5), regions_of_masks(gt_masks, 0))[d, i] == both
    assert region_areas(regions_of_masks(masks[:, 0], 0.5)).tolist() == (masks > 0.5).sum(dim=(1, 2, 3)).tolist()


def test_regions_overlap_wherever_they_are_in_a_large_image():
    """A square of 10 x 10 at (90000, 90000), and another moved by 5 to the right."""
    square = np.ones((10, 10), bool)
    regions = [Region(90_000, 90_000, square), None]
    assert region_iou(regions, [Region(90_000, 90_005, square), Region(0, 0, square), None]).tolist() == [
        [50 / 150, 0, 0],
        [0, 0, 0],
    ]
