"""Stain, light and focus, against values worked by hand and scipy."""

import pytest
import torch

from data.colour import adjust_light, adjust_stain, blur


def test_stain_is_absorbance():
    """Twice as much stain absorbs twice as much light; white stays white; the inverse factors undo the change."""
    image = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    assert torch.allclose(adjust_stain(image, torch.ones(3)), image, atol=1e-5)
    assert torch.allclose(adjust_stain(image, torch.full((3,), 2.0)), image**2, atol=1e-5)
    white = torch.ones(3, 2, 2)
    assert torch.allclose(adjust_stain(white, torch.tensor([3.0, 0.2, 1.7])), white)
    factors = torch.tensor([1.2, 0.9, 1.1])
    assert torch.allclose(adjust_stain(adjust_stain(image**0.3, factors), 1 / factors), image**0.3, atol=1e-4)


HAEMATOXYLIN = torch.nn.functional.normalize(torch.tensor([0.65, 0.70, 0.29]), dim=0)


def test_a_pure_stain_is_changed_by_its_strength_only():
    image = torch.exp(-HAEMATOXYLIN * 0.8)[:, None, None]
    assert torch.allclose(adjust_stain(image, torch.tensor([1.0, 3.0, 0.1])), image, atol=1e-5)
    expected = torch.exp(-HAEMATOXYLIN * 1.2)[:, None, None]
    assert torch.allclose(adjust_stain(image, torch.tensor([1.5, 1.0, 1.0])), expected, atol=1e-5)


def test_light_by_hand():
    image = torch.tensor([0.5, 0.25, 0.9])[:, None, None]
    assert torch.allclose(
        adjust_light(image, torch.tensor([1.1, 1.0, 2.0]), 1.0).flatten(), torch.tensor([0.55, 0.25, 1.0])
    )
    assert torch.allclose(adjust_light(image, torch.ones(3), 2.0).flatten(), torch.tensor([0.25, 0.0625, 0.81]))
    # Gamma first, then the gains: 0.25 * 0.9, and not (0.5 * 0.9) ** 2.
    both = adjust_light(image, torch.tensor([0.9, 0.8, 1.2]), 2.0).flatten()
    assert torch.allclose(both, torch.tensor([0.225, 0.05, 0.972]))


@pytest.mark.parametrize("sigma", [0.5, 1.3, 3.0])
def test_blur_is_scipys_gaussian(sigma):
    ndimage = pytest.importorskip("scipy.ndimage")
    image = torch.rand(3, 30, 40, generator=torch.Generator().manual_seed(0))
    reach = max(1, round(3 * sigma))
    expected = [ndimage.gaussian_filter(c.numpy(), sigma, mode="nearest", radius=reach) for c in image]
    assert torch.allclose(blur(image, sigma), torch.stack([torch.from_numpy(c) for c in expected]), atol=1e-5)
    assert torch.equal(blur(image, 0), image)
