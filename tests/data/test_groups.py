"""Repeated fields, on drawn smears of which the test knows which is a shifted copy of which."""

import numpy as np
import pytest

from data.groups import LARGE, correlation, same_field, texture
from data.smear import draw_smear

SIZE = (720, 576)


@pytest.fixture(scope="module")
def wide() -> list[np.ndarray]:
    """Four smears larger than a picture, to cut pictures from."""
    return [draw_smear(["neutrophil"], np.random.default_rng(k), (1000, 800))[0] for k in range(4)]


def cut(field: np.ndarray, right: int, down: int) -> np.ndarray:
    return field[down : down + SIZE[1], right : right + SIZE[0]]


def photographed_again(picture: np.ndarray, seed: int) -> np.ndarray:
    """With other light, other noise and the camera's dark edge."""
    again = picture * 0.9 + np.random.default_rng(seed).normal(6, 4, picture.shape)
    again[-4:] *= 0.6
    return np.clip(again, 0, 255).astype(np.uint8)


def test_identical_and_shifted_fields_are_found_and_no_others(wide):
    a, b, c, d = wide
    pictures = [
        cut(a, 0, 0),
        cut(b, 10, 10),
        photographed_again(cut(a, 0, 0), 1),  # identical
        cut(c, 0, 0),
        photographed_again(cut(a, 203, 87), 2),  # shifted
        photographed_again(cut(c, 121, 219), 3),
        cut(d, 0, 0),
    ]
    assert same_field(pictures, progress=False) == [0, 1, 0, 2, 0, 2, 3]


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (3, 5), (37, -59), (-211, 102), (280, 0)])
def test_a_shift_by_any_number_of_pixels_hardly_changes_the_correlation(wide, shift):
    """Half of a pixel after shrinking, too."""
    right, down = shift
    place = max(0, -right), max(0, -down)
    one, other = cut(wide[0], *place), photographed_again(cut(wide[0], place[0] + right, place[1] + down), 5)
    assert correlation(texture(one, LARGE), texture(other, LARGE)) > 0.85


def test_different_fields_correlate_little(wide):
    textures = [texture(cut(field, 50, 50), LARGE) for field in wide]
    assert max(correlation(textures[i], textures[j]) for i in range(4) for j in range(i)) < 0.6


def test_correlation_is_that_of_the_overlap():
    """Against a slow one: every shift by a loop, over the part that both show."""
    rng = np.random.default_rng(0)
    a, b = (texture(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8), 20) for _ in range(2))
    height, width = a.shape
    best = -1.0
    for down in range(1 - height, height):
        for right in range(1 - width, width):
            if (height - abs(down)) * (width - abs(right)) < 0.3 * height * width:
                continue
            one = a[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
            other = b[max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)]
            best = max(best, float((one * other).sum() / (one.square().sum() * other.square().sum()).sqrt()))
    assert correlation(a, b) == pytest.approx(best, abs=1e-4)


def test_groups_are_closed_under_what_follows(wide):
    """a = b and b = c puts c with a, though a and c overlap by less than what is compared."""
    field = np.concatenate([wide[0], wide[1][:, ::-1]], axis=1)
    pictures = [cut(field, 0, 0), cut(field, 430, 0), cut(field, 860, 0)]
    assert correlation(texture(pictures[0], LARGE), texture(pictures[2], LARGE)) < 0.6
    assert same_field(pictures, progress=False) == [0, 0, 0]


def test_pictures_of_other_sizes_are_compared_among_themselves(wide):
    large, small = cut(wide[0], 0, 0), cut(wide[1], 0, 0)[:300, :400]
    assert same_field([small, large, small, large], progress=False) == [0, 1, 0, 1]
    assert same_field([large], progress=False) == [0]
    assert same_field([], progress=False) == []


def test_empty_fields_do_not_count_as_the_same():
    plain = [np.full((200, 300, 3), shade, np.uint8) for shade in (200, 210)]
    assert same_field(plain, progress=False) == [0, 1]
