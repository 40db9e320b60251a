"""What masks have beside cells: noise, soft edges, frames, outlines, void and boundaries. Mended, or refused."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data.mask_kinds import BINARY, VOID, boundary_value
from data.mask_levels import LISC_GREYS, grey_levels, in_squares, present_values, without_edges
from data.mask_values import rgb_of
from maskrcnn.regions import BoolMask, regions_of_label_map

Values = NDArray[np.int64]

EIGHT_CONNECTED = np.ones((3, 3))  # diagonal neighbours are connected
CODE_TOLERANCE, NOISY_TOLERANCE = 5, 12  # greys from LISC's codes, which are 25 apart; the second for pixels with noise
DARK = 0.15  # LISC's lowest code is 0.2 of its highest
SHARP = 0.5  # fraction of the level behind an edge by which neighbours there differ at least, if the edge is not soft
SMOOTHED = 3  # levels of a mask with noise that are no codes: more than cytoplasm and nucleus
FULL = 0.97  # fraction of a row or column at the border of the image that a line of a frame covers
MAX_FRAME = 4, 0.02  # thickness of a frame: pixels, or as a fraction of the longer side if that is more
BESIDE_FRAME = 0.5  # fraction of the pixels right beside the line of a frame that are covered at most
INVERTED = 0.7  # fraction of the border that the background of an inverted mask covers at least
OUTLINE = 3  # times: the widest hole of an outline than its line; that of a ring of eight cells that touch is 1.6 times
OPEN_WIDTH, OPEN_AREA = 4, 0.35  # of an outline with a gap: pixels, and the fraction of its box that it covers, at most
OPEN_SIZE = 0.25  # fraction of the largest box of a component: a smaller line is a slip of the pen
PHOTOGRAPH, PHOTOGRAPH_VALUES = 0.98, 100  # fraction of the pixels that are not 0, and different values, at least
ROUGH = 0.3  # fraction of the pixels of a photograph that lie in no square of one value, at least
MAX_SLIP = 8  # pixels: a thin part that is longer is a line, a shorter one a slip of the pen
MAX_LINES = 0.01  # fraction of the covered pixels in such lines: more than cells that are nearly hidden by others


class MaskError(ValueError):
    """A mask cannot mean what its kind says; the message is the reason and the remedy."""


def check_is_no_photograph(values: Values) -> None:
    """Raises MaskError for an image in place of a mask: covered all over by many values that no two neighbours share."""
    if np.count_nonzero(values) < PHOTOGRAPH * values.size or len(present_values(values)) < PHOTOGRAPH_VALUES:
        return
    if (~in_squares(values)).mean() > ROUGH:
        raise MaskError("is a photograph, not a mask; put the mask in its place, and the photograph among the images")


def without_noise(values: Values, kind: str) -> Values:
    """A mask that has soft edges or went through JPEG, without the greys below half of the lowest level. Levels that are
    dark beside the highest are noise around the cells. Raises MaskError for numbers of cells whose edges were smoothed."""
    covered = values != 0
    found = grey_levels(values[covered & without_edges(values, noisy=True)]) or grey_levels(values[covered])
    levels = [level for level in found if level > DARK * found[-1]]
    if kind == BINARY and len(levels) >= SMOOTHED and not _are_codes(levels):
        raise MaskError(
            f"its numbers ({', '.join(map(str, levels[:6]))}) run into each other: edges that were smoothed; resize label "
            "maps to the nearest pixel, and save them as PNG"
        )
    return _cut_at_half(values, min(DARK * found[-1], levels[0] / 2), levels[0]) if levels else values


def _cut_at_half(values: Values, noise: float, lowest: int) -> Values:
    """Without the greys below half of the lowest level of their own component of what is above noise: the soft edge of a
    brighter cell is wider. lowest: that of the mask, for components that show none."""
    cut, plain = np.zeros_like(values), without_edges(values, noisy=True)
    components, _ = ndimage.label(values > noise, EIGHT_CONNECTED)
    for number, (rows, columns) in enumerate(ndimage.find_objects(components), start=1):
        box = slice(max(rows.start - 1, 0), rows.stop + 1), slice(max(columns.start - 1, 0), columns.stop + 1)
        own, greys = components[box] == number, values[box]
        levels = [*grey_levels(greys[own & plain[box] & (greys > lowest / 2)])[:1], *_level_behind_edge(own, greys)]
        inside = own & (greys > min(levels, default=lowest) / 2)
        cut[box][inside] = greys[inside]
    return cut


def _level_behind_edge(own: BoolMask, greys: Values) -> list[float]:
    """The grey right behind the edge of a component, if that is sharp, as JPEG leaves it: a level, even if the cell is too
    small, or its cytoplasm too narrow, for many pixels without noise. [] for an edge that is soft."""
    inner = ndimage.binary_erosion(own, border_value=1)
    innermost = ndimage.binary_erosion(inner, border_value=1)
    layers = ndimage.binary_dilation(own) & ~own, own & ~inner, inner & ~innermost
    if not (innermost.any() and layers[0].any()):
        return []  # a speck of noise, or all of the image
    outside, edge, behind = (float(np.median(greys[layer])) for layer in layers)
    return [behind] if edge - outside > SHARP * behind else []


def _are_codes(greys: Sequence[int]) -> bool:
    return all(min(abs(grey - code) for code in LISC_GREYS) <= CODE_TOLERANCE for grey in greys)


def without_frame(values: Values, remarks: list[str]) -> Values:
    """Without a frame around the image, or lines on some of its sides, as screenshots and saved figures have. Raises
    MaskError for an inverted mask."""
    covered = values != 0
    if covered.all():
        return values
    top, bottom, left, right = map(_line, (covered, covered[::-1], covered.T, covered.T[::-1]))
    height, width = values.shape
    inside = slice(top, height - bottom), slice(left, width - right)
    inner = np.zeros_like(values)
    inner[inside] = values[inside]
    if _is_inverted(inner[inside] != 0):
        raise MaskError("everything but the cells is marked; invert the mask")
    if thickness := max(top, bottom, left, right):
        remarks.append(f"a frame of {thickness} pixels around the image is not part of a cell")
    return inner


def _line(covered: BoolMask) -> int:
    """How thick the line is along the first row; 0 if there is none: if so many rows are covered that it is a cell or the
    background of an inverted mask, or if what lies beside it is also covered."""
    rows = _full_rows(covered)
    pixels, fraction = MAX_FRAME
    if min(covered.shape) <= 2 * pixels or rows == len(covered):
        return 0  # too small for a frame
    if rows > max(pixels, fraction * max(covered.shape)) or covered[rows].mean() > BESIDE_FRAME:
        return 0
    return rows


def _is_inverted(covered: BoolMask) -> bool:
    """Whether all corners of the image are covered, and most of its border."""
    border = np.concatenate([covered[0], covered[-1], covered[:, 0], covered[:, -1]])
    corners = covered[[0, 0, -1, -1], [0, -1, 0, -1]]
    return bool(corners.all() and border.mean() > INVERTED)


def _full_rows(covered: BoolMask) -> int:
    """How many of the first rows are covered from end to end."""
    full = covered.mean(axis=1) >= FULL
    return len(full) if full.all() else int(np.argmin(full))


def fill_outlines(values: Values, remarks: list[str]) -> Values:
    """Cells of which only the outline is drawn are filled. Raises MaskError for outlines with a gap."""
    components, _ = ndimage.label(values, EIGHT_CONNECTED)
    filled, filled_count, gaps = values.copy(), 0, 0
    parts = list(enumerate(ndimage.find_objects(components), start=1))
    largest = max((components[slices].size for _, slices in parts), default=0)
    for number, slices in parts:
        own = components[slices] == number
        holes = ndimage.binary_fill_holes(own) & ~own
        if holes.any() and _half_width(holes) > OUTLINE * _half_width(own):
            inner = holes & (values[slices] == 0)  # a nucleus inside stays
            filled[slices][inner] = values[slices][own].max()
            filled_count += 1
        elif own.size > OPEN_SIZE * largest and _is_line(own):
            gaps += 1
    if gaps:
        raise MaskError(f"shows {gaps} outlines that are not closed; close and fill them")
    if filled_count:
        remarks.append(f"{filled_count} outlines are filled")
    return filled


def _half_width(mask: BoolMask) -> float:
    """Half of the width of the widest part of a mask, in pixels."""
    return float(ndimage.distance_transform_edt(np.pad(mask, 1)).max()) - 0.5


def _is_line(own: BoolMask) -> bool:
    """Whether a component, within its box, is a long and bent line."""
    if max(own.shape) <= MAX_SLIP or own.mean() > OPEN_AREA:
        return False
    return not ndimage.binary_erosion(own, np.ones((OPEN_WIDTH + 1,) * 2)).any()


def check_has_no_boundaries(values: Values, ordered: bool = True) -> None:
    """ordered: see `boundary_value`. Raises MaskError for a mask that marks the boundaries of cells by a value of their
    own."""
    if boundary := boundary_value(values, ordered):
        what = f"value {boundary}" if ordered else f"colour {rgb_of(boundary)}"
        raise _boundaries(f"the {what} is nowhere thick and lies around or between another one")


def without_thin_lines(values: Values) -> Values:
    """Without the void around objects. Raises MaskError for many pixels of other values that are nowhere thicker than a
    line: the boundary of a cell, or mixtures of two at a soft edge. What the border of the image leaves of a cell may be so
    thin, and so may a few cells that others hide."""
    present = present_values(values)
    thin = np.setdiff1d(present, present_values(values[in_squares(values)]))
    if VOID in thin and present[-1] == VOID and VOID - 1 not in present:  # else 255 is a number among others
        values, thin = np.where(values == VOID, 0, values), thin[thin != VOID]
    if not len(thin):
        return values
    numbers = np.where(np.isin(values, thin), np.searchsorted(thin, values) + 1, 0)
    numbers[[0, -1]], numbers[:, [0, -1]] = 0, 0
    lines = [part.mask.sum() for part in regions_of_label_map(numbers) if max(part.mask.shape) > MAX_SLIP]
    if sum(lines) > MAX_LINES * np.count_nonzero(values):
        raise _boundaries(f"{len(lines)} of its values are nowhere thicker than a line")
    return values


def _boundaries(found: str) -> MaskError:
    return MaskError(
        f"{found}: boundaries of cells, or edges that were smoothed; write each cell, up to its edge, in one value, and "
        "save the mask as PNG"
    )
