"""crop_and_resize against loops written from TensorFlow's documentation of tf.image.crop_and_resize, and what the pooler
makes of it against Matterport's arithmetic."""

import math

import pytest
import torch

from maskrcnn import Config, MaskRCNN
from maskrcnn.roi import RoIPooler
from maskrcnn.roi.crop_and_resize import crop_and_resize, pyramid_crop_and_resize


def maps(*sizes, images=2, channels=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(images, channels, *size, generator=generator, dtype=dtype) for size in sizes]


def by_loops(image, box, size, extrapolation_value=0.0):
    """image [C, H, W]; box (y1, x1, y2, x2), normalised: y is mapped to the image coordinate y * (H - 1)."""
    channels, height, width = image.shape
    y1, x1, y2, x2 = box
    crop = torch.full((channels, size, size), extrapolation_value, dtype=image.dtype)
    for i in range(size):
        for j in range(size):
            if size > 1:
                y = y1 * (height - 1) + i * (y2 - y1) * (height - 1) / (size - 1)
                x = x1 * (width - 1) + j * (x2 - x1) * (width - 1) / (size - 1)
            else:
                y, x = 0.5 * (y1 + y2) * (height - 1), 0.5 * (x1 + x2) * (width - 1)
            if not (0 <= y <= height - 1 and 0 <= x <= width - 1):
                continue
            top, left = math.floor(y), math.floor(x)
            bottom, right = math.ceil(y), math.ceil(x)
            above = image[:, top, left] + (image[:, top, right] - image[:, top, left]) * (x - left)
            below = image[:, bottom, left] + (image[:, bottom, right] - image[:, bottom, left]) * (x - left)
            crop[:, i, j] = above + (below - above) * (y - top)
    return crop


BOXES = {
    "inside": (0.21, 0.33, 0.74, 0.52),
    "the whole image": (0.0, 0.0, 1.0, 1.0),
    "beyond the upper left": (-0.3, -0.2, 0.5, 0.6),
    "beyond the lower right": (0.4, 0.5, 1.3, 1.2),
    "outside": (1.1, 1.1, 1.4, 1.5),
    "flipped": (0.8, 0.7, 0.2, 0.1),
    "a point": (0.5, 0.5, 0.5, 0.5),
}


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES.keys())
def test_samples_are_those_of_tensorflows_documentation(box, size):
    y1, x1, y2, x2 = box
    features = maps((9, 12), (5, 6))
    boxes = torch.tensor([[1, x1, y1, x2, y2], [0, x1, y1, x2, y2]], dtype=torch.float64)
    actual = crop_and_resize(features, boxes, torch.tensor([0, 1]), size)
    expected = torch.stack([by_loops(features[0][1], box, size), by_loops(features[1][0], box, size)])
    torch.testing.assert_close(actual, expected)


def test_the_corners_of_the_whole_image_are_its_corner_pixels():
    feature = torch.arange(12.0).view(1, 1, 3, 4)
    crop = crop_and_resize([feature], torch.tensor([[0.0, 0, 0, 1, 1]]), torch.tensor([0]), 2)
    assert crop[0, 0].tolist() == [[0, 3], [8, 11]]


def test_the_gradient_is_that_of_the_loops():
    (ours,), (loops,) = maps((6, 7), images=1), maps((6, 7), images=1)
    ours.requires_grad_(), loops.requires_grad_()
    y1, x1, y2, x2 = BOXES["beyond the upper left"]
    actual = crop_and_resize([ours], torch.tensor([[0, x1, y1, x2, y2]], dtype=torch.float64), torch.tensor([0]), 4)
    expected = by_loops(loops[0], BOXES["beyond the upper left"], 4)
    weight = torch.rand(3, 4, 4, dtype=torch.float64)
    (actual[0] * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(ours.grad, loops.grad)


def test_half_precision_maps_keep_their_dtype_and_exact_positions():
    feature = torch.arange(200.0).expand(1, 1, 2, 200)
    box = torch.tensor([[0.0, 100.25 / 199, 0, 101.25 / 199, 1]])
    crop = crop_and_resize([feature.half()], box, torch.tensor([0]), 2)
    assert crop.dtype == torch.float16
    assert crop[0, 0, 0].tolist() == [100.25, 101.25]


def test_a_box_in_pixels_reaches_from_its_first_to_its_last_pixel():
    """Matterport's norm_boxes divides (y1, x1, y2 - 1, x2 - 1) by the image's size - 1."""
    features = maps((16, 20), (8, 10))
    boxes = torch.tensor([[0, 8.0, 4, 31, 60], [1, 20, 3, 70, 50.5]], dtype=torch.float64)
    actual = pyramid_crop_and_resize(features, boxes, torch.tensor([0, 1]), [1 / 4, 1 / 8], 7)
    for crop, (image, x1, y1, x2, y2), feature in zip(actual, boxes.tolist(), features, strict=True):
        box = (y1 / 63, x1 / 79, (y2 - 1) / 63, (x2 - 1) / 79)  # the image has 64 x 80 pixels
        torch.testing.assert_close(crop, by_loops(feature[int(image)], box, 7))


def test_matterports_levels_are_those_of_equation_1_rounded():
    """There: 4 + round(log2(sqrt(h w) / (224 / sqrt(image area)))) with normalised h and w."""
    sides = torch.arange(10.0, 900, 7.3)
    boxes = torch.stack([torch.zeros_like(sides), torch.zeros_like(sides), sides, sides], dim=1)
    features = maps(*((1024 // s, 1024 // s) for s in (4, 8, 16, 32)), images=1, channels=1, dtype=torch.float32)
    pooler = RoIPooler(True, 2, 224 / 2**0.5, "crop_and_resize")
    levels = pooler(features, (4, 8, 16, 32), [boxes], 2).levels + 2
    expected = [min(5, max(2, 4 + round(math.log2((side / 1024) / (224 / 1024))))) for side in sides.tolist()]
    assert levels.tolist() == expected
    assert set(expected) == {2, 3, 4, 5}


def test_the_pooler_pools_each_roi_from_its_level():
    features = maps((64, 64), (32, 32), (16, 16), (8, 8), images=1, dtype=torch.float32)
    boxes = torch.tensor([[0.0, 0, 256, 256], [30, 40, 60, 90]])
    pooled = RoIPooler(True, 2, 224, "crop_and_resize")(features, (4, 8, 16, 32), [boxes], 7)
    assert pooled.levels.tolist() == [2, 0]
    torch.testing.assert_close(
        pooled.roi_features[0, :, [0, 0, 6, 6], [0, 6, 0, 6]], features[2][0][:, [0, 0, 15, 15], [0, 15, 0, 15]]
    )
    x1, y1, x2, y2 = 30 / 255, 40 / 255, 59 / 255, 89 / 255
    torch.testing.assert_close(
        pooled.roi_features[1], by_loops(features[0][0], (y1, x1, y2, x2), 7), atol=1e-4, rtol=1e-4
    )


def test_no_rois_have_no_features():
    features = maps((4, 4), images=2, dtype=torch.float32)
    assert RoIPooler(True, 2, 224, "crop_and_resize")(
        features, (4,), [torch.zeros(0, 4)] * 2, 7
    ).roi_features.shape == (0, 3, 7, 7)


def test_a_model_is_built_and_trained_with_it():
    config = Config.small(roi_pooling="crop_and_resize", min_size=64, max_size=64, fpn_channels=32, box_head_dim=8)
    model = MaskRCNN(config)
    assert model.roi_pooler.pooling == "crop_and_resize"
    masks = torch.zeros(1, 64, 64)
    masks[0, 10:40, 10:40] = 1
    target = {"boxes": torch.tensor([[10.0, 10, 40, 40]]), "labels": torch.tensor([1]), "masks": masks}
    sum(model([torch.rand(3, 64, 64)], [target]).values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
    assert model.backbone.resnet.res2[0].conv1.weight.grad.abs().sum() > 0


def test_a_pooling_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match=r"roi_pooling 'max' is not known; choose align or .*crop_and_resize"):
        RoIPooler(True, 2, 224, "max")
