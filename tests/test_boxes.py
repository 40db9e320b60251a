import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_area, box_iou, clip_boxes_to_image, remove_small_boxes
from torchvision.ops._utils import convert_boxes_to_roi_format

from maskrcnn import boxes as box_algebra

WEIGHTS = [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)]


def random_boxes(count, seed=0, extent=100.0):
    """Boxes with area, some of them partly at negative coordinates."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 1.2 * extent - 0.2 * extent
    size = torch.rand(count, 2, generator=generator) * 0.5 * extent + 1
    return torch.cat([corner, corner + size], dim=1)


def boxes_with_area(min_count=0, max_count=8):
    """A strategy: boxes [N, 4] of 0.5 to 500 px a side, anywhere within 500 px of the origin."""
    box = st.tuples(*[st.floats(-500, 500, width=32)] * 2, *[st.floats(0.5, 500, width=32)] * 2)
    boxes = st.lists(box, min_size=min_count, max_size=max_count)
    return boxes.map(lambda values: torch.tensor([[x, y, x + w, y + h] for x, y, w, h in values]).reshape(-1, 4))


def test_a_box_over_pixels_3_to_5_is_three_pixels_wide():
    # Pixels 3, 4, 5 are [3, 6) and pixels 1, 2 are [1, 3): 3 x 2, and no "+ 1" anywhere.
    assert box_algebra.area(torch.tensor([[3.0, 1.0, 6.0, 3.0]])).tolist() == [6.0]


def test_area_agrees_with_torchvision():
    boxes = random_boxes(50)
    torch.testing.assert_close(box_algebra.area(boxes), box_area(boxes))


def test_iou_by_hand():
    a = torch.tensor([[0.0, 0.0, 4.0, 2.0]])
    # The first overlaps on 2 x 1 of areas 8 and 8: 2 / 14. The second is `a`. The third touches it, the fourth is far off.
    b = torch.tensor([[2.0, 1.0, 6.0, 3.0], [0.0, 0.0, 4.0, 2.0], [4.0, 0.0, 6.0, 2.0], [9.0, 9.0, 10.0, 10.0]])
    torch.testing.assert_close(box_algebra.iou(a, b), torch.tensor([[1 / 7, 1.0, 0.0, 0.0]]))


def test_iou_agrees_with_torchvision():
    a, b = random_boxes(40, seed=1), random_boxes(60, seed=2)
    expected = box_iou(a, b)
    assert 0.1 < (expected > 0).float().mean() < 0.9
    torch.testing.assert_close(box_algebra.iou(a, b), expected)


def test_an_empty_box_overlaps_nothing_not_even_itself():
    empty, full = torch.tensor([[3.0, 3.0, 3.0, 3.0]]), torch.tensor([[0.0, 0.0, 9.0, 9.0]])
    assert box_algebra.iou(empty, torch.cat([empty, full])).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(("n", "m"), [(0, 3), (3, 0), (0, 0)])
def test_iou_of_no_boxes_has_the_shape_of_all_pairs(n, m):
    assert box_algebra.iou(random_boxes(n), random_boxes(m)).shape == (n, m)


def test_an_expanded_box_keeps_its_centre_and_gains_the_fraction_on_every_side():
    box = torch.tensor([[10.0, 20, 30, 60]])
    torch.testing.assert_close(box_algebra.expand(box, 0.1), torch.tensor([[8.0, 16, 32, 64]]))
    assert torch.equal(box_algebra.expand(box, 0), box)


def test_encode_by_hand():
    reference = torch.tensor([[0.0, 0.0, 10.0, 20.0]])  # centre (5, 10), size (10, 20)
    box = torch.tensor([[5.0, 5.0, 25.0, 15.0]])  # centre (15, 10), size (20, 10)
    # dx = (15 - 5) / 10, dy = 0 / 20, dw = log(20 / 10), dh = log(10 / 20).
    expected = torch.tensor([[1.0, 0.0, math.log(2), -math.log(2)]])
    torch.testing.assert_close(box_algebra.encode(box, reference), expected)
    weighted = box_algebra.encode(box, reference, (10, 10, 5, 5))
    torch.testing.assert_close(weighted, expected * torch.tensor([10.0, 10.0, 5.0, 5.0]))


@pytest.mark.parametrize("weights", WEIGHTS)
def test_encode_agrees_with_torchvision(weights):
    boxes, reference = random_boxes(50, seed=1), random_boxes(50, seed=2)
    expected = BoxCoder(weights).encode_single(boxes, reference)
    torch.testing.assert_close(box_algebra.encode(boxes, reference, weights), expected)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_decode_agrees_with_torchvision(weights):
    reference = random_boxes(50, seed=1)
    deltas = torch.randn(50, 3, 4, generator=torch.Generator().manual_seed(2)) * 3  # some beyond the clamp
    assert (deltas[..., 2:] / weights[2] > box_algebra.MAX_LOG_SCALE).any() == (weights[2] == 1)
    expected = BoxCoder(weights).decode(deltas.flatten(1), [reference])  # [50, 3, 4]
    torch.testing.assert_close(box_algebra.decode(deltas, reference, weights), expected)
    torch.testing.assert_close(box_algebra.decode(deltas[:, 1], reference, weights), expected[:, 1])


@pytest.mark.parametrize("weights", WEIGHTS)
def test_decode_is_the_inverse_of_encode(weights):
    boxes, reference = random_boxes(100, seed=3), random_boxes(100, seed=4)
    deltas = box_algebra.encode(boxes, reference, weights)
    torch.testing.assert_close(box_algebra.decode(deltas, reference, weights), boxes, atol=1e-3, rtol=0)


def test_deltas_of_zero_leave_the_box_where_it_is():
    boxes = random_boxes(20)
    torch.testing.assert_close(box_algebra.decode(torch.zeros(20, 4), boxes), boxes)


def test_growth_is_clamped_so_that_exp_cannot_overflow():
    reference = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    box = box_algebra.decode(torch.tensor([[0.0, 0.0, 1e4, 1e4]]), reference)
    # 1000 / 16 times the side of 16 is 1000, around the centre (8, 8).
    torch.testing.assert_close(box, torch.tensor([[-492.0, -492.0, 508.0, 508.0]]))
    # Growth below the clamp, 62 times, is not touched.
    box = box_algebra.decode(torch.tensor([[0.0, 0.0, math.log(62), math.log(62)]]), reference)
    torch.testing.assert_close(box[:, 2:] - box[:, :2], torch.full((1, 2), 62.0 * 16), rtol=1e-5, atol=0)


def test_clip_cuts_x_at_the_width_and_y_at_the_height():
    boxes = torch.tensor([[-3.0, -4.0, 25.0, 26.0], [1.5, 2.5, 3.5, 4.5], [30.0, 30.0, 40.0, 40.0]])
    expected = torch.tensor([[0.0, 0.0, 20.0, 10.0], [1.5, 2.5, 3.5, 4.5], [20.0, 10.0, 20.0, 10.0]])
    assert box_algebra.clip_to_image(boxes, (10, 20)).equal(expected)


def test_clip_agrees_with_torchvision_for_boxes_of_any_rank():
    boxes = random_boxes(60).reshape(20, 3, 4)
    assert box_algebra.clip_to_image(boxes, (70, 50)).equal(clip_boxes_to_image(boxes, (70, 50)))


def test_a_box_is_large_enough_when_both_sides_reach_the_minimum():
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.9, 5.0], [0.0, 0.0, 5.0, 1.9], [5.0, 5.0, 4.0, 9.0]])
    assert box_algebra.large_enough(boxes, 2.0).tolist() == [True, False, False, False]
    boxes = random_boxes(50)
    assert torch.where(box_algebra.large_enough(boxes, 20.0))[0].equal(remove_small_boxes(boxes, 20.0))


def test_the_batch_index_stands_before_each_box():
    boxes = [random_boxes(2, seed=1), random_boxes(0), random_boxes(3, seed=2)]
    rois = box_algebra.with_batch_index(boxes)
    assert rois[:, 0].tolist() == [0, 0, 2, 2, 2]
    assert rois.equal(convert_boxes_to_roi_format(boxes))


def test_no_operation_changes_its_inputs():
    boxes, reference = random_boxes(5, seed=1), random_boxes(5, seed=2)
    before = boxes.clone(), reference.clone()
    box_algebra.iou(boxes, reference)
    box_algebra.decode(box_algebra.encode(boxes, reference, WEIGHTS[1]), reference, WEIGHTS[1])
    box_algebra.decode(boxes, reference)
    box_algebra.clip_to_image(boxes, (10, 10))
    assert boxes.equal(before[0])
    assert reference.equal(before[1])


@given(boxes_with_area(), boxes_with_area())
def test_iou_is_symmetric_and_between_0_and_1(a, b):
    overlap = box_algebra.iou(a, b)
    assert torch.equal(overlap, box_algebra.iou(b, a).t())
    assert ((overlap >= 0) & (overlap <= 1 + 1e-5)).all()
    torch.testing.assert_close(box_algebra.iou(a, a).diagonal(), torch.ones(len(a)), atol=1e-5, rtol=0)


@given(boxes_with_area(1, 1), boxes_with_area(1, 1), st.sampled_from([(1, 1, 1, 1), (10, 10, 5, 5), (3, 4, 5, 6)]))
def test_decode_takes_any_box_back_from_its_deltas(box, reference, weights):
    size, reference_size = box[:, 2:] - box[:, :2], reference[:, 2:] - reference[:, :2]
    deltas = box_algebra.encode(box, reference, weights)
    decoded = box_algebra.decode(deltas, reference, weights)
    if (size / reference_size < 1000 / 16).all():  # beyond it growth is clamped
        torch.testing.assert_close(decoded, box, atol=2e-3, rtol=1e-4)
    else:
        assert ((decoded[:, 2:] - decoded[:, :2]) <= reference_size * 1000 / 16 * 1.001).all()


@given(boxes_with_area(), st.integers(1, 500))
def test_flips_and_transpositions_are_their_own_inverses_and_keep_the_area(boxes, width):
    flipped, transposed = box_algebra.flip_horizontally(boxes, width), box_algebra.transpose(boxes)
    torch.testing.assert_close(box_algebra.flip_horizontally(flipped, width), boxes, atol=1e-3, rtol=0)
    assert torch.equal(box_algebra.transpose(transposed), boxes)
    for changed in (flipped, transposed):
        torch.testing.assert_close(box_algebra.area(changed), box_algebra.area(boxes), atol=0.2, rtol=1e-3)


masks_with_pixels = st.lists(st.lists(st.booleans(), min_size=42, max_size=42).filter(any), max_size=4).map(
    lambda rows: torch.tensor(rows, dtype=torch.bool).reshape(-1, 6, 7)
)


@given(masks_with_pixels)
def test_the_box_of_a_mask_is_that_of_its_pixels(masks):
    expected = []
    for mask in masks.numpy():
        y, x = np.nonzero(mask)
        expected.append([x.min(), y.min(), x.max() + 1, y.max() + 1])  # pixel i ends at i + 1
    for dtype in (torch.bool, torch.uint8, torch.float32):
        boxes = box_algebra.masks_to_boxes(masks.to(dtype))
        assert boxes.dtype == torch.float32
        assert boxes.tolist() == [[float(value) for value in box] for box in expected]


@given(masks_with_pixels)
def test_the_box_of_a_flipped_or_transposed_mask_is_the_flipped_or_transposed_box(masks):
    boxes = box_algebra.masks_to_boxes(masks)
    assert torch.equal(box_algebra.masks_to_boxes(masks.flip(2)), box_algebra.flip_horizontally(boxes, masks.shape[2]))
    assert torch.equal(box_algebra.masks_to_boxes(masks.transpose(1, 2)), box_algebra.transpose(boxes))
