import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from data.records import RunLengths, Shape
from data.shapes import decode_runs, ellipse, encode_runs, fill, parse_counts, polygon, rasterize, rectangle

SIZE = (48, 64)
masks = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def pixels(rings, size=SIZE) -> np.ndarray:
    """The whole mask of one cell of these outlines and holes."""
    region = rasterize(Shape("a", (tuple(rings),)), size)
    mask = np.zeros(size, bool)
    if region:
        mask[region.slices] = region.mask
    return mask


def iou(first, second) -> float:
    return (first & second).sum() / (first | second).sum()


def inside(x: float, y: float, rings) -> bool:
    """By a ray to the right, one edge after another."""
    crossings = 0
    for ring in rings:
        for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]]):
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
                crossings += 1
    return crossings % 2 == 1


@pytest.mark.parametrize("seed", range(8))
def test_a_polygon_covers_the_pixels_whose_centres_are_inside(seed):
    """Self-intersecting outlines, holes and corners outside the image included."""
    rng = np.random.default_rng(seed)
    rings = [rng.uniform(-3, 13, (rng.integers(3, 7), 2)) for _ in range(1 + seed % 2)]
    expected = [[inside(x + 0.5, y + 0.5, rings) for x in range(12)] for y in range(10)]
    assert (fill(rings, (10, 12)) == np.array(expected)).all()
    assert (pixels(rings, (10, 12)) == np.array(expected)).all()


@pytest.mark.parametrize("seed", range(5))
def test_a_polygon_is_that_of_pycocotools_up_to_its_edge(seed):
    rng = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = rng.uniform(16, 20, 24)
    ring = np.stack([32 + radius * np.cos(angles), 24 + radius * np.sin(angles)], axis=1)
    theirs = coco_mask.decode(coco_mask.frPyObjects([ring.ravel().tolist()], *SIZE))[..., 0] > 0
    assert iou(pixels([ring]), theirs) > 0.95


def test_whole_coordinates_are_the_edges_of_pixels():
    mask = pixels([rectangle(10, 20, 3, 2)])
    assert np.argwhere(mask).tolist() == [[y, x] for y in (20, 21) for x in (10, 11, 12)]


def test_an_inner_ring_is_a_hole_and_several_polygons_are_a_union():
    outer, inner = rectangle(10, 10, 20, 20), rectangle(15, 15, 10, 10)
    assert pixels([outer, inner]).sum() == 400 - 100
    both = rasterize(Shape("a", ((outer,), (inner,), (rectangle(40, 10, 5, 4),))), SIZE)
    assert (both.mask.sum(), both.box) == (400 + 20, (10, 10, 45, 30))


def test_what_reaches_over_the_edge_is_cut_off():
    mask = pixels([rectangle(-5, -4, 10, 8)])
    assert mask.sum() == 5 * 4
    assert mask[:4, :5].all()
    assert pixels([rectangle(60, 40, 8, 16)]).sum() == 4 * 8


@pytest.mark.parametrize("place", [(64, 48), (32, 48), (0, 0)])
def test_a_circle_whose_centre_is_on_the_edge_is_cut_off(place):
    visible = 1 / 4 if place != (32, 48) else 1 / 2
    assert pixels([ellipse(*place, 12, 12)]).sum() == pytest.approx(visible * np.pi * 12**2, rel=0.05)


@pytest.mark.parametrize("place", [(-30, 10), (70, 10), (10, -30), (10, 50), (62, 10), (10, -8), (61, 45), (90, 70)])
def test_a_shape_outside_the_image_or_nearly_is_refused(place):
    with pytest.raises(ValueError, match="outside the image of 64 x 48"):
        rasterize(Shape("a", ((rectangle(*place, 10, 10),),)), SIZE)


def test_a_shape_without_the_centre_of_a_pixel_has_no_region():
    assert rasterize(Shape("a", ((rectangle(10.6, 10, 0.3, 20),),)), SIZE) is None


def test_the_area_of_a_circle_is_pi_r_squared():
    assert pixels([ellipse(32, 24, 20, 20)]).sum() == pytest.approx(np.pi * 20**2, rel=0.01)


@pytest.mark.parametrize("theta", [0, 0.5, -1.2, np.pi / 2])
def test_an_ellipse_is_turned_from_x_towards_y(theta):
    y, x = np.mgrid[:48, :64] + 0.5
    along = (x - 30) * np.cos(theta) + (y - 25) * np.sin(theta)
    across = -(x - 30) * np.sin(theta) + (y - 25) * np.cos(theta)
    assert iou(pixels([ellipse(30, 25, 20, 8, theta)]), (along / 20) ** 2 + (across / 8) ** 2 <= 1) > 0.98


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[1, 2], [3, 4]], "a polygon of 2 points"),
        ([[1, 2], [3, 4], [1, 2]], "a polygon of 2 points"),  # the last one closes it
        ([], "a polygon of 0 points"),
        ([1, 2, 3, 4, 5, 6, 7], "7 coordinates"),
        ([[1, 2], [3, float("nan")], [5, 6]], "not a number"),
        ([[1, 2], [3, None], [5, 6]], "not a number"),
        ([[1, 2], [3, 1e300], [5, 6]], "far outside"),
        ([[1, 2], [3, 10**400], [5, 6]], "not numbers"),
        ([[1, 2], [3], [5, 6]], "not numbers"),
        ([["a", 2], [3, 4], [5, 6]], "not numbers"),
        ([[1], [2], [3]], "pairs of x and y"),
        ([[[1, 2], [3, 4], [5, 6]]], "pairs of x and y"),
        (7, "pairs of x and y"),
    ],
)
def test_what_is_no_polygon_is_refused(points, message):
    with pytest.raises(ValueError, match=message):
        polygon(points)


@pytest.mark.parametrize("value", [None, "a", [1], float("nan"), float("inf"), 10**400])
def test_a_circle_needs_numbers(value):
    for arguments in ((value, 1, 2, 2), (1, 1, value, 2)):
        with pytest.raises(ValueError, match="not a number"):
            ellipse(*arguments)
        with pytest.raises(ValueError, match="not a number"):
            rectangle(*arguments)


@given(masks)
def test_run_lengths_are_those_of_pycocotools(mask):
    runs = encode_runs(mask)
    uncompressed = {"size": list(mask.shape), "counts": runs.counts.tolist()}
    compressed = coco_mask.frPyObjects(uncompressed, *mask.shape)
    assert (coco_mask.decode(compressed) == mask).all()
    assert parse_counts(compressed["counts"].decode()).tolist() == runs.counts.tolist()
    assert (decode_runs(runs) == mask).all()


def test_long_run_lengths_have_several_letters():
    mask = np.zeros((300, 400), bool)
    mask[40:200, 30:350] = True
    mask[100, 100:300] = False
    counts = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    region = rasterize(Shape("a", (), RunLengths(300, 400, parse_counts(counts))), (300, 400))
    assert region.box == (30, 40, 350, 200)
    assert (region.mask == mask[40:200, 30:350]).all()


@pytest.mark.parametrize("counts", [[10, 20], [10, 20, 7], [40, -10, 6], [2**62, 2**62, 2**62, 2**62, 36], []])
def test_run_lengths_that_do_not_fill_the_mask_are_refused(counts):
    """The fourth one does in 64 bits."""
    with pytest.raises(ValueError, match="add up to"):
        decode_runs(RunLengths(4, 9, np.array(counts, np.int64)))


@pytest.mark.parametrize(
    ("text", "message"),
    [("1o", "cut short"), ("a b", "compressed string"), ("o" * 40, "compressed string"), ("ä", "ascii")],
)
def test_what_is_no_compressed_string_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_counts(text)


def test_run_lengths_of_another_size_are_refused():
    with pytest.raises(ValueError, match="its mask is 9 x 4, the image 64 x 48"):
        rasterize(Shape("a", (), RunLengths(4, 9, np.array([36]))), SIZE)
