import math

import pytest
import torch

from maskrcnn.heads import boxes_around, mask_targets, paste_masks, paste_patches

SIZE = (150, 170)


def ellipses(x, y, width, height, size=SIZE):
    """Half-axes width and height, [N] each. A pixel belongs to an ellipse if its centre does. Bool [N, H, W]."""
    rows, columns = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    x, y, width, height = (value[:, None, None] for value in (x, y, width, height))
    return ((columns - x) / width) ** 2 + ((rows - y) / height) ** 2 <= 1


def centres(masks):
    """Of mass, (x, y) of each mask: [N, 2]."""
    x = (masks.sum(1) * (torch.arange(masks.shape[2]) + 0.5)).sum(1) / masks.sum((1, 2))
    y = (masks.sum(2) * (torch.arange(masks.shape[1]) + 0.5)).sum(1) / masks.sum((1, 2))
    return torch.stack([x, y], dim=1)


def crop_and_paste(radius, stretch, padding, aligned):
    """Forty ellipses in boxes with fractional corners, cropped by RoIAlign to 28 x 28 and pasted back."""
    fractions = torch.rand(6, 40, generator=torch.Generator().manual_seed(radius))
    x, y = 84 + 2 * fractions[0], 74 + 2 * fractions[1]
    width, height = torch.full((40,), radius * stretch), torch.full((40,), radius / stretch)
    masks = ellipses(x, y, width, height)
    left, top, right, bottom = padding * fractions[2:]
    boxes = torch.stack([x - width - left, y - height - top, x + width + right, y + height + bottom], dim=1)
    cropped = mask_targets([boxes], [torch.arange(40)], [masks], 28, aligned).masks
    return masks, paste_masks(cropped, boxes, SIZE) > 0.5


def pasted_by_loop(mask, box, size):
    """What paste_masks promises, pixel by pixel: the mask at the pixel's centre, bilinearly, 0 outside the box."""
    x1, y1, x2, y2 = box
    mask_pixels = len(mask)
    result = torch.zeros(size)
    for row in range(size[0]):
        for column in range(size[1]):
            x, y = column + 0.5, row + 0.5
            if not (x1 < x < x2 and y1 < y < y2):
                continue
            u = min(max((x - x1) / (x2 - x1) * mask_pixels - 0.5, 0), mask_pixels - 1)
            v = min(max((y - y1) / (y2 - y1) * mask_pixels - 0.5, 0), mask_pixels - 1)
            left, top = min(int(u), mask_pixels - 2), min(int(v), mask_pixels - 2)
            right, bottom = u - left, v - top
            result[row, column] = (1 - bottom) * (
                (1 - right) * mask[top][left] + right * mask[top][left + 1]
            ) + bottom * ((1 - right) * mask[top + 1][left] + right * mask[top + 1][left + 1])
    return result


@pytest.mark.parametrize(
    "box",
    [
        (2.0, 3.0, 12.0, 9.0),
        (2.3, 3.7, 12.9, 9.1),
        (-4.5, -3.25, 6.0, 30.0),  # over three edges of the image
        (5.25, 5.25, 6.75, 5.7),  # of about a pixel
    ],
)
def test_pasting_agrees_with_a_loop_over_pixels(box):
    mask = torch.rand(5, 5, generator=torch.Generator().manual_seed(0))
    pasted = paste_masks(mask[None], torch.tensor([box]), (16, 20))
    expected = pasted_by_loop(mask.tolist(), box, (16, 20))
    assert expected.any()
    torch.testing.assert_close(pasted[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("radius", [26, 33, 40, 47, 54])
@pytest.mark.parametrize("stretch", [1.0, 1.3])
@pytest.mark.parametrize("padding", [0, 1])
def test_pasting_is_the_inverse_of_cropping(radius, stretch, padding):
    masks, pasted = crop_and_paste(radius, stretch, padding, aligned=True)
    iou = (masks & pasted).sum((1, 2)) / (masks | pasted).sum((1, 2))
    assert iou.mean() >= 0.985
    assert iou.min() >= 0.98
    assert (centres(pasted) - centres(masks)).mean(dim=0).abs().max() < 0.05  # pixels


def test_legacy_crops_shift_the_object_by_nearly_half_a_pixel():
    # Why the model says aligned=True: RoIAlign without it reads half a pixel too far, and nothing here takes that back.
    masks, pasted = crop_and_paste(40, 1.0, 0, aligned=False)
    shift = (centres(pasted) - centres(masks)).mean(dim=0)
    assert ((shift > -0.5) & (shift < -0.35)).all()


def test_a_box_is_not_rounded_to_whole_pixels():
    # A box that moves by 0.2 px at a time moves the middle of its mask by as much.
    ramp = torch.linspace(0, 1, 28).expand(1, 28, 28)
    for shift in (0.0, 0.2, 0.4, 0.6, 0.8):
        pasted = paste_masks(ramp, torch.tensor([[20.0 + shift, 20.0, 76.0 + shift, 76.0]]), SIZE)[0, 40]
        # Each mask pixel is 2 px wide and the ramp rises by 1 / 27 in each; its middle, 0.5, is the box's.
        position = torch.arange(SIZE[1]) + 0.5 - (48 + shift)
        inner = position.abs() < 26
        torch.testing.assert_close(pasted[inner], (0.5 + position / 54)[inner], atol=1e-5, rtol=0)


def test_a_full_mask_fills_exactly_the_pixels_whose_centres_are_in_the_box():
    # Centres 2.5 to 4.5 are within 1.6..4.6; so are rows 3.5 to 5.5 within 3.4..5.9.
    pasted = paste_masks(torch.ones(1, 28, 28), torch.tensor([[1.6, 3.4, 4.6, 5.9]]), (8, 8))
    expected = torch.zeros(8, 8)
    expected[3:6, 2:5] = 1
    torch.testing.assert_close(pasted[0], expected)


@pytest.mark.parametrize(
    "box",
    [(200.0, 10.0, 220.0, 30.0), (-30.0, 10.0, -10.0, 30.0), (10.0, 10.0, 10.0, 30.0), (10.5, 10.5, 10.5, 10.5)],
    ids=["right of the image", "left of it", "without width", "without area, at a pixel's centre"],
)
def test_a_box_that_holds_no_pixel_pastes_nothing(box):
    pasted = paste_masks(torch.ones(1, 28, 28), torch.tensor([box]), SIZE)
    assert not pasted.isnan().any()
    assert not pasted.any()


def test_each_mask_goes_to_its_own_box_and_probabilities_stay_probabilities():
    masks = torch.rand(3, 28, 28)
    boxes = torch.tensor([[0.0, 0.0, 20.0, 20.0], [30.5, 40.5, 99.0, 140.0], [100.0, 3.0, 300.0, 30.0]])
    together = paste_masks(masks, boxes, SIZE)
    assert together.shape == (3, *SIZE)
    assert together.min() == 0
    assert together.max() <= 1 + 1e-6
    for i in range(3):
        torch.testing.assert_close(together[i], paste_masks(masks[i : i + 1], boxes[i : i + 1], SIZE)[0])


def test_no_masks_paste_to_none():
    assert paste_masks(torch.zeros(0, 28, 28), torch.zeros(0, 4), SIZE).shape == (0, *SIZE)


def test_an_object_keeps_its_shape_when_it_is_pasted_larger():
    # A disc of 10 of 28 mask pixels becomes one of 20 of 56 px.
    disc = ellipses(*torch.tensor([[14.0], [14.0], [10.0], [10.0]]), size=(28, 28)).float()
    pasted = paste_masks(disc, torch.tensor([[30.0, 40.0, 86.0, 96.0]]), SIZE)
    assert (pasted > 0.5).sum().item() == pytest.approx(math.pi * 20**2, rel=0.02)
    torch.testing.assert_close(centres(pasted), torch.tensor([[58.0, 68.0]]))


def test_the_box_around_a_mask_ends_where_its_pixels_end():
    masks = torch.full((3, 1, 6, 8), 0.5)  # not above the threshold
    masks[0, 0, 1:4, 2] = masks[0, 0, 3, 2:7] = 0.51
    masks[1, 0, 5, 7] = 1.0
    boxes = torch.tensor([[1.5, 0.5, 7.5, 4.5], [0.0, 0.0, 8.0, 6.0], [2.2, 3.3, 4.4, 5.5]])
    assert boxes_around(masks, boxes).tolist() == [[2, 1, 7, 4], [7, 5, 8, 6], boxes[2].tolist()]
    assert boxes_around(masks, boxes, threshold=0.7).tolist() == [boxes[0].tolist(), [7, 5, 8, 6], boxes[2].tolist()]
    assert boxes_around(masks[:0], boxes[:0]).shape == (0, 4)


def test_patches_are_what_the_whole_masks_have_in_their_boxes():
    masks = torch.rand(4, 28, 28, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor(
        [[10.3, 20.7, 90.1, 130.9], [-8.5, -3.0, 40.0, 60.0], [100.5, 3.25, 180, 400.0], [200, 5, 210, 9]]
    )
    whole = paste_masks(masks, boxes, SIZE)
    patches = paste_patches(masks, boxes, SIZE)
    for mask, patch in zip(whole, patches, strict=True):
        assert torch.allclose(mask[patch.slices], torch.from_numpy(patch.values), atol=1e-6)
        mask[patch.slices] = 0
        assert not mask.any()
    assert [(patch.top, patch.left, *patch.values.shape) for patch in patches[:3]] == [
        (20, 10, 111, 81), (0, 0, 60, 40), (3, 100, 147, 70)
    ]  # fmt: skip
    assert not patches[3].values.size  # outside of the image


def test_autocast_does_not_blur_where_a_mask_goes():
    masks = torch.rand(3, 28, 28, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[10.3, 20.7, 90.1, 130.9], [0.0, 0.0, 170.0, 150.0], [100.5, 3.25, 128.75, 40.0]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pasted = paste_masks(masks, boxes, SIZE)
    assert pasted.dtype == torch.float32
    assert pasted.equal(paste_masks(masks, boxes, SIZE))
