"""What another laboratory would have made of an image, against the law of Beer and Lambert worked by hand."""

import colorsys
import math

import pytest
import torch
from PIL import Image

from data.colour import background_colour
from data.laboratory import Laboratory, compress, random_laboratory, rotation_about_grey

SLIDE = torch.tensor([0.9, 0.85, 0.8])


def field(*absorbances):
    """[3, 20, 20]: an empty slide with a pixel of each absorbance [3] in its first row."""
    image = SLIDE[:, None, None].repeat(1, 20, 20)
    for column, absorbance in enumerate(absorbances):
        image[:, 0, column] *= (-torch.tensor(absorbance)).exp()
    return image


def test_the_same_laboratory_changes_nothing():
    image = field((0.5, 1.0, 0.3), (0.1, 0.2, 0.1))
    torch.testing.assert_close(Laboratory(torch.eye(3), 1.0, SLIDE)(image), image)


def test_the_empty_slide_gets_its_new_colour():
    torch.manual_seed(0)
    new = torch.tensor([0.7, 0.75, 0.5])
    changed = Laboratory(torch.rand(3, 3), 1.3, new)(field((0.5, 1.0, 0.3)))
    torch.testing.assert_close(changed[:, 5, 5], new)
    torch.testing.assert_close(background_colour(changed), new)


def test_absorbances_are_mixed_relative_to_the_slide():
    mixing = torch.tensor([[0.5, 0.5, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    changed = Laboratory(mixing, 1.0, torch.ones(3))(field((0.4, 0.8, 0.3)))
    torch.testing.assert_close(-changed[:, 0, 0].log(), torch.tensor([0.6, 1.6, 0.3]))


def test_tone_makes_pale_paler_and_dark_darker():
    """An absorbance of 1 stays; below it 1.5 pales, above it darkens."""
    changed = Laboratory(torch.eye(3), 1.5, torch.ones(3))(field((0.25, 1.0, 2.25)))
    torch.testing.assert_close(-changed[:, 0, 0].log(), torch.tensor([0.125, 1.0, 3.375]))


def test_pixels_brighter_than_the_slide_stay_brighter_and_finite():
    image = field((0.3, 0.3, 0.3))
    image[:, 3, 3] = 1.0
    changed = Laboratory(torch.eye(3), 1.2, torch.full((3,), 0.5))(image)
    assert changed.isfinite().all()
    assert (changed[:, 3, 3] > 0.5).all()


def test_gamma_is_that_of_the_camera():
    changed = Laboratory(torch.eye(3), 1.0, torch.full((3,), 0.5), gamma=2.0)(field((0.3, 0.3, 0.3)))
    torch.testing.assert_close(changed[:, 5, 5], torch.full((3,), 0.25))


def test_sharpening_exaggerates_edges_and_leaves_flat_areas():
    image = torch.full((3, 20, 20), 0.6)
    image[:, :, 10:] = 0.4
    same, sharp = (Laboratory(torch.eye(3), 1.0, torch.full((3,), 0.6), sharpness=s)(image) for s in (0.0, 1.0))
    torch.testing.assert_close(sharp[:, :, :5], same[:, :, :5])
    assert (sharp[:, :, 9] > same[:, :, 9] + 0.02).all()
    assert (sharp[:, :, 10] < same[:, :, 10] - 0.02).all()


def test_noise_has_its_standard_deviation():
    torch.manual_seed(0)
    changed = Laboratory(torch.eye(3), 1.0, torch.full((3,), 0.5), noise=0.02)(torch.full((3, 60, 60), 0.5))
    assert float(changed.std()) == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("angle", [0.3, -1.0, 2.5])
def test_the_rotation_keeps_grey_and_turns_hue(angle):
    rotation = rotation_about_grey(angle)
    torch.testing.assert_close(rotation @ torch.ones(3), torch.ones(3))
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-6, rtol=0)
    assert float(torch.linalg.det(rotation)) == pytest.approx(1)
    assert float(rotation.trace()) == pytest.approx(1 + 2 * math.cos(angle))
    third_of_a_turn = rotation_about_grey(2 * math.pi / 3) @ torch.tensor([1.0, 0.0, 0.0])  # red becomes green
    assert colorsys.rgb_to_hsv(*third_of_a_turn.tolist())[0] == pytest.approx(1 / 3, abs=1e-6)


def test_compression_is_that_of_jpeg(tmp_path):
    column, row = torch.meshgrid(torch.arange(24) / 24, torch.arange(31) / 31, indexing="ij")
    image = torch.stack([row, column, 0.5 + 0.4 * torch.sin(20 * row)])
    poor, good = compress(image, 10), compress(image, 95)
    assert poor.shape == image.shape
    assert (poor - image).abs().mean() > 2 * (good - image).abs().mean() > 0
    pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=10)
    read = torch.tensor(list(Image.open(tmp_path / "a.jpg").tobytes())).reshape(24, 31, 3) / 255
    torch.testing.assert_close(poor, read.permute(2, 0, 1))
    assert torch.equal(Laboratory(torch.eye(3), 1.0, SLIDE, jpeg_quality=None)(field()), field())


def test_random_laboratories_are_valid_varied_and_deterministic_by_seed():
    image = field((0.5, 1.0, 0.3), (0.3, 0.3, 0.3), (2.0, 1.5, 0.5))
    torch.manual_seed(0)
    results = torch.stack([random_laboratory()(image) for _ in range(200)])
    assert results.isfinite().all()
    assert results.min() >= 0
    assert results.max() <= 1
    slides = results[:, :, 5, 5]
    assert (slides.std(dim=0) > 0.08).all()
    assert (slides[:, 2] < 0.85 * slides[:, 0]).float().mean() > 0.1  # yellow ones
    torch.manual_seed(0)
    assert torch.equal(random_laboratory()(image), results[0])
