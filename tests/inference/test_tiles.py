"""Tiles against the whole image, for detectors that see every disc of an image exactly."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from maskrcnn.inference.objects import Objects, joined
from maskrcnn.inference.tiles import detect_in_tiles, merge_tiles, tiles_of

OVERLAP = 30


@given(st.tuples(st.integers(1, 300), st.integers(1, 300)), st.integers(31, 200), st.integers(1, 30))
def test_tiles_cover_the_image_and_overlap(size, side, overlap):
    tiles = tiles_of(size, (side, side), overlap)
    count = np.zeros(size, int)
    for tile in tiles:
        assert tile.bottom - tile.top == min(side, size[0])
        assert tile.right - tile.left == min(side, size[1])
        count[tile.top : tile.bottom, tile.left : tile.right] += 1
    assert count.min() >= 1
    # What is no larger than the overlap lies whole in one of them.
    for axis, (first, last) in enumerate((("top", "bottom"), ("left", "right"))):
        intervals = sorted({(getattr(tile, first), getattr(tile, last)) for tile in tiles})
        assert all(a[1] - b[0] >= overlap for a, b in itertools.pairwise(intervals))
        fewest = 1 if size[axis] <= side else -(-(size[axis] - overlap) // (side - overlap))
        assert len(intervals) == fewest


def test_tiles_must_be_larger_than_their_overlap():
    with pytest.raises(ValueError, match="cannot overlap"):
        tiles_of((100, 100), (30, 30), 30)


def bright(image):
    """Every connected component of bright pixels is an object; its label and score are told by its colour."""
    pixels = image.numpy()
    components, _ = ndimage.label(pixels[0] > 0)
    rows = []
    masks = torch.zeros(components.max(), 1, *components.shape)
    for k, (down, across) in enumerate(ndimage.find_objects(components)):
        inside = components == k + 1
        masks[k, 0][torch.from_numpy(inside)] = float(pixels[0][inside].max())
        label, score = round(float(pixels[1][inside].max()) * 10), float(pixels[2][inside].max())
        rows.append((across.start, down.start, across.stop, down.stop, label, score))
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    order = table[:, 5].argsort(descending=True, stable=True)
    values = {"boxes": table[order, :4], "labels": table[order, 4].long(), "scores": table[order, 5]}
    return Objects.of_result({**values, "masks": masks[order]})


def draw(size, discs):
    """discs: (y, x, radius, label, score), none touching another one."""
    image = np.zeros((3, *size), np.float32)
    rows, columns = np.mgrid[: size[0], : size[1]]
    for y, x, radius, label, score in discs:
        inside = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        around = (rows - y) ** 2 + (columns - x) ** 2 <= (radius + 2) ** 2
        if not image[0][around].any():
            image[:, inside] = np.array([0.9, label / 10, score])[:, None]
    return torch.from_numpy(image)


DISCS = st.lists(
    st.tuples(
        st.integers(0, 199), st.integers(0, 259), st.integers(2, OVERLAP // 2 - 2), st.integers(1, 3),
        st.floats(0.125, 1, width=32),
    ),
    max_size=25,
)  # fmt: skip


@given(DISCS, st.integers(OVERLAP + 5, 150))
@settings(max_examples=150, deadline=None)
def test_an_image_in_tiles_is_the_image_whole_for_cells_smaller_than_the_overlap(discs, side):
    image = draw((200, 260), discs)
    whole, tiled = bright(image), detect_in_tiles(bright, image, (side, side), OVERLAP)
    assert tiled.size == (200, 260)
    assert sorted(as_rows(whole)) == sorted(as_rows(tiled))
    assert (tiled.scores.diff() <= 0).all()


def as_rows(objects):
    """What can be compared: box, class, score, number of pixels of each object."""
    areas = [int(region.mask.sum()) for region in objects.regions()]
    values = zip(objects.boxes.tolist(), objects.labels.tolist(), objects.scores.tolist(), areas, strict=True)
    return [(*box, label, round(score, 5), area) for box, label, score, area in values]


@pytest.mark.parametrize("side", [60, 80, 100, 130])
def test_the_parts_of_a_cell_larger_than_the_overlap_are_joined(side):
    image = draw((200, 260), [(100, 130, 70, 2, 0.75), (20, 20, 8, 1, 0.5)])
    tiled = detect_in_tiles(bright, image, (side, side), OVERLAP)
    assert sorted(as_rows(tiled)) == sorted(as_rows(bright(image)))


def test_an_object_reported_under_two_classes_stays_so():
    image = draw((60, 120), [(30, 60, 10, 1, 0.9)])

    def two_classes(part):
        found = bright(part)
        other = Objects(found.size, found.boxes, found.labels + 1, found.scores / 2, found.patches)
        return Objects(
            found.size,
            torch.cat([found.boxes, other.boxes]), torch.cat([found.labels, other.labels]),
            torch.cat([found.scores, other.scores]), [*found.patches, *other.patches],
        )  # fmt: skip

    tiled = detect_in_tiles(two_classes, image, (60, 80), 40)
    assert tiled.labels.tolist() == [1, 2]


def test_two_cells_that_overlap_in_one_tile_are_two():
    """Only what different tiles show is merged: within a tile the model has decided."""
    boxes = torch.tensor([[10.0, 10, 30, 30], [12, 10, 32, 30]])
    masks = torch.ones(2, 1, 60, 80)
    objects = Objects.of_result(
        {"boxes": boxes, "labels": torch.ones(2).long(), "scores": torch.ones(2), "masks": masks}
    )
    tiles = tiles_of((60, 120), (60, 80), 40)
    merged = merge_tiles([(tiles[0], objects), (tiles[1], objects.select([]))], (60, 120))
    assert len(merged) == 2


def test_without_an_object_there_is_none():
    tiled = detect_in_tiles(bright, torch.zeros(3, 100, 150), (60, 60), OVERLAP)
    assert tiled.result()["masks"].shape == (0, 1, 100, 150)


def test_progress_sees_every_tile():
    seen = []
    detect_in_tiles(bright, torch.zeros(3, 100, 150), (60, 60), OVERLAP, lambda tiles: seen.extend(tiles) or tiles)
    assert seen == tiles_of((100, 150), (60, 60), OVERLAP)


def one(x1, x2, label, score):
    """An object of rows 20 to 59 and these columns, in an image of 80 x 200."""
    masks = torch.zeros(1, 1, 80, 200)
    masks[0, 0, 20:60, x1:x2] = 0.9
    boxes = torch.tensor([[float(x1), 20, x2, 60]])
    return Objects.of_result(
        {"boxes": boxes, "labels": torch.tensor([label]), "scores": torch.tensor([score]), "masks": masks}
    )


LEFT, RIGHT = tiles_of((80, 180), (80, 110), 40)  # columns 0 to 109 and 70 to 179


def merged(left, right):
    return merge_tiles([(LEFT, left), (RIGHT, right)], (80, 180))


def test_a_cut_part_of_another_class_does_not_replace_the_whole_cell():
    found = merged(one(60, 97, 1, 0.8), one(70, 97, 2, 0.9))
    assert found.labels.tolist() == [1]
    assert found.boxes.tolist() == [[60, 20, 97, 60]]


def test_a_poor_detection_does_not_cut_a_large_cell():
    """Cell of columns 50 to 129, larger than the overlap, and in its right part something whole with a low score."""
    right = joined([one(70, 130, 1, 0.98), one(95, 125, 1, 0.06)], (80, 200))
    found = merged(one(50, 110, 1, 0.99), right)
    assert found.boxes[0].tolist() == [50, 20, 130, 60]
    # The same if it contains most of the part.
    right = joined([one(70, 130, 1, 0.98), one(75, 140, 1, 0.06)], (80, 200))
    assert merged(one(50, 110, 1, 0.99), right).boxes[0].tolist() == [50, 20, 130, 60]
