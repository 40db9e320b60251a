import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator as TorchvisionAnchorGenerator
from torchvision.models.detection.image_list import ImageList

from maskrcnn.rpn import AnchorGenerator

SIZES, RATIOS = ((32,), (64,), (128,), (256,), (512,)), (0.5, 1.0, 2.0)


def pyramid(height, width, levels=5):
    """Feature maps of one channel, P2 and on, as a ResNet makes them of a padded image of this size."""
    return [torch.zeros(2, 1, -(-height // 2**k), -(-width // 2**k)) for k in range(2, 2 + levels)]


@pytest.mark.parametrize(
    ("sizes", "size"),
    [(SIZES, (128, 192)), (SIZES, (160, 96)), (((8, 16), (32, 64)), (64, 96))],  # 160 / 64 is no whole number
)
def test_rounded_anchors_at_the_corner_agree_with_torchvision(sizes, size):
    maps = pyramid(*size, levels=len(sizes))
    theirs = TorchvisionAnchorGenerator(sizes, (RATIOS,) * len(sizes))
    expected = theirs(ImageList(torch.zeros(2, 3, *size), [size, size]), maps)
    anchors = AnchorGenerator(sizes, RATIOS, offset=0, rounded=True)(maps, size)
    assert anchors.boxes.equal(expected[0])
    assert anchors.per_level == tuple(m.shape[2] * m.shape[3] * 3 * len(sizes[0]) for m in maps)
    assert theirs.num_anchors_per_location() == [AnchorGenerator(sizes, RATIOS).num_anchors_per_location] * len(sizes)


def test_one_location_by_hand():
    # Ratio 1/4 of a 16 px anchor is twice as wide and half as high: 32 x 8. Ratio 4 is the reverse.
    anchors = AnchorGenerator([[16]], [0.25, 1, 4]).base_anchors([16])
    assert anchors.tolist() == [[-16, -4, 16, 4], [-8, -8, 8, 8], [-4, -16, 4, 16]]


def test_every_anchor_has_the_area_of_its_level_and_the_ratio_height_to_width():
    anchors = AnchorGenerator(SIZES, RATIOS)(pyramid(128, 192), (128, 192))
    for level, (size,) in zip(anchors.boxes.split(anchors.per_level), SIZES, strict=True):
        width, height = (level[:, 2:] - level[:, :2]).unbind(1)
        torch.testing.assert_close(width * height, torch.full_like(width, size**2), rtol=1e-4, atol=0)
        torch.testing.assert_close(height / width, torch.tensor(RATIOS).repeat(len(level) // 3), rtol=1e-4, atol=0)


@pytest.mark.parametrize(("offset", "first"), [(0.5, (4.0, 4.0)), (0.0, (0.0, 0.0))])
def test_anchors_run_row_by_row_from_the_middle_or_the_corner_of_the_first_location(offset, first):
    maps = [torch.zeros(1, 1, 2, 3)]  # with a stride of 8 px
    anchors = AnchorGenerator([[10]], [1.0, 2.0], offset)(maps, (16, 24)).boxes
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    x, y = first
    locations = [(x, y), (x + 8, y), (x + 16, y), (x, y + 8), (x + 8, y + 8), (x + 16, y + 8)]
    expected = torch.tensor([location for location in locations for _ in range(2)])  # two anchors per location
    torch.testing.assert_close(centres, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("axis", [0, 1])
def test_anchors_in_the_middle_of_their_locations_are_the_same_in_the_mirrored_image(axis):
    size = (128, 192)
    boxes = AnchorGenerator(SIZES, RATIOS)(pyramid(*size), size).boxes
    mirrored = boxes.clone()
    mirrored[:, [axis, axis + 2]] = size[1 - axis] - boxes[:, [axis + 2, axis]]
    distance = torch.cdist(mirrored, boxes, compute_mode="donot_use_mm_for_euclid_dist")
    assert distance.min(dim=1).values.max() < 1e-3


def test_rounding_gives_whole_pixels_and_none_without_it():
    rounded = AnchorGenerator([[100]], RATIOS, rounded=True).base_anchors([100])
    assert rounded.equal(rounded.round())
    # 100 px at ratio 1/2: half the width is 50 * sqrt(2) = 70.71.
    assert rounded[0].tolist() == [-71, -35, 71, 35]
    assert AnchorGenerator([[100]], RATIOS).base_anchors([100])[0, 2].item() == pytest.approx(70.7107, abs=1e-3)


def test_levels_with_different_numbers_of_sizes_are_refused():
    with pytest.raises(ValueError, match="each needs as many anchor sizes"):
        AnchorGenerator([[8], [16, 32]], RATIOS)


def test_as_many_maps_as_levels_are_needed():
    with pytest.raises(ValueError, match="4 feature maps but anchor sizes for 5 levels"):
        AnchorGenerator(SIZES, RATIOS)(pyramid(64, 64, levels=4), (64, 64))
