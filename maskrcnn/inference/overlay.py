"""Pictures of predictions at the size of the image, for any number of cells: the image with its cells outlined and named,
and a label map in colours. Each cell is drawn within its own window."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import hsv_to_rgb, to_rgb
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from maskrcnn.inference.label_placement import Label, Style, place_labels
from maskrcnn.inference.objects import Objects
from maskrcnn.regions import BoolMask, Region
from maskrcnn.visualization.drawing import class_colour, text_colour

Pixels = NDArray[np.uint8]  # [H, W, 3]


def overlay(image: Pixels, objects: Objects, class_names: Sequence[str]) -> Pixels:
    """The image [H, W, 3] with each object tinted and outlined in the colour of its class, and labelled: see `place_labels`.

    The outline is the outermost part of the mask. Around it is a thin line of black or white, which sets it off from any
    stain. Beside the image and the picture only one bool per pixel and the window of one object are in memory.
    """
    picture = image.copy()
    if not len(objects):
        return picture
    style = Style.of(objects)
    last_is_best = list(zip(objects.patches, objects.labels.tolist(), strict=True))[::-1]
    for draw in (_draw_tint, _draw_edge, _draw_line):  # one after the other: a neighbour's tint covers no line
        for patch, label in last_is_best:
            if region := patch.region():
                draw(picture, region, class_colour(label), style)
    font = style.font
    for placed in place_labels(objects, class_names, style):
        _draw_label(picture, placed, font)
    return picture


def _draw_tint(picture: Pixels, region: Region, colour: str, style: Style) -> None:
    inside = picture[region.slices][region.mask]
    picture[region.slices][region.mask] = ((7 * inside.astype(np.uint16) + _rgb(colour) + 4) // 8).astype(np.uint8)


def _draw_edge(picture: Pixels, region: Region, colour: str, style: Style) -> None:
    """Around the region, in the picture."""
    top, left = region.top - style.edge, region.left - style.edge
    mask = np.pad(region.mask, style.edge)
    height, width = picture.shape[:2]
    rim = Region(top, left, ndimage.binary_dilation(mask, iterations=style.edge) & ~mask).within(0, 0, height, width)
    if rim:
        picture[rim.slices][rim.mask] = _rgb(text_colour(colour))


def _draw_line(picture: Pixels, region: Region, colour: str, style: Style) -> None:
    picture[region.slices][region.mask & ~_eroded(region.mask, style.line)] = _rgb(colour)


def _eroded(mask: BoolMask, steps: int) -> BoolMask:
    """Without its outermost pixels, by two crosses to a square: together nearly a disc."""
    padded = np.pad(mask, 1)
    for step in range(steps):
        rows = padded[:-2] & padded[1:-1] & padded[2:]  # [h, w + 2]
        columns = padded[:, :-2] & padded[:, 1:-1] & padded[:, 2:]  # [h + 2, w]
        inner = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:] if step % 3 == 1 else rows[:, 1:-1] & columns[1:-1]
        padded[1:-1, 1:-1] = inner
    return padded[1:-1, 1:-1]


def _draw_label(picture: Pixels, label: Label, font: ImageFont.FreeTypeFont) -> None:
    height, width = picture[label.box.slices].shape[:2]
    tile = Image.new("RGB", (width, height), label.colour)
    x1, y1, x2, y2 = font.getbbox(label.text)
    centred = (width - x1 - x2) / 2, (height - y1 - y2) / 2
    ImageDraw.Draw(tile).text(centred, label.text, text_colour(label.colour), font)
    picture[label.box.slices] = np.asarray(tile)


def _rgb(colour: str) -> Pixels:
    """[3]"""
    return np.array([round(255 * part) for part in to_rgb(colour)], np.uint8)


def preview(labels: NDArray[np.integer]) -> Pixels:
    """A label map [H, W] of numbers 1, 2, ... in colours, on black: objects whose boxes touch or nearly do differ."""
    picture = np.zeros((*labels.shape, 3), np.uint8)
    found = [(number, slices) for number, slices in enumerate(ndimage.find_objects(labels), start=1) if slices]
    edges = np.array([[s.start for s in slices] + [s.stop for s in slices] for _, slices in found]).reshape(-1, 4)
    top, left, bottom, right = np.ascontiguousarray(edges.T)
    near = 1 + np.median(edges[:, 2:] - edges[:, :2]) / 2 if found else 0
    shades = np.full(len(found), -1)
    for i, (number, slices) in enumerate(found):
        is_near = (top <= bottom[i] + near) & (bottom >= top[i] - near)
        is_near &= (left <= right[i] + near) & (right >= left[i] - near)
        shades[i] = np.setdiff1d(np.arange(is_near.sum()), shades[is_near])[0]  # itself has none yet
        picture[slices][labels[slices] == number] = _shade(int(shades[i]))
    return picture


def _shade(number: int) -> Pixels:
    """[3]: steps of the golden ratio around the circle of hues, so that the first few are far apart."""
    hue = number * (math.sqrt(5) - 1) / 2 % 1
    return np.round(255 * hsv_to_rgb((hue, 0.75, 1))).astype(np.uint8)
