import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from maskrcnn.images import ImageTransform, check_image, image_size, scale_boxes

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def transform(min_size=64, max_size=96, size_divisible=32, mask_interpolation="bilinear", antialias=False):
    return ImageTransform(min_size, max_size, MEAN, STD, size_divisible, mask_interpolation, antialias)


def random_image(height, width, seed=0):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def disc_target(height, width, box):
    """One object: the ellipse that touches the four edges of the box."""
    x1, y1, x2, y2 = box
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    mask = ((2 * x - x1 - x2) / (x2 - x1)) ** 2 + ((2 * y - y1 - y2) / (y2 - y1)) ** 2 <= 1
    return {"boxes": torch.tensor([box]), "labels": torch.tensor([1]), "masks": mask[None]}


def bounding_box(mask):
    """Of the pixels above a half, in continuous coordinates."""
    rows, columns = torch.where((mask > 0.5).any(1))[0], torch.where((mask > 0.5).any(0))[0]
    return torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((576, 720), (800, 1000)),  # 800 / 576 takes 720 to 1000
        ((720, 576), (1000, 800)),
        ((500, 1000), (666, 1333)),  # 1333 / 1000 is less than 800 / 500; 500 * 1.333 = 666.5
        ((1600, 1600), (800, 800)),
        ((1, 4000), (1, 1333)),  # no side becomes 0
    ],
)
def test_the_shorter_edge_becomes_800_unless_the_longer_would_pass_1333(size, expected):
    assert transform(800, 1333).resized_size(size) == expected


def test_lisc_images_become_256_by_320():
    assert transform(256, 384).resized_size((576, 720)) == (256, 320)


@pytest.mark.parametrize(
    "sizes", [[(48, 64)], [(50, 37), (37, 50)], [(64, 64), (30, 90)], [(31, 47), (97, 33), (120, 200)]]
)
def test_a_batch_agrees_with_torchvision(sizes):
    images = [random_image(*size, seed) for seed, size in enumerate(sizes)]
    expected, _ = GeneralizedRCNNTransform(64, 96, MEAN, STD)([image.clone() for image in images])
    batch = transform().preprocess(images)
    assert batch.sizes == expected.image_sizes
    assert batch.original_sizes == sizes
    torch.testing.assert_close(batch.pixels, expected.tensors)


def test_the_padded_size_is_the_next_multiple_and_padding_is_zero():
    batch = transform(size_divisible=64).preprocess([random_image(64, 65), random_image(64, 96)])
    assert batch.pixels.shape == (2, 3, 64, 128)
    assert batch.sizes == [(64, 65), (64, 96)]  # without the padding
    assert not batch.pixels[0, :, :, 65:].any()
    assert not batch.pixels[1, :, :, 96:].any()


def test_an_image_of_the_right_size_is_only_normalised():
    image = random_image(64, 64)
    expected = (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    assert transform().preprocess([image]).pixels[0].equal(expected)


def test_pixels_are_stored_channels_last():
    assert transform().preprocess([random_image(64, 64)]).pixels.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("min_size", "max_size"), [(800, 1333), (256, 384), (500, 640)])
def test_resize_pad_restore_is_the_identity_at_720_by_576(min_size, max_size):
    image, tall = torch.zeros(3, 576, 720), torch.zeros(3, 720, 576)
    box = (100.25, 30.5, 181.75, 120.125)
    target, empty = disc_target(576, 720, box), disc_target(720, 576, box)
    changed = transform(min_size, max_size, 64)
    batch = changed.preprocess([image, tall])  # the other image makes padding of a hundred pixels and more
    boxes = changed.preprocess_targets([target, empty], batch, 1).boxes[0]
    assert batch.pixels.shape[-2] - batch.sizes[0][0] > 60
    torch.testing.assert_close(
        boxes[0, 2] - boxes[0, 0], torch.tensor(81.5 * batch.sizes[0][1] / 720), rtol=1e-5, atol=0
    )
    restored = scale_boxes(boxes, batch.sizes[0], batch.original_sizes[0])
    torch.testing.assert_close(restored, target["boxes"], atol=1e-4, rtol=0)


def test_boxes_scale_with_width_and_height_apart():
    boxes = torch.tensor([[10.0, 10.0, 20.0, 40.0]])
    # From 50 high and 100 wide to 100 high and 50 wide: x is halved, y is doubled.
    assert scale_boxes(boxes, (50, 100), (100, 50)).tolist() == [[5.0, 20.0, 10.0, 80.0]]


@pytest.mark.parametrize("size", [(50, 37), (128, 150)])
def test_targets_agree_with_torchvision_when_masks_are_resized_by_nearest(size):
    image, target = random_image(*size), disc_target(*size, (6.0, 9.0, 31.0, 40.0))
    changed = transform(mask_interpolation="nearest")
    ours = changed.preprocess_targets([target], changed.preprocess([image]), 1)
    copied = {**target, "masks": target["masks"].to(torch.uint8)}
    theirs = GeneralizedRCNNTransform(64, 96, MEAN, STD)([image], [copied])[1][0]
    torch.testing.assert_close(ours.boxes[0], theirs["boxes"])
    assert ours.masks[0].equal(theirs["masks"].float())
    assert ours.labels[0].tolist() == [1]


@pytest.mark.parametrize("size", [(576, 720), (100, 140)])  # made smaller; made larger
def test_the_mask_keeps_to_its_box_when_both_are_resized(size):
    box = (0.31 * size[1], 0.22 * size[0], 0.74 * size[1], 0.91 * size[0])
    changed = transform(256, 384)
    targets = changed.preprocess_targets([disc_target(*size, box)], changed.preprocess([random_image(*size)]), 1)
    # To a pixel of the coarser of the two rasters.
    allowed = max(1.0, 256 / size[0]) * 1.01
    assert (bounding_box(targets.masks[0][0]) - targets.boxes[0][0]).abs().max() <= allowed


def test_resizing_a_mask_bilinearly_does_not_shift_it():
    target = disc_target(100, 140, (30.0, 20.0, 90.0, 80.0))
    changed = transform(256, 384)
    mask = changed.preprocess_targets([target], changed.preprocess([random_image(100, 140)]), 1).masks[0][0]
    x = torch.arange(mask.shape[1]) + 0.5
    centre = (mask.sum(0) * x).sum() / mask.sum()
    assert abs(float(centre) - 60 * mask.shape[1] / 140) < 0.05
    assert ((mask > 0) & (mask < 1)).any()  # soft edges


# One column in eight is white. Reduced to an eighth, each new pixel covers eight columns: with antialiasing it has their
# mean (beside the border, where the kernel is cut off), without it reads the fourth and the fifth, which are black.
STRIPES = (torch.arange(512) % 8 == 0).float().expand(512, 512)


@pytest.mark.parametrize(("antialias", "mean"), [(True, 1 / 8), (False, 0)])
def test_a_reduced_image_averages_all_pixels_only_with_antialias(antialias, mean):
    changed = transform(antialias=antialias)
    pixels = changed.denormalize(changed.preprocess([STRIPES.expand(3, -1, -1)]), 0)
    assert pixels.shape == (3, 64, 64)
    torch.testing.assert_close(pixels[:, :, 2:-2], torch.full((3, 64, 60), float(mean)), atol=2e-2, rtol=0)


@pytest.mark.parametrize(
    ("mask_interpolation", "antialias", "mean"),
    [("bilinear", True, 1 / 8), ("bilinear", False, 0), ("nearest", True, 1)],
)
def test_a_reduced_mask_is_antialiased_as_its_image_is_unless_it_is_resized_by_nearest(
    mask_interpolation, antialias, mean
):
    changed = transform(mask_interpolation=mask_interpolation, antialias=antialias)
    target = {"boxes": torch.tensor([[0.0, 0, 512, 512]]), "labels": torch.tensor([1]), "masks": STRIPES[None]}
    masks = changed.preprocess_targets([target], changed.preprocess([STRIPES.expand(3, -1, -1)]), 1).masks[0]
    torch.testing.assert_close(masks[:, :, 2:-2], torch.full((1, 64, 60), float(mean)), atol=2e-2, rtol=0)


def test_antialias_changes_nothing_where_an_image_is_enlarged():
    image = random_image(20, 30)
    plain, smooth = (transform(antialias=antialias).preprocess([image]).pixels for antialias in (False, True))
    torch.testing.assert_close(plain, smooth)


def test_denormalize_gives_the_colours_back():
    image = random_image(64, 80)
    changed = transform()
    batch = changed.preprocess([random_image(64, 64), image])
    torch.testing.assert_close(changed.denormalize(batch, 1)[:, :, :80], image)


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([(64, 96), (800, 1333), (256, 384)]))
def test_the_resized_image_is_as_large_as_both_limits_allow(height, width, limits):
    min_size, max_size = limits
    small, large = sorted(transform(*limits).resized_size((height, width)))
    assert 1 <= small <= min_size
    assert large <= max_size
    assert small >= min_size - 1 or large >= max_size - 1  # rounded down
    if small > 1:
        assert small / large == pytest.approx(min(height, width) / max(height, width), abs=2 / large)


@pytest.mark.parametrize("size", [(1, 1), (2, 90), (300, 3), (5, 7)])
def test_an_image_narrower_than_a_stride_is_padded_to_one(size):
    changed = transform(max_size=96, size_divisible=64)
    batch = changed.preprocess([random_image(*size)])
    assert batch.pixels.shape[-2] % 64 == batch.pixels.shape[-1] % 64 == 0
    assert min(batch.sizes[0]) >= 1
    target = {"boxes": torch.tensor([[0.0, 0, 1, 1]]), "labels": torch.tensor([1]), "masks": torch.ones(1, *size)}
    targets = changed.preprocess_targets([target], batch, 1)
    assert targets.masks[0].shape == (1, *batch.sizes[0])
    restored = scale_boxes(targets.boxes[0], batch.sizes[0], size)
    torch.testing.assert_close(restored, target["boxes"])


def test_an_image_without_objects_has_empty_targets_of_the_resized_size():
    none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long(), "masks": torch.zeros(0, 40, 50)}
    changed = transform()
    batch = changed.preprocess([random_image(40, 50)])
    targets = changed.preprocess_targets([none], batch, 1)
    assert targets.boxes[0].shape == (0, 4)
    assert targets.labels[0].shape == (0,)
    assert targets.masks[0].shape == (0, *batch.sizes[0])


def test_images_and_targets_given_are_not_changed():
    image, target = random_image(40, 50), disc_target(40, 50, (5.0, 6.0, 25.0, 36.0))
    copies = image.clone(), {name: value.clone() for name, value in target.items()}
    changed = transform()
    changed.preprocess_targets([target], changed.preprocess([image]), 1)
    changed.preprocess([image])
    assert image.equal(copies[0])
    assert all(target[name].equal(copies[1][name]) for name in copies[1])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.rand(1, 8, 8), r"image 1 has shape \(1, 8, 8\); expected \[3, H, W\]"),
        (torch.rand(8, 8, 3), r"image 1 has shape \(8, 8, 3\)"),
        (torch.rand(1, 3, 8, 8), r"image 1 has shape"),
        (torch.rand(3, 0, 8), r"image 1 has shape"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"image 1 is torch.uint8; .* divide 8-bit pixels by 255"),
        (torch.full((3, 8, 8), 200.0), r"image 1 has values up to 200; expected 0\.\.1"),
        (torch.full((3, 8, 8), torch.nan), "image 1 has values up to nan"),
        (torch.zeros(3, 8, 8).numpy(), "image 1 is a ndarray; expected a torch tensor"),
    ],
)
def test_an_image_of_another_form_is_refused_by_its_number(image, message):
    with pytest.raises(ValueError, match=message):
        transform().preprocess([torch.rand(3, 8, 8), image])


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="no images"):
        transform().preprocess([])


def test_an_rgb_image_passes():
    assert check_image(torch.rand(3, 4, 5), 0) is None
    assert image_size(torch.rand(3, 4, 5)) == (4, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"boxes": torch.tensor([[5.0, 5.0, 5.0, 9.0]])},
            r"target 0 has a box without finite area, \[5.0, 5.0, 5.0, 9.0\]",
        ),
        ({"boxes": torch.tensor([[5.0, 9.0, 9.0, 9.0]])}, "target 0 has a box without finite area"),
        ({"boxes": torch.tensor([[9.0, 9.0, 5.0, 5.0]])}, r"\(x1, y1, x2, y2\) with x2 > x1 and y2 > y1"),
        ({"boxes": torch.tensor([[0.0, 0.0, torch.nan, 5.0]])}, "target 0 has a box without finite area"),
        ({"boxes": torch.tensor([[0.0, 0.0, torch.inf, 5.0]])}, "target 0 has a box without finite area"),
        ({"boxes": torch.tensor([5.0, 5.0, 9.0, 9.0])}, r"boxes \(4,\).*expected boxes \(1, 4\)"),
        ({"labels": torch.tensor([0])}, r"target 0 has labels \[0\]; expected 1 to 2 \(0 is background\)"),
        ({"labels": torch.tensor([3])}, r"target 0 has labels \[3\]; expected 1 to 2"),
        ({"labels": torch.tensor([1, 2])}, "target 0: 2 labels"),
        ({"masks": torch.zeros(1, 50, 40)}, r"masks \(1, 40, 50\) for an image of 40 x 50"),
    ],
)
def test_a_target_that_cannot_be_trained_on_is_refused_with_the_reason(change, message):
    changed = transform()
    batch = changed.preprocess([random_image(40, 50)])
    with pytest.raises(ValueError, match=message):
        changed.preprocess_targets([{**disc_target(40, 50, (5.0, 6.0, 25.0, 36.0)), **change}], batch, 2)


def test_masks_are_0_and_1_and_a_target_is_a_dict():
    target = disc_target(40, 50, (5.0, 6.0, 25.0, 36.0))
    changed = transform()
    batch = changed.preprocess([random_image(40, 50)])
    with pytest.raises(ValueError, match="target 0 has masks with values up to 255"):
        changed.preprocess_targets([{**target, "masks": target["masks"] * 255}], batch, 1)
    rounded = target["masks"].float() * (1 + 1e-6)  # as interpolation leaves them at times
    assert changed.preprocess_targets([{**target, "masks": rounded}], batch, 1).masks[0].max() > 0.9
    with pytest.raises(ValueError, match="target 0 is a NoneType; expected a dict"):
        changed.preprocess_targets([None], batch, 1)


@pytest.mark.parametrize("name", ["boxes", "labels", "masks"])
def test_a_target_that_lacks_something_says_what(name):
    target = disc_target(40, 50, (5.0, 6.0, 25.0, 36.0))
    del target[name]
    changed = transform()
    with pytest.raises(ValueError, match=f"target 0 lacks {name}"):
        changed.preprocess_targets([target], changed.preprocess([random_image(40, 50)]), 1)


def test_as_many_targets_as_images_are_needed():
    changed = transform()
    with pytest.raises(ValueError, match="1 images but 0 targets"):
        changed.preprocess_targets([], changed.preprocess([random_image(40, 50)]), 1)
