"""Patches that images share, against slow versions, and on smears of which the tests know which show the same field."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from data.duplicates import SMALL, texture
from data.patch_matches import (
    AGREE,
    CENTRES,
    KEYPOINTS,
    MIN_MATCHES,
    PATCH,
    SIMILAR,
    SPACING,
    agreeing,
    keypoints,
    patch_vectors,
    possible_pairs,
    similar_patches,
)
from data.synthetic.smear import draw_smear


@pytest.fixture(scope="module")
def smears() -> list[np.ndarray]:
    return [draw_smear(["neutrophil"], np.random.default_rng(k), (900, 700))[0] for k in range(6)]


def test_pairs_of_one_field_are_found_with_their_shift_and_few_others(smears):
    """Images of 720 x 576 pixels, each twice: shifted by (right, down), lighter and with noise."""
    rng = np.random.default_rng(0)
    shifts = [(0, 0), (30, 7), (75, 60), (150, 15), (15, 105), (180, 124)]
    images = []
    for smear, (right, down) in zip(smears, shifts):
        images.append(smear[:576, :720])
        again = smear[down : down + 576, right : right + 720] * 0.95 + rng.normal(0, 4, (576, 720, 3))
        images.append(np.clip(again, 0, 255).astype(np.uint8))
    found = possible_pairs(torch.stack([texture(image, SMALL) for image in images]), progress=False)
    assert (found[:, 0] < found[:, 1]).all()
    assert len({(i, j) for i, j, _, _ in found.tolist()}) == len(found)
    by_pair = {(i, j): shift for i, j, *shift in found.tolist()}
    for k, (right, down) in enumerate(shifts):
        # The second image shows what is further right and down in the first; its texture is 706 / 96 times smaller.
        expected = np.array([down, right]) * SMALL / 706
        assert np.abs(np.array(by_pair[2 * k, 2 * k + 1]) - expected).max() <= 1.5
    assert len(found) - len(shifts) < 0.1 * len(images) ** 2 / 2


def test_keypoints_are_apart_and_have_room_for_a_patch(smears):
    textures = torch.stack([texture(smear, SMALL) for smear in smears[:3]])
    places = keypoints(textures)
    assert places.shape == (3, KEYPOINTS, 2)
    limits = torch.tensor(textures.shape[1:]) - PATCH // 2
    assert (places >= PATCH // 2).all()
    assert (places < limits).all()
    for of_image in places[:, : KEYPOINTS // 2]:  # the strongest ones; an image may have fewer than KEYPOINTS
        distances = (of_image[:, None] - of_image).abs().amax(dim=2).fill_diagonal_(99)
        assert distances.min() > SPACING // 2


def test_a_patch_keeps_its_vector_in_other_light(smears):
    textures = torch.stack([texture(smear, SMALL) for smear in smears])
    places = keypoints(textures)
    vectors = patch_vectors(textures, places)
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(len(smears), KEYPOINTS), atol=1e-5)
    both = patch_vectors(torch.cat([textures, 3 * textures]), torch.cat([places, places]))
    assert torch.allclose(both[: len(smears)], both[len(smears) :], atol=1e-4)


def test_nearly_all_similar_patches_are_found_each_once_and_no_others():
    """Against all pairs: vectors around 30 directions, closely or loosely."""
    generator = torch.Generator().manual_seed(0)
    images = 60
    directions = torch.randn(30, 8, generator=generator)
    spread = torch.rand(images * KEYPOINTS, 1, generator=generator)
    near = directions[torch.randint(30, (images * KEYPOINTS,), generator=generator)]
    vectors = F.normalize(near + spread * torch.randn(near.shape, generator=generator), dim=-1)
    first, second = similar_patches(vectors, progress=False)
    found = list(zip(first.tolist(), second.tolist()))
    assert len(found) == len(set(found))
    similar = (vectors @ vectors.T > SIMILAR).numpy()
    image_of = np.arange(len(vectors)) // KEYPOINTS
    every = set(map(tuple, np.argwhere(similar & (image_of[:, None] < image_of)).tolist()))
    assert set(found) <= every
    assert len(found) > 0.8 * len(every)
    assert len(vectors) > 4 * CENTRES


def test_matches_agree_if_their_shifts_are_nearly_the_same():
    """Against a loop: of each pair of images the shifts in one bin, with bins begun at 0 or in their middle."""
    rng = np.random.default_rng(0)
    count = 400
    first = rng.integers(0, 6, count)
    second = first + rng.integers(1, 6, count)
    shifts = rng.integers(-20, 20, (count, 2))
    found = {(i, j): (down, right) for i, j, down, right in agreeing(first, second, shifts).tolist()}
    expected = {}
    for pair in set(zip(first.tolist(), second.tolist())):
        of_pair = shifts[(first == pair[0]) & (second == pair[1])]
        bins = [[s for s in of_pair if ((s + o) // AGREE == b).all()]
                for o in (0, AGREE // 2) for b in np.unique((of_pair + o) // AGREE, axis=0)]  # fmt: skip
        largest = max(map(len, bins))
        if largest >= MIN_MATCHES:
            expected[pair] = [tuple(np.mean(b, axis=0).round().astype(int).tolist()) for b in bins if len(b) == largest]
    assert found.keys() == expected.keys()
    assert all(found[pair] in expected[pair] for pair in found)
    assert 5 < len(found) < 30


def test_no_matches_and_tiny_textures_are_no_pairs():
    none = np.zeros(0, np.int64)
    assert agreeing(none, none, np.zeros((0, 2), np.int64)).shape == (0, 4)
    assert possible_pairs(torch.zeros(5, PATCH, 96), progress=False).shape == (0, 4)
    assert len(possible_pairs(torch.zeros(5, 72, 96), progress=False)) == 0
