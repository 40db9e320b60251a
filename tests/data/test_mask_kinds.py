"""What the numbers of masks mean: masks of rectangles and discs, drawn here."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data.mask_kinds import (
    BINARY,
    CODES,
    COLOURS,
    INSTANCES,
    KIND_HELP,
    KINDS,
    boundary_value,
    has_void,
    kind_of_dataset,
    kind_of_mask,
    nucleus_value,
    possible_kinds,
)
from data.mask_levels import grey_levels, in_squares, is_noisy
from data.mask_values import MaskValues


def side_by_side(*numbers: int) -> np.ndarray:
    """Squares of 8 pixels that touch."""
    mask = np.zeros((20, 8 * len(numbers) + 8), np.int64)
    for k, number in enumerate(numbers):
        mask[6:14, 4 + 8 * k : 12 + 8 * k] = number
    return mask


def nested(outer: int, inner: int, rim: int = 5) -> np.ndarray:
    mask = np.zeros((30, 30), np.int64)
    mask[4:26, 4:26] = outer
    mask[4 + rim : 26 - rim, 4 + rim : 26 - rim] = inner
    return mask


def mask_of(values: np.ndarray, source: str = "greys") -> MaskValues:
    return MaskValues(values, source)


@pytest.mark.parametrize(
    ("mask", "likeliest"),
    [
        (mask_of(side_by_side()), BINARY),
        (mask_of(side_by_side(255)), BINARY),
        (mask_of(side_by_side(1)), BINARY),
        (mask_of(side_by_side(4000), "integers"), BINARY),
        (mask_of(side_by_side(255), "colours"), BINARY),
        (mask_of(side_by_side(1, 2)), INSTANCES),
        (mask_of(side_by_side(1, 2), "indices"), INSTANCES),
        (mask_of(side_by_side(1, 4000), "integers"), INSTANCES),
        (mask_of(side_by_side(1, 4000), "colours"), COLOURS),
        (mask_of(side_by_side(125, 255)), CODES),
        (mask_of(nested(225, 255)), CODES),
        (mask_of(nested(100, 180)), BINARY),  # cytoplasm and nucleus in other greys
        (mask_of(nested(100, 255)), BINARY),  # also in those of LISC that are of two classes
        (mask_of(nested(255, 128)), BINARY),  # the other way round
        (mask_of(nested(2, 1, rim=2)), INSTANCES),  # which is refused: a boundary
        (mask_of(nested(255, 1, rim=2)), BINARY),  # void around cells that are not numbered
        (mask_of(np.hstack([nested(255, 1, rim=2), nested(255, 2, rim=2)])), INSTANCES),
    ],
)
def test_what_a_mask_most_likely_means(mask, likeliest):
    assert possible_kinds(mask)[0] == likeliest
    assert kind_of_mask(mask, possible_kinds(mask)[-1]) == possible_kinds(mask)[-1]


def reaching_the_edge(outer: int, inner: int) -> np.ndarray:
    """A nucleus of 10 x 10, one of whose sides is at the edge of its cell."""
    mask = np.zeros((30, 30), np.int64)
    mask[5:25, 5:25] = outer
    mask[10:20, 5:15] = inner
    return mask


def test_a_nucleus_at_the_edge_of_its_cell_is_one_if_the_data_set_has_nuclei():
    at_edge, inside = mask_of(reaching_the_edge(150, 250)), mask_of(nested(150, 250))
    assert [kind_of_mask(at_edge, kind) for kind in (BINARY, INSTANCES)] == [BINARY, INSTANCES]
    assert kind_of_dataset([inside, inside, at_edge]) == BINARY
    touching = mask_of(side_by_side(150, 250))
    assert kind_of_mask(touching, BINARY) == INSTANCES


@pytest.mark.parametrize(
    ("source", "numbered"), [("colours", COLOURS), ("indices", INSTANCES), ("integers", INSTANCES)]
)
def test_one_of_two_numbers_or_colours_around_the_other_is_cytoplasm(source, numbered):
    for outer, inner in ((255, 65280), (65280, 255)):
        cell = nested(outer, inner, rim=8)
        both = np.hstack([cell, cell])
        assert possible_kinds(mask_of(both, source)) == (BINARY, numbered)
        assert possible_kinds(mask_of(side_by_side(outer, inner), source)) == (numbered,)
        both[1:3, 1:3] = 7  # a third one: cells among others
        assert possible_kinds(mask_of(both, source)) == (numbered,)
        assert nucleus_value(cell) == inner


def with_boundaries(line: int, inside: int, width: int, size: int = 16) -> np.ndarray:
    """Two cells that touch, each with a boundary of this width along its edge."""
    cell = np.full((size, size), line)
    cell[width:-width, width:-width] = inside
    return np.pad(np.hstack([cell, cell]), 5).astype(np.int64)


@pytest.mark.parametrize(("line", "inside"), [(1, 2), (2, 1), (128, 255), (100, 180)])
@pytest.mark.parametrize("width", [1, 2])
def test_a_thin_value_that_keeps_insides_apart_is_a_boundary_whether_higher_or_lower(line, inside, width):
    mask = with_boundaries(line, inside, width)
    assert boundary_value(mask) == line
    assert possible_kinds(mask_of(mask)) == (INSTANCES,)
    between = np.where(mask == line, inside, 0) + np.where(mask == inside, inside, 0)
    between[:, 21 - width : 21 + width] = np.where(between[:, 21 - width : 21 + width], line, 0)
    assert boundary_value(between) == line  # nothing but the line between the two


def test_thin_cytoplasm_is_no_boundary():
    lymphocyte = nested(128, 255, rim=2)
    lobes = nested(128, 255, rim=3)
    lobes[:, 12:17] = np.where(lobes[:, 12:17] == 255, 128, lobes[:, 12:17])  # as thick as half of a lobe
    assert boundary_value(lymphocyte) is None
    assert boundary_value(np.hstack([lymphocyte, lymphocyte])) is None  # apart
    assert boundary_value(lobes) is None
    assert boundary_value(with_boundaries(125, 150, 2)) is None  # LISC's lymphocytes, touching
    assert boundary_value(nested(300, 1, rim=2), ordered=False) is None  # one cell in two colours


def test_a_line_around_one_of_several_other_colours_is_a_boundary():
    """Two colours alone are cytoplasm and nucleus."""
    red, green, blue = 255, 255 * 256, 255 * 65536
    both = np.hstack([nested(red, green, rim=3), nested(red, blue, rim=3)])
    assert boundary_value(both, ordered=False) == red
    assert possible_kinds(mask_of(both, "colours")) == (COLOURS,)
    assert boundary_value(np.hstack([nested(red, green, rim=3)] * 2), ordered=False) is None
    assert boundary_value(np.hstack([nested(red, green, rim=8), nested(red, blue, rim=8)]), ordered=False) is None


def test_255_is_a_number_among_others_where_there_is_a_higher_one():
    mask = nested(255, 3, rim=2)
    assert has_void(mask)
    mask[0, 0] = 256
    assert not has_void(mask)


def test_a_data_set_is_of_the_likeliest_kind_of_most_of_its_masks():
    binary, codes, ids = mask_of(side_by_side(255)), mask_of(nested(75, 100)), mask_of(side_by_side(1, 2))
    looks_like_codes = mask_of(side_by_side(50, 75, 100))
    assert kind_of_dataset([]) == BINARY
    assert kind_of_dataset([binary, binary, ids]) == BINARY
    assert kind_of_dataset([binary, codes, codes]) == CODES
    assert kind_of_dataset([looks_like_codes, ids, ids]) == INSTANCES
    assert kind_of_dataset([looks_like_codes, looks_like_codes, ids]) == CODES
    assert (
        kind_of_dataset([codes] * 19 + [ids]) == CODES
    )  # one mask that can be nothing else does not decide for the others
    assert kind_of_mask(looks_like_codes, INSTANCES) == INSTANCES
    assert kind_of_mask(ids, BINARY) == INSTANCES  # it can mean nothing else
    assert kind_of_mask(ids, BINARY, has_class=False) == CODES


def test_every_kind_is_explained():
    assert set(KIND_HELP) == set(KINDS)


@given(arrays(np.int64, (7, 9), elements=st.integers(0, 2)))
def test_pixels_in_squares_are_those_that_a_loop_finds(values):
    padded = np.pad(values, 1, mode="edge")  # the border goes on outside
    expected = np.zeros((9, 11), bool)
    for y in range(7):
        for x in range(9):
            if len(set(padded[y : y + 3, x : x + 3].ravel())) == 1:
                expected[y : y + 3, x : x + 3] = True
    assert np.array_equal(in_squares(values), expected[1:-1, 1:-1])


def test_noise_is_many_values_with_few_pixels():
    noisy = side_by_side(255)
    noisy[5, 4:12], noisy[14, 4:12] = np.arange(40, 48), np.arange(90, 98)
    assert is_noisy(noisy)
    assert not is_noisy(side_by_side(255))
    assert not is_noisy(nested(90, 255, rim=1))  # two values alone, one of them thin
    assert not is_noisy(np.where(in_squares(side_by_side(128)), 0, 128))  # outlines are thin, but of one value
    assert not is_noisy(np.where(noisy > 0, noisy + 2**40, 0))  # numbers, no greys
    assert not is_noisy(side_by_side(60, 70, 80, 90))
    hidden = side_by_side(60, 70, 80, 90)
    hidden[5, 4:20] = 99  # of one cell of five only a line is seen
    assert not is_noisy(hidden)
    assert not is_noisy(np.where(noisy > 0, noisy // 10, 0))  # small numbers are labels


def test_levels_are_greys_of_many_pixels_and_apart():
    assert grey_levels(np.array([], np.int64)) == []
    assert grey_levels(np.array([100] * 60 + [114] * 40)) == [100]
    assert grey_levels(np.array([100] * 60 + [115] * 40)) == [100, 115]
    assert grey_levels(np.array([100] * 97 + [200] * 3)) == [100]
    assert grey_levels(np.array([100] * 96 + [198, 200, 200, 202])) == [100, 200]
