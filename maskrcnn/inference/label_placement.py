"""Where the labels of an image's objects stand: beside them, never on one."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import get_data_path
from PIL import ImageFont

from maskrcnn.inference.objects import Objects
from maskrcnn.visualization.drawing import class_colour

FONT = Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
SMALLEST_TEXT = 12  # pixels: smaller letters cannot be read
MOST_NUMBERS = 0.2  # the fraction of cells that may be numbered where the others are named

# Right and down from a cell: above, below, beside, then the corners, then what is between.
_ANGLES = np.deg2rad([270, 90, 0, 180, 315, 225, 45, 135, *np.arange(22.5, 360, 45)])
DIRECTIONS = tuple(zip(np.cos(_ANGLES).tolist(), np.sin(_ANGLES).tolist(), strict=True))


class Box(NamedTuple):
    """Pixels of the image; x2 and y2 are the first that no longer belong to it."""

    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns in the image."""
        return slice(self.y1, self.y2), slice(self.x1, self.x2)


class Label(NamedTuple):
    """A line of text on a colour."""

    box: Box
    text: str
    colour: str


class Style(NamedTuple):
    """Sizes in pixels."""

    text: int
    line: int

    @classmethod
    def of(cls, objects: Objects) -> "Style":
        """Large enough to be seen in the whole image, but small beside its cells, and never below what can be read."""
        widths, heights = (objects.boxes[:, 2:] - objects.boxes[:, :2]).clamp(min=0).unbind(1)
        diameter = float((widths * heights).sqrt().median())
        text = max(SMALLEST_TEXT, round(min(min(objects.size) / 36, diameter / 6)))
        return cls(text, max(2, round(min(text / 4, diameter / 20))))

    @property
    def pad(self) -> int:
        """Around the text of a label."""
        return max(2, self.text // 6)

    @property
    def edge(self) -> int:
        """The width of what sets a line off from the image."""
        return max(1, self.line // 3)

    @property
    def font(self) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(str(FONT), self.text)


def place_labels(objects: Objects, class_names: Sequence[str], style: Style) -> list[Label]:
    """Labels beside the objects. None covers an object or another label, and all are inside the image.

    An object is labelled with its class and score. Where there is no room for that, the number of the cell in cells.csv is
    written instead. In a crowd, where more than a fifth of them would be numbers, all are, and a legend of the colours
    stands as near to a corner as there is room. A cell that others close in has no label; labels.png has its number.
    """
    names = [" ".join(name.split()) for name in class_names]
    found = zip(objects.labels.tolist(), objects.scores.tolist(), strict=True)
    texts = [f"{names[label - 1]} {score:.2f}" for label, score in found]
    page = Page(objects, style)
    labels = page.place(dict(enumerate(texts)))
    unnamed = {i: str(i + 1) for i in page.cells.keys() - labels.keys()}
    if len(unnamed) <= MOST_NUMBERS * len(page.cells):
        return [*labels.values(), *page.place(unnamed).values()]
    page.clear(labels.values())
    legend = page.legend({label: names[label - 1] for label in sorted(set(objects.labels.tolist()))})
    return [*legend, *page.place({i: str(i + 1) for i in page.cells}).values()]


class Page:
    """The room between the cells, which labels fill."""

    def __init__(self, objects: Objects, style: Style) -> None:
        self.style, self.font = style, style.font
        self.colours = [class_colour(label) for label in objects.labels.tolist()]
        self.cells = dict[int, Box]()  # of the objects with a mask
        self.taken = np.zeros(objects.size, bool)  # pixels of cells and labels
        for i, patch in enumerate(objects.patches):
            if region := patch.region():
                self.cells[i] = Box(*region.box)
                self.taken[region.slices] |= region.mask

    def place(self, texts: Mapping[int, str]) -> dict[int, Label]:
        """Of the texts of some cells those for which there is room."""
        labels = dict[int, Label]()
        for i, text in sorted(texts.items()):
            if i in self.cells and (box := self._free_box(self.cells[i], *self._size(text))):
                labels[i] = self._take(Label(box, text, self.colours[i]))
        return labels

    def legend(self, names: Mapping[int, str]) -> list[Label]:
        """The names of labels 1..K, one above the other."""
        widths, heights = zip(*map(self._size, names.values()), strict=True)
        width, line = max(widths), max(heights)
        height = line * len(names)
        rows, columns = (size - part for size, part in zip(self.taken.shape, (height, width), strict=True))
        places = product((*range(0, rows, line), rows), (*range(0, columns, width), columns))
        for top, left in sorted(places, key=lambda at: min(at[0], rows - at[0]) + min(at[1], columns - at[1])):
            if self._is_free(Box(left, top, left + width, top + height)):
                boxes = [Box(left, y, left + width, y + line) for y in range(top, top + height, line)]
                named = zip(boxes, names.items(), strict=True)
                return [self._take(Label(box, name, class_colour(label))) for box, (label, name) in named]
        return []

    def clear(self, labels: Iterable[Label]) -> None:
        """Take labels away."""
        for label in labels:
            self.taken[label.box.slices] = False

    def _take(self, label: Label) -> Label:
        self.taken[label.box.slices] = True
        return label

    def _size(self, text: str) -> tuple[int, int]:
        """Width and height of a label."""
        x1, y1, x2, y2 = self.font.getbbox(text)
        return math.ceil(x2 - x1) + 2 * self.style.pad, math.ceil(y2 - y1) + 2 * self.style.pad

    def _free_box(self, cell: Box, width: int, height: int) -> Box | None:
        """Beside the cell: as near as possible, then above or below rather than at a side or a corner."""
        rows, columns = self.taken.shape
        for distance, (right, down) in product((0, height // 2, height), DIRECTIONS):
            reach = 2 * self.style.line + distance
            x = (cell.x1 + cell.x2 - width) / 2 + right * ((cell.x2 - cell.x1) / 2 + reach) + _side(right) * width / 2
            y = (cell.y1 + cell.y2 - height) / 2 + down * ((cell.y2 - cell.y1) / 2 + reach) + _side(down) * height / 2
            left, top = max(0, min(round(x), columns - width)), max(0, min(round(y), rows - height))
            box = Box(left, top, left + width, top + height)
            if self._is_free(box):
                return box
        return None

    def _is_free(self, box: Box) -> bool:
        """Whether it and the margin around it are, and it is inside the image."""
        height, width = self.taken.shape
        margin = self.style.line
        top, left = max(0, box.y1 - margin), max(0, box.x1 - margin)
        inside = box.x1 >= 0 and box.y1 >= 0 and box.x2 <= width and box.y2 <= height
        return inside and not self.taken[top : box.y2 + margin, left : box.x2 + margin].any()


def _side(direction: float) -> float:
    """Of a label in this direction: whether it begins (1), is centred (0) or ends (-1) there."""
    return max(-1.0, min(1.0, math.sqrt(2) * direction))
