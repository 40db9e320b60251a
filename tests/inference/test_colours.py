"""Whether an image's colours are those of the training images."""

import numpy as np
import pytest
import torch

from maskrcnn.inference.colours import MIN_LIMIT, ColourRange, as_shown, colour_figure, colour_quantiles


def flat(*colour):
    """An image [3, 20, 30] of one colour, 0..255."""
    return torch.tensor(colour).float()[:, None, None].expand(3, 20, 30) / 255


def quantiles(image):
    red, green, blue = 255 * image.flatten(1).numpy()
    values = [red, green, blue, red - green, blue - green, red - blue]
    return np.stack([np.quantile(value, [0.01, 0.5, 0.99]) for value in values], axis=1)


def test_quantiles_are_numpys():
    image = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(colour_quantiles(image), quantiles(image), rtol=1e-5, atol=1e-4)


def test_a_large_image_has_nearly_the_quantiles_of_all_its_pixels():
    image = torch.rand(3, 900, 1100, generator=torch.Generator().manual_seed(0)) ** 2
    np.testing.assert_allclose(colour_quantiles(image), quantiles(image), atol=4)


def test_the_distance_is_that_to_the_most_similar_image_in_grey_levels():
    known = ColourRange.of([flat(200, 100, 100), flat(100, 100, 100)])
    others = ColourRange.of([flat(206, 100, 100), flat(100, 100, 112), flat(200, 100, 100)]).quantiles
    # One channel of three differs, by d, and with it two of the three differences: d^2 / 3 + 2 d^2 / 3.
    torch.testing.assert_close(known.distances(others), torch.tensor([6.0, 12.0, 0.0]), atol=1e-3, rtol=0)
    darker = ColourRange.of([flat(170, 70, 70)]).quantiles
    torch.testing.assert_close(known.distances(darker), torch.tensor([30.0]), atol=1e-3, rtol=0)


def test_cells_of_another_hue_are_noticed_although_each_channel_has_the_same_values():
    """Two cells on a tenth of a grey image: purple and green, or dark red and grey-blue."""
    usual, other = torch.full((2, 3, 100, 100), 0.8)
    usual[:, :, :5], usual[:, :, 95:] = (torch.tensor(c)[:, None, None] for c in ([0.4, 0.2, 0.6], [0.4, 0.6, 0.2]))
    other[:, :, :5], other[:, :, 95:] = (torch.tensor(c)[:, None, None] for c in ([0.4, 0.2, 0.2], [0.4, 0.6, 0.6]))
    known, here = ColourRange.of([usual, usual * 0.99]), colour_quantiles(other)
    torch.testing.assert_close(here[:, :3], known.quantiles[0, :, :3])
    assert known.distances(here[None]) > 5 * known.limit


def test_the_limit_is_twice_what_is_usual_among_the_training_images():
    greys = ColourRange.of([flat(g, g, g) for g in range(0, 200, 10)])
    assert greys.limit == pytest.approx(20, abs=1e-3)
    assert ColourRange.of([flat(g, g, g) for g in range(100, 120)]).limit == MIN_LIMIT
    assert ColourRange.of([flat(10, 20, 30)]).limit == MIN_LIMIT
    outlier = ColourRange(torch.cat([greys.quantiles] * 2 + [torch.full((1, 3, 6), 255.0)]))
    assert outlier.limit == MIN_LIMIT  # one strange image among many does not make all strange images usual


def test_the_warning_counts_the_images_beyond_the_limit():
    known = ColourRange.of([flat(g, g, g) for g in range(100, 200, 10)])
    near, far = flat(118, 118, 118), flat(20, 230, 230)
    assert known.warning(ColourRange.of([near, near]).quantiles) == ""
    warning = known.warning(ColourRange.of([near, far, near]).quantiles)
    distance = round(float(known.distances(colour_quantiles(far)[None])))
    assert "1 of 3 images" in warning
    assert "10 training images" in warning
    assert f"up to {distance} of 255 grey levels" in warning
    assert "20 is the limit" in warning


def test_an_image_in_another_light_is_shown_in_that_of_training():
    torch.manual_seed(0)
    scene = torch.rand(3, 40, 50) * 0.5 + 0.3
    known = ColourRange.of([scene, (scene + 0.01), (scene - 0.01)])
    strange = torch.tensor([0.6, 0.9, 1.1])[:, None, None] * scene
    adapted = known.adapt(strange)
    assert (strange - scene).abs().max() > 0.3
    torch.testing.assert_close(adapted, scene, atol=1e-3, rtol=0)
    assert adapted.dtype == torch.float32


def test_other_cells_on_the_same_background_keep_their_colours():
    """The dark and the middle colours say which cells are there and how they are stained."""
    background = torch.full((3, 40, 50), 0.9)
    training, here = background.clone(), background.clone()
    training[:, :30] = torch.tensor([0.8, 0.6, 0.7])[:, None, None]
    here[:, :30] = torch.tensor([0.3, 0.2, 0.5])[:, None, None]
    known = ColourRange.of([training])
    assert known.distances(colour_quantiles(here)[None]) > known.limit
    torch.testing.assert_close(known.adapt(here), here)


def test_an_image_in_usual_colours_stays_as_it_is():
    known = ColourRange.of([flat(g, g, g) for g in range(100, 200, 10)])
    assert known.adapt(flat(128, 130, 132)).equal(flat(128, 130, 132))


def test_an_image_of_one_colour_is_adapted_to_finite_values():
    known = ColourRange.of([flat(200, 180, 190)])
    adapted = known.adapt(flat(0, 255, 100))
    assert adapted.isfinite().all()
    assert 0 <= adapted.min() <= adapted.max() <= 1


def test_a_checkpoint_without_colours_is_not_compared_with():
    assert ColourRange.of_checkpoint({"trained_on": []}) is None
    quantiles = ColourRange.of([flat(1, 2, 3)]).quantiles
    saved = ColourRange.of_checkpoint({"colours": quantiles})
    assert saved is not None
    assert torch.equal(saved.quantiles, quantiles)


def test_the_figure_shows_every_image_at_its_red_and_blue_in_its_own_colour():
    known, others = ColourRange.of([flat(200, 100, 50), flat(10, 20, 30)]), ColourRange.of([flat(250, 240, 230)])
    figure = colour_figure(known, others.quantiles)
    *panels, differences = figure.axes
    for axes in panels:
        training, here = axes.collections
        np.testing.assert_allclose(training.get_offsets(), [[200, 50], [10, 30]], rtol=1e-5)
        np.testing.assert_allclose(here.get_offsets(), [[250, 230]], rtol=1e-5)
        np.testing.assert_allclose(here.get_facecolors()[0, :3], np.array([250, 240, 230]) / 255, rtol=1e-5)
    for collection, expected in zip(differences.collections, ([[100, -50], [-10, 10]], [[10, -10]])):
        np.testing.assert_allclose(collection.get_offsets(), expected, atol=1e-3)
    assert [axes.get_title() for axes in figure.axes] == [
        "dark (1st percentile)",
        "middle (median)",
        "bright (99th percentile)",
        "differences (99th percentile)",
    ]


def test_the_parts_of_an_image_are_shown_in_the_light_of_the_whole():
    """A tile of dark cells alone would seem to be in another light."""
    torch.manual_seed(0)
    scene = torch.rand(3, 40, 50) * 0.5 + 0.3
    known = ColourRange.of([scene])
    strange = torch.tensor([0.6, 0.9, 1.1])[:, None, None] * scene
    light = as_shown(known, "adapt")(strange)
    assert light(strange[:, :10, :10]).equal(known.adapt(strange)[:, :10, :10])
    assert as_shown(known, "keep")(strange)(strange).equal(strange)
    assert as_shown(None, "adapt")(strange)(strange).equal(strange)


def test_bytes_have_the_colours_that_numbers_have():
    image = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)
    torch.testing.assert_close(colour_quantiles(image), colour_quantiles(image / 255))
