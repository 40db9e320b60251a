"""From numbers to cells. Areas, classes and nuclei are those of rectangles drawn here."""

import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy import ndimage

from data.formats.lisc import GREY_CODES
from data.mask_kinds import BINARY, CLASSES, CODES, COLOURS, INSTANCES, kind_of_mask
from data.mask_values import MaskValues
from data.masks import MaskError, cells_of_mask, class_by_exact_code, looks_merged, nucleus
from maskrcnn.regions import region_of

NAMES = ("disc", "sickle", "target")


def rectangles(*corners, size=(96, 120), greys=None) -> np.ndarray:
    """Corners x1, y1, x2, y2; x2 and y2 are past the end. Each rectangle has its own grey."""
    mask = np.zeros(size, np.int64)
    for grey, (x1, y1, x2, y2) in zip(greys or range(8, 99), corners):
        mask[y1:y2, x1:x2] = grey
    return mask


def cells(values: np.ndarray, kind: str = BINARY, has_class: bool = True, names=NAMES):
    return cells_of_mask(MaskValues(values, "greys"), kind, has_class, names).cells


def boxes(values: np.ndarray, kind: str = BINARY, **options):
    return [cell.region.box for cell in cells(values, kind, **options)]


def test_diagonal_neighbours_are_one_cell_and_a_gap_of_one_pixel_makes_two():
    assert boxes(rectangles((0, 0, 10, 10), (10, 10, 20, 20))) == [(0, 0, 20, 20)]
    assert boxes(rectangles((0, 0, 10, 10), (11, 0, 21, 10))) == [(0, 0, 10, 10), (11, 0, 21, 10)]


@given(arrays(np.int64, (9, 12), elements=st.sampled_from([0, 0, 0, 1])))
def test_cells_of_a_binary_mask_are_what_a_walk_over_its_pixels_finds(mask):
    mask[0] = mask[-1] = 0  # neither a frame nor inverted, and no outlines: they have tests of their own
    mask[:, 6] = 0
    mask[3:6, 1:4] = mask[3:6, 8:11] = 1
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask))}
    expected = []
    while left:
        part, edge = set(), {min(left)}
        while edge:
            part |= edge
            near = {(y + dy, x + dx) for y, x in edge for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
            edge = near & left - part
        left -= part
        expected.append(part)
    found = []
    for cell in cells(mask):
        rows, columns = np.nonzero(cell.region.mask)
        found.append({(int(y) + cell.region.top, int(x) + cell.region.left) for y, x in zip(rows, columns)})
    assert sorted(map(min, found)) == sorted(map(min, expected))
    assert all(part in expected for part in found)


def ring(count: int, radius: int) -> np.ndarray:
    """Discs that touch, around a piece of background."""
    distance = (radius + 0.5) / np.sin(np.pi / count)
    angles = 2 * np.pi * np.arange(count) / count
    whole = [disc(90 + distance * np.cos(a), 90 + distance * np.sin(a), radius + 1, (180, 180)) for a in angles]
    return np.any(whole, axis=0)


@pytest.mark.parametrize(
    ("radius", "thickness"), [(8, 2), (18, 2), (8, 3), (9, 3), (11, 3), (14, 3), (30, 5), (30, 8), (45, 8)]
)
def test_closed_outlines_of_any_thickness_are_filled(radius, thickness):
    """Those of which little more than a third is line are drawn cells with a hole."""
    cell = disc(48, 48, radius + 0.1)
    outline = cell & ~ndimage.binary_erosion(cell, iterations=thickness)
    found = cells_of_mask(MaskValues(outline * 255, "greys"), BINARY, True, NAMES)
    assert found.remarks == ["1 outlines are filled"]
    assert [int(each.region.mask.sum()) for each in found.cells] == [cell.sum()]


def test_an_outline_around_a_nucleus_is_filled_around_it():
    outline = disc(48, 48, 30) & ~disc(48, 48, 27)
    [cell] = cells(np.where(disc(48, 48, 12), 255, outline * 128))
    assert cell.region.mask.sum() == disc(48, 48, 30).sum()
    assert cell.nucleus
    assert cell.nucleus.mask.sum() == disc(48, 48, 12).sum()


@pytest.mark.parametrize("count", [6, 8])
def test_a_ring_of_cells_that_touch_is_not_filled(count):
    clump = ring(count, radius=14)
    assert ndimage.label(clump, np.ones((3, 3)))[1] == 1
    [cell] = cells(clump * 255)
    assert cell.region.mask.sum() == clump.sum()


@pytest.mark.parametrize("kind", [BINARY, INSTANCES, CLASSES])
def test_the_void_around_cells_that_are_not_numbered_is_none(kind):
    """As in Pascal VOC: 1 is a cell, and 255 its rim."""
    mask = np.zeros((96, 120), np.int64)
    insides = [disc(20, 20, 12), disc(60, 20, 12), disc(60, 60, 18)]
    for inside in insides:
        mask[ndimage.binary_dilation(inside)] = 255
    mask[np.any(insides, axis=0)] = 1
    expected = [int(np.sum(insides))] if kind == INSTANCES else [int(inside.sum()) for inside in insides]
    assert [int(cell.region.mask.sum()) for cell in cells(mask, kind)] == expected


@pytest.mark.parametrize("kind", [INSTANCES, COLOURS])
def test_every_number_is_a_cell_touching_or_not(kind):
    mask = rectangles((0, 0, 10, 10), (10, 0, 20, 10), (50, 50, 60, 60), greys=(3, 7, 1_000_000))
    assert boxes(mask, kind) == [(0, 0, 10, 10), (10, 0, 20, 10), (50, 50, 60, 60)]


def test_a_number_of_several_large_parts_is_one_cell_with_a_remark():
    mask = rectangles((0, 0, 10, 10), (50, 50, 60, 60), (80, 0, 90, 10), greys=(1, 1, 2))
    found = cells_of_mask(MaskValues(mask, "greys"), INSTANCES, True, NAMES)
    assert [cell.region.box for cell in found.cells] == [(0, 0, 60, 60), (80, 0, 90, 10)]
    assert "--mask-kind class-indices" in found.remarks[0]


def test_a_line_of_void_around_cells_of_any_number_is_none():
    mask = rectangles((9, 9, 41, 41), (10, 10, 25, 40), (26, 10, 40, 40), greys=(255, 60, 200))
    assert boxes(mask, INSTANCES) == [(10, 10, 25, 40), (26, 10, 40, 40)]


@pytest.mark.parametrize(
    ("kind", "others"), [(INSTANCES, (60, 300)), (INSTANCES, (60, 254)), (COLOURS, (1, 255 * 256))]
)
def test_a_thin_cell_of_number_255_stays_where_255_is_a_number_among_others(kind, others):
    """Thin as what others leave of a cell that they hide. Among colours 255 is red."""
    mask = rectangles((5, 5, 7, 12), (20, 10, 50, 40), (50, 10, 80, 40), greys=(255, *others))
    assert sorted(boxes(mask, kind)) == [(5, 5, 7, 12), (20, 10, 50, 40), (50, 10, 80, 40)]


def test_colours_of_classes_are_one_cell_each_with_the_remedy():
    red, green = 255, 255 * 256
    mask = rectangles((0, 0, 10, 10), (50, 50, 60, 60), (80, 0, 90, 10), greys=(red, red, green))
    found = cells_of_mask(MaskValues(mask, "colours"), COLOURS, True, NAMES)
    assert [cell.region.box for cell in found.cells] == [(0, 0, 60, 60), (80, 0, 90, 10)]
    assert "write the number of the class in its place" in found.remarks[0]
    with pytest.raises(MaskError, match=r"has colours, and no numbers.* write the number of the class in its place"):
        cells_of_mask(MaskValues(mask, "colours"), CLASSES, True, NAMES)


def test_class_indices_of_a_grey_palette_are_its_indices():
    indices = rectangles((0, 0, 10, 10), (50, 50, 60, 60), greys=(1, 3))
    found = cells_of_mask(MaskValues(indices * 80, "greys", indices), CLASSES, False, NAMES)
    assert [cell.label for cell in found.cells] == ["disc", "target"]


@pytest.mark.parametrize(("cytoplasm", "inner"), [(255, 255 * 256), (255 * 256, 255)])
def test_cytoplasm_and_nucleus_in_two_colours_are_one_cell_with_a_nucleus(cytoplasm, inner):
    mask = rectangles((10, 10, 40, 40), (18, 20, 30, 34), greys=(cytoplasm, inner))
    [cell] = cells_of_mask(MaskValues(mask, "colours"), BINARY, True, NAMES).cells
    assert (cell.region.box, cell.nucleus.box) == ((10, 10, 40, 40), (18, 20, 30, 34))


@pytest.mark.parametrize("colours", [(255, 255 * 256), (255 * 256, 255), (40, 90 * 65536), (255 * 65536, 128)])
@pytest.mark.parametrize("rim", [1, 2])
def test_a_thin_rim_in_another_colour_belongs_to_the_cell(colours, rim):
    mask = rectangles((10, 10, 40, 40), (10 + rim, 10 + rim, 40 - rim, 40 - rim), greys=colours)
    [cell] = cells_of_mask(MaskValues(mask, "colours"), BINARY, True, NAMES).cells
    assert cell.region.mask.sum() == 900


def through_jpeg(values: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)).astype(np.int64)


@pytest.mark.parametrize("greys", [(100, 255), (128, 255), (75, 100), (200, 255), (255, 255)])
@pytest.mark.parametrize("quality", [75, 90])
@pytest.mark.parametrize("radius", [8, 12, 16])
@pytest.mark.parametrize("part", [0.5, 0.7])
def test_small_cells_are_whole_also_after_jpeg(greys, quality, radius, part):
    drawn = disc(30, 40, radius) | disc(85, 47, radius)
    inner = disc(30, 40, part * radius) | disc(85, 47, part * radius)
    values = through_jpeg(np.where(inner, greys[1], drawn * greys[0]), quality)
    found = cells(values, kind_of_mask(MaskValues(values, "greys"), BINARY))
    assert len(found) == 2
    assert sum(int(cell.region.mask.sum()) for cell in found) == pytest.approx(drawn.sum(), rel=0.04)


@pytest.mark.parametrize(("line", "inside"), [((255, 0, 0), (0, 255, 0)), ((0, 255, 0), (255, 0, 0))])
def test_boundaries_in_a_colour_of_their_own_are_refused(line, inside):
    outer, inner = (red + 256 * green + 65536 * blue for red, green, blue in (line, inside))
    mask = rectangles((10, 10, 40, 40), (12, 12, 24, 38), (26, 12, 38, 38), greys=(outer, inner, inner))
    with pytest.raises(MaskError, match=re.escape(f"the colour {line} is nowhere thick")):
        cells_of_mask(MaskValues(mask, "colours"), COLOURS, True, NAMES)


@pytest.mark.parametrize("kind", [BINARY, INSTANCES, COLOURS])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_photograph_is_refused(kind, channels):
    """Noise on a white background that the camera has cut off, as of a smear."""
    noise = np.random.default_rng(0).normal(250, 30, (96, 120, channels)).clip(1, 255).astype(np.int64)
    photograph = noise @ np.array([1, 256, 65536])[:channels]
    with pytest.raises(MaskError, match="is a photograph, not a mask"):
        cells(photograph, kind)


def test_many_cells_all_over_the_image_are_no_photograph():
    """Numbers of cells in a tissue without gaps: squares of 4 pixels."""
    numbers = np.kron(np.arange(1, 721).reshape(24, 30), np.ones((4, 4), np.int64))
    assert len(cells(numbers, INSTANCES)) == 720


def disc(x: float, y: float, radius: float, size=(96, 120)) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


@pytest.mark.parametrize("distance", [34, 40, 49])
def test_discs_that_touch_look_merged(distance):
    assert looks_merged(region_of(disc(30, 40, 25) | disc(30 + distance, 40, 25)))
    assert looks_merged(region_of(disc(30, 40, 25) | disc(79, 40, 20) | disc(30, 85, 8)))


@pytest.mark.parametrize(
    "cell",
    [
        disc(50, 48, 30),
        disc(50, 48, 30) & ~disc(50, 48, 20),  # an outline or a cell with a hole
        disc(50, 48, 30) & ~disc(85, 48, 22),  # dented by a neighbour
        disc(40, 48, 25) | disc(76, 48, 12),  # a bud or a platelet
        disc(40, 48, 25) | disc(67, 48, 18),  # pear-shaped, almost without a neck
        disc(40, 48, 4) | disc(47, 48, 4),  # too small to tell
        disc(40, 48, 25) | disc(50, 48, 25),  # an oval
    ],
)
def test_one_cell_does_not_look_merged(cell):
    assert not looks_merged(region_of(cell))


def test_class_indices_tell_the_class_and_those_beyond_the_names_are_refused():
    mask = rectangles((0, 0, 10, 10), (10, 0, 20, 10), (50, 50, 60, 60), greys=(1, 3, 3))
    assert [cell.label for cell in cells(mask, CLASSES, has_class=False)] == ["disc", "target", "target"]
    with pytest.raises(MaskError, match=r"has the value 3, but there are 2 classes \(disc, sickle\)"):
        cells(mask, CLASSES, names=NAMES[:2])
    with pytest.raises(MaskError, match="has the values 42, 126, and these are not the numbers of classes; write 1"):
        cells(mask * 42, CLASSES)


def test_the_nucleus_is_above_the_middle_of_the_greys_and_not_on_it():
    def of(*greys: int):
        values = np.array([greys])
        region, everywhere = region_of(values > 0), np.ones(values.shape, bool)
        found = nucleus(values, region, everywhere)
        return found and found.box

    assert of(100, 100, 150, 200, 200) == (3, 0, 5, 1)
    assert of(100, 100, 151, 200, 200) == (2, 0, 5, 1)
    assert of(100, 100, 100, 114, 114) is None  # too little contrast
    assert of(100, 100, 100, 115, 115) == (3, 0, 5, 1)


@pytest.mark.parametrize("greys", [(255, 128), (128, 255), (2, 1), (1, 2)])
def test_the_nucleus_is_what_is_enclosed(greys):
    mask = rectangles((10, 10, 40, 40), (18, 20, 30, 34), (60, 10, 90, 40), (68, 20, 80, 34), greys=greys * 2)
    assert [cell.nucleus and cell.nucleus.box for cell in cells(mask)] == [(18, 20, 30, 34), (68, 20, 80, 34)]


@pytest.mark.parametrize("quality", [85, 95])
def test_a_dark_nucleus_is_what_is_enclosed_also_after_jpeg(quality):
    values = through_jpeg(np.where(disc(50, 48, 9), 128, disc(50, 48, 20) * 255), quality)
    [cell] = cells(values)
    assert cell.nucleus
    assert cell.nucleus.mask.sum() == pytest.approx(disc(50, 48, 9).sum(), rel=0.04)


def test_cytoplasm_at_one_side_of_a_nucleus_that_nearly_fills_the_cell_is_no_nucleus():
    [cell] = cells(np.where(disc(46, 48, 27), 150, disc(50, 48, 30) * 125))
    assert cell.nucleus
    assert cell.nucleus.mask.sum() == disc(46, 48, 27).sum()


def test_a_grey_is_the_class_only_if_both_codes_are_there_and_no_other():
    for name, codes in GREY_CODES.items():
        assert class_by_exact_code(np.array(codes)) == name
        assert class_by_exact_code(np.array([*codes, 99])) is None
    for plain in (255, 200, 150, 100):  # one grey, as most programs write masks
        assert class_by_exact_code(np.array([plain, plain])) is None


@pytest.mark.parametrize("name", GREY_CODES)
def test_codes_tell_class_and_nucleus(name):
    cytoplasm, inner = GREY_CODES[name]
    mask = rectangles((10, 10, 40, 40), (18, 20, 30, 34), greys=(cytoplasm, inner))
    [cell] = cells(mask, CODES, has_class=False)
    assert (cell.label, cell.grey_label, cell.region.box) == (name, name, (10, 10, 40, 40))
    assert (cell.nucleus and cell.nucleus.box) == (None if name == "basophil" else (18, 20, 30, 34))
    assert cells(mask, CODES)[0].label is None  # what a folder says is not what the mask says


def test_touching_cells_of_two_classes_are_apart_and_slips_of_the_pen_belong_to_their_cell():
    mask = rectangles((10, 10, 40, 40), (40, 10, 70, 40), (20, 20, 24, 23), (60, 30, 72, 31), greys=(125, 225, 50, 175))
    found = cells(mask, CODES, has_class=False)
    assert [(cell.label, cell.region.box) for cell in found] == [
        ("lymphocyte", (10, 10, 40, 40)),
        ("neutrophil", (40, 10, 72, 40)),
    ]
    assert [int(cell.region.mask.sum()) for cell in found] == [900, 902]


def test_a_small_cell_beside_large_ones_is_no_slip():
    """54 pixels of 900: a lymphocyte that is nearly hidden."""
    mask = rectangles((10, 10, 40, 40), (70, 10, 100, 40), (40, 20, 70, 23), greys=(225, 225, 125))
    assert [cell.label for cell in cells(mask, CODES, has_class=False)] == ["neutrophil", "neutrophil", "lymphocyte"]


@pytest.mark.parametrize("greys", [(10, 20), (60, 110), (255, 255), (300, 125)])
def test_greys_that_are_no_codes_are_refused_where_they_tell_the_class(greys):
    mask = rectangles((10, 10, 40, 40), (50, 10, 80, 40), greys=greys)
    with pytest.raises(MaskError, match="--mask-kind class-indices"):
        cells(mask, CODES, has_class=False)
    with pytest.raises(MaskError, match="says nothing about classes"):
        cells(mask, BINARY, has_class=False)
    if max(greys) < 256:
        assert len(cells(mask, CODES)) == 2


def test_large_numbers_of_a_binary_mask_are_no_greys():
    [cell] = cells(rectangles((10, 10, 40, 40), (20, 20, 30, 30), greys=(1, 2**40)))
    assert cell.nucleus is None


@pytest.mark.parametrize("kind", [BINARY, CODES, INSTANCES, CLASSES, COLOURS])
def test_an_empty_mask_has_no_cells(kind):
    assert cells(np.zeros((20, 30), np.int64), kind) == []


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (3, 40), (5, 7)])
@pytest.mark.parametrize("kind", [BINARY, CODES, INSTANCES])
def test_masks_of_any_size_are_read(size, kind):
    mask = np.zeros(size, np.int64)
    mask[0, 0] = 1
    assert [cell.region.box for cell in cells(mask, kind)] == [(0, 0, 1, 1)]
