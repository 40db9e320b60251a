"""RoIAlign against torchvision's, against loops, against a plain gather, and against numbers worked by hand."""

import math

import pytest
import torch
import torchvision

from maskrcnn.roi.align import pyramid_roi_align, roi_align

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-11}


def some_boxes(dtype=torch.float32, n=30, images=2):
    """[R, 5] around a 76 x 92 image: inside, across its edges, outside, empty, inside out, tiny and huge."""
    generator = torch.Generator().manual_seed(1)
    size = torch.rand(n, 2, generator=generator, dtype=dtype) * 90
    centre = torch.rand(n, 2, generator=generator, dtype=dtype) * 120 - 15
    image = torch.randint(0, images, (n, 1), generator=generator).to(dtype)
    special = [
        [0, 10, 10, 10, 10],
        [1, 20, 30, 15, 20],
        [0, 20.25, 30.5, 20.26, 30.52],
        [1, -500, -400, 900, 800],
        [0, 1000, 1000, 1100, 1100],
        [1, -300, -300, -200, -200],
        [0, 0, 0, 92, 76],
    ]
    return torch.cat([torch.cat([image, centre - size / 2, centre + size / 2], dim=1), torch.tensor(special).to(dtype)])


def maps(dtype=torch.float32, size=(19, 23), images=2, channels=5):
    return torch.randn(images, channels, *size, generator=torch.Generator().manual_seed(0), dtype=dtype)


def by_loops(feature, box, output_size, samples, aligned):
    """One RoI of one image, one sample at a time: feature [C, H, W], box (x1, y1, x2, y2)."""
    channels, height, width = feature.shape
    x1, y1, x2, y2 = (v - 0.5 * aligned for v in box)
    box_width, box_height = x2 - x1, y2 - y1
    if not aligned:
        box_width, box_height = max(box_width, 1), max(box_height, 1)
    bin_width, bin_height = box_width / output_size, box_height / output_size
    n_y = samples or math.ceil(bin_height)
    n_x = samples or math.ceil(bin_width)
    output = torch.zeros(channels, output_size, output_size, dtype=feature.dtype)
    for i in range(output_size):
        for j in range(output_size):
            for a in range(n_y):
                for b in range(n_x):
                    y = y1 + (i + (a + 0.5) / n_y) * bin_height
                    x = x1 + (j + (b + 0.5) / n_x) * bin_width
                    if not (-1 <= y <= height and -1 <= x <= width):
                        continue
                    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
                    top, left = math.floor(y), math.floor(x)
                    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
                    above = feature[:, top, left] * (left + 1 - x) + feature[:, top, right] * (x - left)
                    below = feature[:, bottom, left] * (left + 1 - x) + feature[:, bottom, right] * (x - left)
                    output[:, i, j] += (above * (top + 1 - y) + below * (y - top)) / (n_y * n_x)
    return output


def by_gather(feature, boxes, output_size, scale, samples, aligned):
    """RoIAlign in plain PyTorch, for reading: every sample of every RoI at once, each from its 4 nearest pixels.

    feature [B, C, H, W]; boxes [R, 5]; samples per bin along each axis, 1 or more. Returns [R, C, h, h] for h = output_size.
    """
    corners = boxes[:, 1:] * scale - (0.5 if aligned else 0)  # [R, 4]; from here on pixel i has its centre at i
    length = corners[:, 2:] - corners[:, :2]  # [R, 2]
    length = length if aligned else length.clamp(min=1)
    n = output_size * samples  # samples along an axis of an RoI, equally spaced
    fraction = (torch.arange(n) + 0.5) / n

    def neighbours(axis, size):
        """The two pixels around each sample along x (axis 0) or y (axis 1) and their weights: [R, n] each."""
        position = corners[:, axis, None] + length[:, axis, None] * fraction
        inside = (position >= -1) & (position <= size)
        position = position.clamp(0, size - 1)
        before = position.floor().long()
        after = (before + 1).clamp(max=size - 1)
        return (before, (1 - position + before) * inside), (after, (position - before) * inside)

    image, pixels = boxes[:, 0].long()[:, None, None], feature.permute(0, 2, 3, 1)  # [B, H, W, C]
    values = feature.new_zeros(len(boxes), n, n, feature.shape[1])
    for y, y_weight in neighbours(1, feature.shape[2]):
        for x, x_weight in neighbours(0, feature.shape[3]):
            weight = (y_weight[:, :, None] * x_weight[:, None])[..., None]
            values = values + weight * pixels[image, y[:, :, None], x[:, None]]  # [R, n, n, C]
    bins = values.view(len(boxes), output_size, samples, output_size, samples, feature.shape[1])
    return bins.mean(dim=(2, 4)).permute(0, 3, 1, 2)  # [R, C, h, h]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("output_size", [4, (3, 5), 1])
@pytest.mark.parametrize("sampling_ratio", [-1, 0, 1, 2, 3])
@pytest.mark.parametrize("aligned", [False, True])
def test_values_and_gradients_are_torchvisions(dtype, layout, output_size, sampling_ratio, aligned):
    boxes = some_boxes(dtype)
    ours = maps(dtype).clone(memory_format=layout).requires_grad_()
    theirs = maps(dtype).requires_grad_()
    output = roi_align(ours, boxes, output_size, 0.25, sampling_ratio, aligned)
    expected = torchvision.ops.roi_align(theirs, boxes, output_size, 0.25, sampling_ratio, aligned)
    assert output.dtype == dtype
    torch.testing.assert_close(output, expected, rtol=0, atol=TOLERANCE[dtype])

    weight = torch.randn_like(expected)
    (output * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("samples", [0, 1, 2, 3])
@pytest.mark.parametrize("box", [(1.3, 0.4, 6.1, 8.9), (-3, -2.5, 2, 3), (5, 6, 30, 25), (2, 2, 2.1, 2.1)])
def test_four_loops_agree(aligned, samples, box):
    feature = maps(torch.float64, (9, 8), images=1)
    output = roi_align(feature, [torch.tensor([box], dtype=torch.float64)], 3, 1.0, samples, aligned)
    torch.testing.assert_close(output[0], by_loops(feature[0], box, 3, samples, aligned))


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("output_size", [1, 7])
def test_a_plain_gather_agrees_in_values_and_gradients(output_size, samples, aligned):
    ours, plain = maps().requires_grad_(), maps().requires_grad_()
    output = roi_align(ours, some_boxes(), output_size, 0.25, samples, aligned)
    expected = by_gather(plain, some_boxes(), output_size, 0.25, samples, aligned)
    torch.testing.assert_close(output, expected, rtol=0, atol=5e-5)
    weight = torch.randn_like(expected)
    (output * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad, rtol=0, atol=5e-4)


@pytest.mark.parametrize(("aligned", "row"), [(True, [4.5, 5, 5.5, 6]), (False, [7.5, 8, 8.5, 9])])
def test_half_a_pixel(aligned, row):
    # The map holds 5 y + x. Bins are half a pixel long; the first one's centre is at 1.25, which is index 0.75 when
    # aligned: 5 * 0.75 + 0.75 = 4.5. Otherwise it is index 1.25: 5 * 1.25 + 1.25 = 7.5.
    feature = torch.arange(25.0).view(1, 1, 5, 5)
    output = roi_align(feature, [torch.tensor([[1.0, 1, 3, 3]])], 4, aligned=aligned)
    assert output[0, 0, 0].tolist() == row


def test_a_list_of_boxes_is_the_numbered_boxes():
    boxes = some_boxes()
    boxes = boxes[boxes[:, 0].sort(stable=True).indices]
    listed = [boxes[boxes[:, 0] == i, 1:] for i in range(2)]
    assert torch.equal(roi_align(maps(), listed, 3, 0.25, 2), roi_align(maps(), boxes, 3, 0.25, 2))


@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("boxes", [torch.zeros(0, 5), [torch.zeros(0, 4), torch.zeros(0, 4)]])
def test_no_boxes_stay_attached_to_the_graph(boxes, sampling_ratio):
    feature = maps().requires_grad_()
    output = roi_align(feature, boxes, (3, 4), 0.25, sampling_ratio)
    assert output.shape == (0, 5, 3, 4)
    output.sum().backward()
    assert torch.equal(feature.grad, torch.zeros_like(feature))


@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_gradients_by_differences(sampling_ratio):
    feature = maps(torch.float64, (5, 6), channels=2).requires_grad_()
    boxes = some_boxes(torch.float64)[-9:]

    def pool(feature):
        return roi_align(feature, boxes, 2, 0.06, sampling_ratio, True)

    assert torch.autograd.gradcheck(pool, feature)
    assert torch.autograd.gradgradcheck(pool, feature)


def test_boxes_get_no_gradient():
    boxes = some_boxes().requires_grad_()
    roi_align(maps().requires_grad_(), boxes, 2, 0.25, 2).sum().backward()
    assert boxes.grad is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_weights_and_results_but_no_sum(dtype):
    """A sum of 16 taps that was rounded at each step would be off by several roundings, not by two."""
    feature = (maps().abs() + 1).to(dtype).requires_grad_()
    exact = feature.detach().float().requires_grad_()
    output, expected = (roi_align(f, some_boxes(), 3, 0.25, 2) for f in (feature, exact))
    rounding = torch.finfo(dtype).eps / 2
    assert output.dtype == dtype
    assert ((output - expected).abs() <= 2.1 * rounding * expected).all()
    output.sum().backward()
    expected.sum().backward()
    assert feature.grad.dtype == dtype
    assert ((feature.grad - exact.grad).abs() <= 2.1 * rounding * exact.grad).all()


def test_boxes_that_are_not_numbers_give_zero():
    boxes = torch.tensor([[0, math.nan, math.nan, math.nan, math.nan], [0, math.inf, 0, math.inf, 9]])
    for sampling_ratio in (0, 2):
        assert torch.equal(roi_align(maps(), boxes, 2, 1.0, sampling_ratio), torch.zeros(2, 5, 2, 2))


@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("aligned", [False, True])
def test_a_map_of_one_pixel(sampling_ratio, aligned):
    feature, boxes = maps(size=(1, 1)), some_boxes()
    expected = torchvision.ops.roi_align(feature, boxes, 2, 0.02, sampling_ratio, aligned)
    torch.testing.assert_close(roi_align(feature, boxes, 2, 0.02, sampling_ratio, aligned), expected)


@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("aligned", [False, True])
def test_a_pyramid_is_torchvisions_levels_one_by_one(sampling_ratio, aligned):
    scales = [1 / 4, 1 / 8, 1 / 16]
    ours = [maps(size=size).requires_grad_() for size in [(19, 23), (10, 12), (5, 6)]]
    theirs = [level.detach().clone().requires_grad_() for level in ours]
    boxes = some_boxes()
    levels = torch.randint(0, 3, (len(boxes),), generator=torch.Generator().manual_seed(3))
    output = pyramid_roi_align(ours, boxes, levels, scales, (4, 3), sampling_ratio, aligned)

    expected = torch.zeros(len(boxes), 5, 4, 3)
    for i, (level, scale) in enumerate(zip(theirs, scales, strict=True)):
        of_level = levels == i
        expected[of_level] = torchvision.ops.roi_align(level, boxes[of_level], (4, 3), scale, sampling_ratio, aligned)
    torch.testing.assert_close(output, expected, rtol=0, atol=2e-5)

    weight = torch.randn_like(expected)
    (output * weight).sum().backward()
    (expected * weight).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=2e-4)


@pytest.mark.parametrize(
    ("feature", "boxes", "message"),
    [
        (torch.zeros(5, 9, 9), torch.zeros(1, 5), r"\[B, C, H, W\]"),
        (torch.zeros(1, 5, 9, 9), torch.zeros(1, 4), r"\[R, 5\]"),
        (torch.zeros(1, 5, 9, 9), [torch.zeros(1, 5)], r"\[R_i, 4\]"),
        (torch.zeros(2, 5, 9, 9), [torch.zeros(1, 4)], "each of 2 images, got 1"),
        (torch.zeros(2, 5, 9, 9), torch.tensor([[2.0, 0, 0, 1, 1]]), r"image of a box must be in 0\.\.1"),
        (torch.zeros(2, 5, 9, 9), torch.tensor([[-1.0, 0, 0, 1, 1]]), r"image of a box must be in 0\.\.1"),
    ],
)
def test_wrong_shapes_are_refused(feature, boxes, message):
    with pytest.raises(ValueError, match=message):
        roi_align(feature, boxes, 2)


@pytest.mark.parametrize("size", [0, (7, 0), -1])
def test_an_output_without_bins_is_refused(size):
    with pytest.raises(ValueError, match="output_size must be 1 or more"):
        roi_align(torch.zeros(1, 2, 9, 9), [torch.tensor([[0.0, 0, 4, 4]])], size)


@pytest.mark.parametrize(
    ("features", "levels", "scales", "message"),
    [
        ([], [0], [], "got 0 maps"),
        ([maps()], [0], [1.0, 0.5], "got 1 maps and 2 scales"),
        ([maps(), maps(channels=3)], [0], [1.0, 0.5], r"\[B, C, H, W\]"),
        ([maps()], [0, 0], [1.0], "one level is needed for each of 1 boxes"),
        ([maps()], [1], [1.0], r"level of a box must be in 0\.\.0"),
    ],
)
def test_a_pyramid_that_does_not_fit_is_refused(features, levels, scales, message):
    with pytest.raises(ValueError, match=message):
        pyramid_roi_align(features, torch.zeros(1, 5), torch.tensor(levels), scales, 2, 2, True)
