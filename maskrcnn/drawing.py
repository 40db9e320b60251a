"""An image and the objects on it: what every other picture is made of.

Functions that draw on an Axes take and return it, so that a notebook can lay several out as it likes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import Tensor

COLOURS = colormaps["tab10"].colors  # type: ignore[attr-defined]
# tab10 without the grey, brown and pinks that a stained smear is made of; the rest follow for longer lists of classes.
CLASS_COLOURS = [COLOURS[i] for i in (0, 1, 2, 8, 3, 9, 4, 5, 6, 7)]


def class_colour(label: int) -> Any:
    """Of label 1..K, the same in every picture."""
    return CLASS_COLOURS[(label - 1) % len(CLASS_COLOURS)]


def draw_image(ax: Axes, image: Tensor) -> Axes:
    """image: float [3, H, W] in 0..1, in continuous coordinates: pixel i covers i to i + 1."""
    height, width = image.shape[-2:]
    ax.imshow(image.permute(1, 2, 0).clamp(0, 1).cpu().numpy(), extent=(0, width, height, 0), interpolation="nearest")
    ax.set_axis_off()
    return ax


def draw_objects(
    ax: Axes, image: Tensor, objects: Mapping[str, Tensor], class_names: Sequence[str], min_score: float = 0.0
) -> Axes:
    """The image with the outline, box and class of each object.

    image: float [3, H, W]; objects: a target or a prediction of `MaskRCNN` (boxes, labels, masks; scores if it has them).
    """
    draw_image(ax, image)
    scores = objects.get("scores")
    height, width = image.shape[-2:]
    ax.set(xlim=(0, width), ylim=(height, 0))
    for i, (box, label) in enumerate(zip(objects["boxes"].tolist(), objects["labels"].tolist(), strict=True)):
        if scores is not None and scores[i] < min_score:
            continue
        colour = class_colour(label)
        mask = objects["masks"][i].reshape(height, width).float().cpu().numpy()
        draw_outline(ax, mask, colour)
        text = class_names[label - 1] if scores is None else f"{class_names[label - 1]} {scores[i]:.2f}"
        draw_box(ax, box, text, colour)
    return ax


def draw_outline(ax: Axes, mask: np.ndarray, colour: Any, fill: bool = True) -> Axes:
    """The outline of a mask [H, W] in 0..1, at 0.5."""
    if mask.max(initial=0) < 0.5:
        return ax
    # A frame of background closes outlines at the border; contour levels run through pixel centres, hence - 0.5.
    framed = np.pad(mask, 1)
    x, y = np.arange(framed.shape[1]) - 0.5, np.arange(framed.shape[0]) - 0.5
    if fill:
        ax.contourf(x, y, framed, levels=[0.5, np.inf], colors=[colour], alpha=0.25)
    ax.contour(x, y, framed, levels=[0.5], colors=[colour], linewidths=1.5)
    return ax


def draw_box(ax: Axes, box: Sequence[float], text: str, colour: Any, line: str = "--") -> Axes:
    """A box (x1, y1, x2, y2) with a label."""
    x1, y1, x2, y2 = box
    ax.plot(
        [x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=colour, linewidth=0.8 if line == "--" else 1.5, linestyle=line
    )
    ax.add_artist(Label(max(x1, 0), y1, text, colour))
    return ax


class Label(Text):
    """White text on a colour, with its lower left corner at (x, y), or as near to it as the borders of the Axes allow."""

    def __init__(self, x: float, y: float, text: str, colour: Any) -> None:
        patch = {"facecolor": colour, "edgecolor": "none", "pad": 1.0}
        super().__init__(x, y, text, fontsize=8, color="white", verticalalignment="bottom", bbox=patch, clip_on=True)

    def draw(self, renderer: RendererBase) -> None:
        """How wide text is and how large its Axes are is known only now."""
        assert self.axes is not None
        own, room = self.get_window_extent(renderer), self.axes.bbox
        to_pixels = self.get_transform()
        x, y = to_pixels.transform(self.get_position())
        moved = x - max(0, own.x1 - room.x1), y - max(0, own.y1 - room.y1)
        x, y = to_pixels.inverted().transform(moved)
        self.set_position((float(x), float(y)))
        super().draw(renderer)


def overlay(
    image: Tensor, objects: Mapping[str, Tensor], class_names: Sequence[str], min_score: float = 0.0
) -> np.ndarray:
    """The picture of `draw_objects` in the image's own size: uint8 [H, W, 3]."""
    height, width = image.shape[-2:]
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    draw_objects(figure.add_axes((0, 0, 1, 1)), image, objects, class_names, min_score)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:height, :width, :3].copy()
