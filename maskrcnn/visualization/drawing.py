"""Images, objects and boxes: the building blocks of every other picture.

Functions that draw on an Axes take it and return it, so that a notebook can arrange several of them. Coordinates are
continuous: pixel i covers [i, i + 1).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from torch import Tensor

# The palette of Okabe and Ito (2008), which the colour-blind can tell apart, those that stand out on a stained smear first.
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#F0E442", "#D55E00", "#56B4E9", "#000000", "#CC79A7")
COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#000000",
)  # without yellow: lines on white
# For more classes Tol's muted colours (2021) follow.
TOL_MUTED = ("#332288", "#117733", "#882255", "#44AA99", "#999933", "#AA4499", "#DDCC77", "#CC6677")
CLASS_COLOURS = OKABE_ITO + TOL_MUTED
GREY = "0.55"  # background RoIs and negative anchors

LABEL_SIZE = 8  # points


def class_colour(label: int) -> str:
    """The colour of label 1..K, the same in every picture; after 16 they begin again."""
    return CLASS_COLOURS[(label - 1) % len(CLASS_COLOURS)]


def text_colour(background: Any) -> str:
    """Black or white, whichever has more contrast on a colour: 4.58 or more on any, in the measure of WCAG 2."""
    return "white" if 1.05 / (luminance(background) + 0.05) > (luminance(background) + 0.05) / 0.05 else "black"


def luminance(colour: Any) -> float:
    """The relative luminance of a colour as in WCAG 2, from 0 (black) to 1 (white)."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def draw_image(ax: Axes, image: Tensor) -> Axes:
    """image: float [3, H, W] in 0..1."""
    height, width = image.shape[-2:]
    ax.imshow(image.permute(1, 2, 0).clamp(0, 1).cpu().numpy(), extent=(0, width, height, 0), interpolation="nearest")
    ax.set_axis_off()
    return ax


def draw_objects(
    ax: Axes, image: Tensor, objects: Mapping[str, Tensor], class_names: Sequence[str], score_threshold: float = 0.0
) -> Axes:
    """The image with the outline, the box and the class of each object.

    image: float [3, H, W] in 0..1; objects: a target or a prediction of `MaskRCNN`: boxes [N, 4], labels [N] in 1..K,
    masks [N, H, W] or [N, 1, H, W], and scores [N] in a prediction. Objects with a lower score than score_threshold are
    left out.
    """
    draw_image(ax, image)
    scores = objects.get("scores")
    height, width = image.shape[-2:]
    ax.set(xlim=(0, width), ylim=(height, 0))
    for i, (box, label) in enumerate(zip(objects["boxes"].tolist(), objects["labels"].tolist(), strict=True)):
        if scores is not None and scores[i] < score_threshold:
            continue
        colour = class_colour(label)
        mask = objects["masks"][i].reshape(height, width).float().cpu().numpy()
        draw_outline(ax, mask, colour)
        text = class_names[label - 1] if scores is None else f"{class_names[label - 1]} {scores[i]:.2f}"
        draw_box(ax, box, text, colour)
    return ax


def draw_outline(ax: Axes, mask: np.ndarray, colour: Any, fill: bool = True) -> Axes:
    """The contour of a mask [H, W] of probabilities at 0.5. fill: tint the area inside, too."""
    if mask.max(initial=0) < 0.5:
        return ax
    framed = np.pad(mask, 1)  # a frame of background closes contours at the border
    # Only where the mask is, with a pixel around it: an image may have hundreds of cells.
    rows, columns = (np.flatnonzero((framed >= 0.5).any(axis=axis)) for axis in (1, 0))
    top, bottom, left, right = rows[0] - 1, rows[-1] + 2, columns[0] - 1, columns[-1] + 2
    x, y = np.arange(left, right) - 0.5, np.arange(top, bottom) - 0.5  # contour levels run through pixel centres
    values = framed[top:bottom, left:right]
    if fill:
        ax.contourf(x, y, values, levels=[0.5, np.inf], colors=[colour], alpha=0.25)
    ax.contour(x, y, values, levels=[0.5], colors=[colour], linewidths=1.5)
    return ax


def draw_box(ax: Axes, box: Sequence[float], text: str, colour: Any, line: str = "--") -> Axes:
    """A box (x1, y1, x2, y2) with a label. Draw the image first: its limits decide on which side of the box the label is."""
    x1, y1, x2, y2 = box
    width = 0.8 if line == "--" else 1.5
    ax.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=colour, linewidth=width, linestyle=line)
    if text:
        _draw_label(ax, box, text, colour)
    return ax


def _draw_label(ax: Axes, box: Sequence[float], text: str, colour: Any) -> None:
    """Text on a colour, on the upper edge of a box.

    The size of the text is only known when the figure is rendered. To stay inside the image a label starts at the box's
    left corner in the left half and ends at its right corner in the right half; near the image's upper border it hangs
    on the lower edge instead, or from the upper one inside the box if that is near the lower border.
    """
    x1, y1, x2, y2 = box
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()  # y points down: bottom > top
    # More than enough for a line of text: a layout may still shrink the Axes.
    line = 2 * LABEL_SIZE / 72 * ax.figure.dpi * (bottom - top) / ax.bbox.height
    x, side = (max(x1, left), "left") if x1 < (left + right) / 2 else (min(x2, right), "right")
    if y1 - top >= line:
        y, edge = y1, "bottom"
    else:
        y, edge = (y2 if bottom - y2 >= line else max(y1, top)), "top"
    patch = {"facecolor": colour, "edgecolor": "none", "pad": 1.0}
    style: dict[str, Any] = {"fontsize": LABEL_SIZE, "color": text_colour(colour), "bbox": patch, "parse_math": False}
    ax.text(x, y, text, ha=side, va=edge, clip_on=True, **style)


def draw_boxes(ax: Axes, boxes: Tensor, label: str | None = None, **style: Any) -> Axes:
    """Outlines of boxes [N, 4], fast for hundreds of them. label: for the legend; style: of the PatchCollection."""
    corners = boxes.detach().cpu().tolist()
    rectangles = [Rectangle((x1, y1), x2 - x1, y2 - y1) for x1, y1, x2, y2 in corners]
    ax.add_collection(PatchCollection(rectangles, facecolor="none", **{"linewidth": 1.2, **style}))
    if label:
        ax.plot([], [], color=style["edgecolor"], label=label)
    return ax


def legend_below(ax: Axes) -> Axes:
    """A legend under the picture, where it hides nothing."""
    ax.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4, borderaxespad=0.3, frameon=False)
    return ax
