"""RoIPool against torchvision's, and RoIAlign with the maximum against samples that are read one by one."""

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.roi.align import roi_align
from maskrcnn.roi.pool import pyramid_roi_align_max, pyramid_roi_pool

SCALES = (1 / 4, 1 / 8)


def maps(seed, size=(64, 96), dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    sizes = [(round(height * scale), round(width * scale)) for scale in SCALES]
    return [torch.randn(2, 3, *size, generator=generator, dtype=dtype) - 1 for size in sizes]


def rois(boxes):
    return torch.tensor([[k % 2, *box] for k, box in enumerate(boxes)], dtype=torch.float32).reshape(-1, 5)


side = st.floats(0, 96, width=32)


@settings(max_examples=200, deadline=None)
@given(boxes=st.lists(st.tuples(side, side, side, side), max_size=4), size=st.integers(1, 7))
def test_roi_pool_is_torchvisions(boxes, size):
    """Boxes of any form inside of the image, of which the lower and right ones end a pixel outside of the map."""
    boxes = [(min(a, c), min(b, d) * 64 / 96, max(a, c), max(b, d) * 64 / 96) for a, b, c, d in boxes]
    features, table = maps(len(boxes)), rois(boxes)
    for level, scale in enumerate(SCALES):
        expected = torchvision.ops.roi_pool(features[level], table, size, scale)
        levels = torch.full((len(boxes),), level)
        assert torch.equal(pyramid_roi_pool(features, table, levels, SCALES, size), expected)


def test_each_roi_is_pooled_from_its_own_level_and_image():
    features, table = maps(0), rois([(8, 8, 40, 40), (16, 0, 90, 60), (0, 0, 95, 63)])
    levels = torch.tensor([0, 1, 0])
    found = pyramid_roi_pool(features, table, levels, SCALES, 7)
    for k, level in enumerate(levels.tolist()):
        expected = torchvision.ops.roi_pool(features[level], table[k : k + 1], 7, SCALES[level])
        assert torch.equal(found[k : k + 1], expected)


def test_the_gradient_goes_to_the_largest_pixels():
    features = maps(1, dtype=torch.float64)
    table = rois([(8, 8, 40, 40), (16, 0, 90, 60)]).double()
    levels = torch.tensor([0, 1])
    leaves = [level.requires_grad_() for level in features]
    pyramid_roi_pool(leaves, table, levels, SCALES, 3).square().sum().backward()
    theirs = [level.detach().clone().requires_grad_() for level in features]
    for k, level in enumerate(theirs):
        torchvision.ops.roi_pool(level, table[k : k + 1], 3, SCALES[k]).square().sum().backward()
    for ours, other in zip(leaves, theirs, strict=True):
        assert torch.allclose(ours.grad, other.grad)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_the_maximum_is_that_of_the_samples_of_a_bin(aligned, samples):
    """Each sample by itself is RoIAlign of a tiny box around it with one bin and one sample."""
    features = maps(2)
    box, bins = (9.0, 6.0, 51.0, 50.0), 2
    found = pyramid_roi_align_max(features, rois([box]), torch.tensor([0]), SCALES, bins, samples, aligned)
    x1, y1, x2, y2 = box
    steps = bins * samples
    points = [[((k + 0.5) * (high - low) / steps + low) for k in range(steps)] for low, high in ((y1, y2), (x1, x2))]
    shift = (
        0 if aligned else 2
    )  # half a pixel of the map in pixels of the image: a box of less than a pixel is one pixel
    values = torch.zeros(3, steps, steps)
    for i, y in enumerate(points[0]):
        for j, x in enumerate(points[1]):
            tiny = torch.tensor([[0.0, x - shift, y - shift, x + shift, y + shift]])
            values[:, i, j] = roi_align(features[0], tiny, 1, SCALES[0], 1, aligned)[0, :, 0, 0]
    expected = values.reshape(3, bins, samples, bins, samples).amax(dim=(2, 4))
    assert torch.allclose(found[0], expected, atol=1e-5)


def test_without_a_box_nothing_is_pooled():
    assert pyramid_roi_pool(maps(3), rois([]), torch.zeros(0).long(), SCALES, 7).shape == (0, 3, 7, 7)
