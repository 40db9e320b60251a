"""Repeated fields, on synthetic smears: the tests know which of them are shifted copies."""

from types import SimpleNamespace

import numpy as np
import pytest

from data.duplicates import LARGE, correlation, duplicate_groups, members_by_group, texture
from data.synthetic.smear import draw_smear

SIZE = (720, 576)


@pytest.fixture(scope="module")
def wide() -> list[np.ndarray]:
    """Four smears larger than an image, to crop images from."""
    return [draw_smear(["neutrophil"], np.random.default_rng(k), (1000, 800))[0] for k in range(4)]


def crop(smear: np.ndarray, right: int, down: int) -> np.ndarray:
    return smear[down : down + SIZE[1], right : right + SIZE[0]]


def photographed_again(image: np.ndarray, seed: int) -> np.ndarray:
    """With other light, other noise and the camera's dark edge."""
    again = image * 0.9 + np.random.default_rng(seed).normal(6, 4, image.shape)
    again[-4:] *= 0.6
    return np.clip(again, 0, 255).astype(np.uint8)


@pytest.fixture(params=["every pair", "pairs that share patches"])
def search(request, monkeypatch):
    """Both ways to search: of few images and of many."""
    monkeypatch.setattr("data.duplicates.ALL_PAIRS", 300 if request.param == "every pair" else 0)


@pytest.mark.usefixtures("search")
def test_identical_and_shifted_fields_are_found_and_no_others(wide):
    a, b, c, d = wide
    images = [
        crop(a, 0, 0),
        crop(b, 10, 10),
        photographed_again(crop(a, 0, 0), 1),  # identical
        crop(c, 0, 0),
        photographed_again(crop(a, 203, 87), 2),  # shifted
        photographed_again(crop(c, 121, 219), 3),
        crop(d, 0, 0),
    ]
    assert duplicate_groups(images, progress=False) == [0, 1, 0, 2, 0, 2, 3]


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (3, 5), (37, -59), (-211, 102), (280, 0)])
def test_a_shift_by_any_number_of_pixels_hardly_changes_the_correlation(wide, shift):
    """Also by half a pixel of the downscaled image."""
    right, down = shift
    x, y = max(0, -right), max(0, -down)
    first, second = crop(wide[0], x, y), photographed_again(crop(wide[0], x + right, y + down), 5)
    assert correlation(texture(first, LARGE), texture(second, LARGE)) > 0.85


def test_different_fields_correlate_little(wide):
    textures = [texture(crop(smear, 50, 50), LARGE) for smear in wide]
    assert max(correlation(textures[i], textures[j]) for i in range(4) for j in range(i)) < 0.6


def test_correlation_is_that_of_the_overlap():
    """Compared with a slow version: a loop over all shifts, on the overlap of the two."""
    rng = np.random.default_rng(0)
    a, b = (texture(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8), 20) for _ in range(2))
    height, width = a.shape
    best = -1.0
    for down in range(1 - height, height):
        for right in range(1 - width, width):
            if (height - abs(down)) * (width - abs(right)) < 0.3 * height * width:
                continue
            first = a[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
            second = b[max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)]
            best = max(best, float((first * second).sum() / (first.square().sum() * second.square().sum()).sqrt()))
    assert correlation(a, b) == pytest.approx(best, abs=1e-4)


@pytest.mark.usefixtures("search")
def test_groups_are_transitive(wide):
    """a = b and b = c puts c with a, though a and c overlap too little to be compared."""
    smear = np.concatenate([wide[0], wide[1][:, ::-1]], axis=1)
    images = [crop(smear, 0, 0), crop(smear, 430, 0), crop(smear, 860, 0)]
    assert correlation(texture(images[0], LARGE), texture(images[2], LARGE)) < 0.6
    assert duplicate_groups(images, progress=False) == [0, 0, 0]


@pytest.mark.usefixtures("search")
def test_only_images_of_one_size_are_compared(wide):
    large, small = crop(wide[0], 0, 0), crop(wide[1], 0, 0)[:300, :400]
    assert duplicate_groups([small, large, small, large], progress=False) == [0, 1, 0, 1]
    assert duplicate_groups([large], progress=False) == [0]
    assert duplicate_groups([], progress=False) == []


@pytest.mark.usefixtures("search")
def test_images_of_any_size_and_shape_are_taken():
    rng = np.random.default_rng(0)
    sizes = [(1, 1), (1, 1), (5, 7), (5, 7), (12, 900), (12, 900), (900, 12), (900, 12), (31, 33), (31, 33)]
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    assert duplicate_groups([*images, images[-1]], progress=False)[-3:] == [8, 9, 9]


@pytest.mark.usefixtures("search")
def test_empty_fields_are_not_taken_for_the_same_field():
    plain = [np.full((200, 300, 3), shade, np.uint8) for shade in (200, 210)]
    assert duplicate_groups(plain, progress=False) == [0, 1]


class CountedSize(tuple):
    """A size that counts how often it is compared with another one."""

    compared = 0
    __hash__ = tuple.__hash__

    def __eq__(self, other):
        CountedSize.compared += 1
        return tuple(self) == tuple(other)


def test_the_time_grows_with_the_number_of_sizes_and_not_with_its_square():
    images = [SimpleNamespace(shape=CountedSize((8, width, 3))) for width in range(1000)]
    assert duplicate_groups(images, progress=False) == list(range(1000))
    assert CountedSize.compared < 10_000


def test_members_by_group():
    assert members_by_group([5, 2, 5, 0]) == {5: [0, 2], 2: [1], 0: [3]}
    assert members_by_group([(1, 2), (2, 1), (1, 2)]) == {(1, 2): [0, 2], (2, 1): [1]}
