import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

from maskrcnn.roi import RoIPooler, assign_levels

STRIDES = (4, 8, 16, 32)


def random_boxes(count, extent, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * extent
    size = torch.exp(torch.rand(count, 2, generator=generator) * 5) * extent / 200
    return torch.cat([corner, corner + size], dim=1)


def square(side):
    return [0.0, 0.0, side, side]


@pytest.mark.parametrize(
    ("side", "level"),
    [(224, 4), (223, 3), (447, 4), (448, 5), (112, 3), (111, 2), (56, 2), (10, 2), (895, 5), (896, 5), (2000, 5)],
)
def test_a_box_of_224_px_is_read_from_p4_and_half_of_it_from_p3(side, level):
    # k = floor(4 + log2(side / 224)), within 2 to 5.
    assert assign_levels(torch.tensor([square(float(side))]), 2, 5, 224).tolist() == [level]


def test_the_level_depends_on_the_area_alone():
    # 56 x 896 has the area of 224 x 224.
    boxes = torch.tensor([[0.0, 0.0, 56.0, 896.0], [5.0, -7.0, 901.0, 49.0]])
    assert assign_levels(boxes, 2, 5, 224).tolist() == [4, 4]


def test_rounding_takes_no_box_of_224_px_from_its_level():
    corner = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) * 1000
    boxes = torch.cat([corner, corner + 224], dim=1)
    assert (boxes[:, 2] - boxes[:, 0] < 224).any()  # in float32, not all of them are 224 px wide
    assert (assign_levels(boxes, 2, 5, 224) == 4).all()


def test_a_smaller_canonical_size_reads_smaller_boxes_from_coarser_levels():
    boxes = torch.tensor([square(50.0), square(56.0), square(112.0), square(225.0)])
    assert assign_levels(boxes, 2, 5, 112).tolist() == [2, 3, 4, 5]


def test_a_box_without_area_is_read_from_the_finest_level():
    boxes = torch.tensor([square(0.0), [5.0, 5.0, 4.0, 9.0]])
    assert assign_levels(boxes, 2, 5, 224).tolist() == [2, 2]


def test_levels_agree_with_torchvision():
    boxes = random_boxes(500, 800)
    expected = LevelMapper(2, 5)([boxes]) + 2
    assert len(expected.unique()) == 4
    assert assign_levels(boxes, 2, 5, 224).equal(expected)


def test_no_boxes_have_no_levels():
    assert assign_levels(torch.zeros(0, 4), 2, 5, 224).shape == (0,)


@pytest.mark.parametrize("sampling_ratio", [2, 0])
def test_roi_features_agree_with_torchvision(sampling_ratio):
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 3, 256 // s, 320 // s, generator=generator) for s in STRIDES]
    boxes = [random_boxes(20, 250, seed=1), random_boxes(15, 250, seed=2)]
    pooler = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, sampling_ratio)
    expected = pooler({str(n): m for n, m in enumerate(maps)}, boxes, [(256, 320)] * 2)
    features = RoIPooler(False, sampling_ratio, 224)(maps, STRIDES, boxes, 7)
    torch.testing.assert_close(features.roi_features, expected, atol=1e-4, rtol=1e-4)
    assert features.levels.equal(LevelMapper(2, 5)(boxes))


def test_each_roi_reads_its_level_and_its_image():
    # Every map is constant: 10 times the image plus the level.
    maps = [
        torch.tensor([k, 10.0 + k])[:, None, None, None].expand(2, 1, 512 // stride, 512 // stride)
        for k, stride in enumerate(STRIDES, start=2)
    ]
    boxes = [torch.tensor([square(448.0), square(20.0)]), torch.tensor([square(224.0), square(112.0), square(450.0)])]
    features = RoIPooler(True, 2, 224)(maps, STRIDES, boxes, 3)
    expected = torch.tensor([5.0, 2.0, 14.0, 13.0, 15.0])[:, None, None, None].expand(5, 1, 3, 3)
    torch.testing.assert_close(features.roi_features, expected)
    assert features.levels.tolist() == [3, 0, 2, 1, 3]  # 0 is P2


@pytest.mark.parametrize("aligned", [True, False])
def test_a_roi_on_a_ramp_reads_the_position_of_its_bins(aligned):
    # Location i of P2 is 4 px wide and holds the position of its centre, 4 i + 2.
    ramp = (torch.arange(32) * 4.0 + 2).expand(1, 1, 32, 32)
    maps = [ramp, *(torch.zeros(1, 1, 32 * 4 // s, 32 * 4 // s) for s in STRIDES[1:])]
    features = RoIPooler(aligned, 2, 224)(maps, STRIDES, [torch.tensor([[20.0, 20.0, 76.0, 76.0]])], 7)
    centres = 20 + 8 * (torch.arange(7) + 0.5)
    # Without alignment, everything is read half a location, 2 px, too far.
    torch.testing.assert_close(features.roi_features[0, 0, 0], centres if aligned else centres + 2)


def test_no_rois_have_no_features():
    maps = [torch.zeros(2, 3, 64 // s, 64 // s) for s in STRIDES]
    features = RoIPooler(True, 2, 224)(maps, STRIDES, [torch.zeros(0, 4)] * 2, 7)
    assert features.roi_features.shape == (0, 3, 7, 7)
    assert features.levels.shape == (0,)
