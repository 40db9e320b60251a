"""The list of recolourings: what they must have in common."""

import itertools

import pytest
import torch

from benchmarks.experiments.recoloured import RECOLOURINGS, turn_hue
from maskrcnn.inference.colours import MIN_LIMIT, ColourRange


@pytest.fixture(scope="module")
def image():
    """Half an empty slide, then a red cell and a nucleus."""
    pixels = torch.tensor([0.85, 0.82, 0.84])[:, None, None].repeat(1, 20, 40)
    pixels[:, :, 20:30] = torch.tensor([0.75, 0.62, 0.62])[:, None, None]
    pixels[:, :, 30:] = torch.tensor([0.42, 0.33, 0.68])[:, None, None]
    return pixels


def test_each_is_an_image_in_other_colours_than_all_others(image):
    results = {"as it is": image, **{name: change(image) for name, change in RECOLOURINGS.items()}}
    colours = {}
    for name, result in results.items():
        assert result.shape == image.shape
        assert result.min() >= 0
        assert result.max() <= 1
        colours[name] = ColourRange.of([result])
    for a, b in itertools.combinations(colours, 2):
        assert float(colours[a].distances(colours[b].quantiles)) > MIN_LIMIT, (a, b)


def test_hue_turns_and_grey_stays():
    red = torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(3, 2, 2)
    turned = turn_hue(120)(red)[:, 0, 0]
    torch.testing.assert_close(turned, torch.tensor([0.0, 1.0, 0.0]), atol=0.03, rtol=0)
    assert torch.equal(turn_hue(60)(torch.full((3, 2, 2), 0.4)), torch.full((3, 2, 2), 0.4))
    back = turn_hue(-60)(turn_hue(60)(red))
    torch.testing.assert_close(back, red, atol=0.03, rtol=0)
