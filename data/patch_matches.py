"""Which of many images could show the same field of view: those that share small patches, equally shifted.

Comparing every pair of 10,000 images over all shifts takes hours. Patches around the most distinct places of each image are
short vectors, and all of them can be compared with all others in a minute. What matches is verified by `duplicates.py`.

Glossary: N textures of H x W pixels; K keypoints in each; a shift is (down, right) in pixels.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from tqdm import tqdm

KEYPOINTS = 40  # per image
SPACING = 7  # pixels between keypoints, at least
PATCH = 17  # pixels on a side; a red cell of LISC is 6 pixels wide in a texture of 96
LENGTH = 32  # of a patch as a vector, after the projection to its principal components
SIMILAR = 0.94  # cosine of two patches
CENTRES, NEAREST = 256, 3  # patches are compared that are near to the same one of so many
MIN_MEMBERS = 16  # patches per centre
MIN_MATCHES = 2  # patches that agree on a shift
AGREE = 4  # pixels by which their shifts may differ
MAX_SHIFT = 1024
MAX_PARTNERS = 100  # similar patches of one patch that count
MAX_TABLE = 2**24  # pairs of patches that are compared in one step
SLICE, CHUNK = 500, 128  # images whose matches are looked at together, whose patches are in memory at a time


def possible_pairs(textures: Tensor, progress: bool = True) -> NDArray[np.int64]:
    """[P, 4]: pairs i < j of textures [N, H, W] that share patches, and the shift (down, right) of j in i on which most of
    these agree."""
    if min(textures.shape[1:]) <= PATCH:
        return np.zeros((0, 4), np.int64)
    places = keypoints(textures)  # [N, K, 2]
    vectors = patch_vectors(textures, places).flatten(0, 1)  # [N * K, LENGTH]
    first, second = similar_patches(vectors, progress)
    order = np.argsort(first)
    first, second = first[order], second[order]
    places = places.flatten(0, 1)
    found = []
    for image in range(0, len(textures), SLICE):
        begin, end = np.searchsorted(first, np.multiply((image, image + SLICE), KEYPOINTS))
        a, b = first[begin:end], second[begin:end]
        images_of = (a // KEYPOINTS).astype(np.int64), (b // KEYPOINTS).astype(np.int64)
        found.append(agreeing(*images_of, (places[a] - places[b]).numpy()))
    return np.concatenate(found)


def similar_patches(vectors: Tensor, progress: bool = True) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """[M], [M]: the numbers of similar patches of two images, the first in the earlier one, each pair once.

    As in an inverted file (Jegou et al. 2011, IV): a patch is compared with those that have its nearest centre among their
    three nearest. The centres are patches themselves.
    """
    count = min(CENTRES, max(1, len(vectors) // MIN_MEMBERS))
    centres = vectors[torch.linspace(0, len(vectors) - 1, count).long()]
    nearest = torch.cat([(part @ centres.T).topk(min(NEAREST, count)).indices for part in vectors.split(65_536)])
    found = []
    for centre in tqdm(range(count), "comparing patches of fields", disable=None if progress else True, leave=False):
        ours = (nearest[:, 0] == centre).nonzero()[:, 0]
        others = (nearest == centre).any(dim=1).nonzero()[:, 0]
        for part in ours.split(max(1, MAX_TABLE // max(1, len(others)))):
            similar = vectors[part] @ vectors[others].T > SIMILAR
            similar &= others // KEYPOINTS > (part // KEYPOINTS)[:, None]
            # Of many images of one field each is compared with the next ones only; together they are one group as well.
            similar &= similar.cumsum(dim=1, dtype=torch.int32) <= MAX_PARTNERS
            a, b = similar.nonzero().T
            found.append(torch.stack([part[a], others[b]]).int())
    first, second = torch.cat(found, dim=1).numpy()
    return first, second


def keypoints(textures: Tensor) -> Tensor:
    """[N, K, 2]: row and column of the darkest and brightest spots that are farthest from grey, with room for a patch."""
    return torch.cat([_keypoints(part) for part in textures.split(CHUNK)])


def _keypoints(textures: Tensor) -> Tensor:
    spots = torch.from_numpy(np.abs(ndimage.gaussian_filter(textures.numpy(), (0, 2, 2))))
    highest = F.max_pool2d(spots[:, None], SPACING, 1, SPACING // 2)[:, 0]
    inner = torch.zeros_like(spots)
    edge = PATCH // 2
    inner[:, edge:-edge, edge:-edge] = 1
    _, index = (spots * (spots == highest) * inner + 1e-6 * inner).flatten(1).topk(KEYPOINTS)
    return torch.stack([index // spots.shape[2], index % spots.shape[2]], dim=-1)


def patch_vectors(textures: Tensor, places: Tensor) -> Tensor:
    """[N, K, LENGTH]: the patches around places [N, K, 2], without their mean, of length 1, in the directions in which
    patches of these images differ most."""
    some = torch.linspace(0, len(textures) - 1, min(len(textures), CHUNK)).long()
    sample = _patches(textures[some], places[some]).flatten(0, 1)
    directions = torch.linalg.eigh(sample.T @ sample).eigenvectors[:, -LENGTH:]
    chunks = zip(textures.split(CHUNK), places.split(CHUNK), strict=True)
    return torch.cat([F.normalize(_patches(*chunk) @ directions, dim=-1) for chunk in chunks])


def _patches(textures: Tensor, places: Tensor) -> Tensor:
    """[N, K, PATCH ** 2], without their mean and of length 1."""
    smooth = torch.from_numpy(ndimage.gaussian_filter(textures.numpy(), (0, 1, 1)))
    offsets = torch.arange(PATCH) - PATCH // 2
    rows = places[..., 0, None, None] + offsets[:, None]
    columns = places[..., 1, None, None] + offsets
    patches = smooth[torch.arange(len(textures))[:, None, None, None], rows, columns].flatten(2)
    return F.normalize(patches - patches.mean(dim=-1, keepdim=True), dim=-1)


def agreeing(first: NDArray[np.int64], second: NDArray[np.int64], shifts: NDArray[np.int64]) -> NDArray[np.int64]:
    """[P, 4]: the pairs of images, among matches [M] of their patches, of which MIN_MATCHES have nearly the same shift
    [M, 2], and the mean of these. Of several such shifts, that of most matches."""
    rows = []
    for offset in (0, AGREE // 2):  # shifts beside the edge of a bin are together in one of the two
        bins = (shifts + offset + MAX_SHIFT) // AGREE
        images = first * (second.max(initial=0) + 1) + second
        keys = (images * 2 * MAX_SHIFT + bins[:, 0]) * 2 * MAX_SHIFT + bins[:, 1]
        _, index, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        means = [(np.bincount(inverse, shifts[:, k], len(counts)) / counts).round() for k in (0, 1)]
        enough = counts >= MIN_MATCHES
        pairs = (first[index], second[index], *means, counts)
        rows.append(np.stack([column[enough].astype(np.int64) for column in pairs], axis=1))
    found = np.concatenate(rows)
    found = found[np.lexsort((-found[:, 4], found[:, 1], found[:, 0]))]
    best = np.ones(len(found), bool)  # the first row of each pair
    best[1:] = (found[1:, :2] != found[:-1, :2]).any(axis=1)
    return found[best, :4]
