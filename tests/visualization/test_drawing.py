import warnings

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from maskrcnn.visualization.drawing import (
    CLASS_COLOURS,
    class_colour,
    draw_box,
    draw_image,
    draw_objects,
    luminance,
)

NAMES = ("round", "square")


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize(
    ("rows", "columns"), [((30, 50), (20, 40)), ((0, 60), (0, 80))], ids=["inside", "over the whole image"]
)
def test_the_outline_runs_along_the_edge_of_the_mask(image, objects, rows, columns):
    objects["masks"] = torch.zeros(1, 60, 80)
    objects["masks"][0, slice(*rows), slice(*columns)] = 1
    ax = draw_objects(Figure().subplots(), image, objects, NAMES)
    assert len(ax.collections) == 2  # the tint and the outline
    for contour in ax.collections:
        x, y = np.concatenate([path.vertices for path in contour.get_paths()]).T
        assert (x.min(), x.max()) == columns
        assert (y.min(), y.max()) == rows


@pytest.mark.parametrize(("score", "shown"), [(0.7, True), (0.5, True), (0.4, False)])
def test_only_predictions_from_the_score_threshold_on_are_drawn(image, objects, prediction_of, score, shown):
    ax = draw_objects(Figure().subplots(), image, prediction_of(objects, score), NAMES, score_threshold=0.5)
    assert [text.get_text() for text in ax.texts] == ([f"square {score:.2f}"] if shown else [])
    assert len(ax.lines) == int(shown)


def test_a_target_is_labelled_with_its_class_alone(image, objects):
    ax = draw_objects(Figure().subplots(), image, objects, NAMES)
    assert [text.get_text() for text in ax.texts] == ["square"]


def test_the_box_is_drawn_in_continuous_coordinates(image, objects):
    objects["boxes"] = torch.tensor([[19.5, 30.25, 40.0, 50.75]])
    ax = draw_objects(Figure().subplots(), image, objects, NAMES)
    corners = [[19.5, 30.25], [40, 30.25], [40, 50.75], [19.5, 50.75], [19.5, 30.25]]
    assert ax.lines[0].get_xydata().tolist() == corners
    assert ax.images[0].get_extent() == [0, 80, 60, 0]  # pixel i covers [i, i + 1)
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 80), (60, 0))


@pytest.mark.parametrize("width", [2, 8])  # of the picture in inches: in a small one a label covers more of the image
@pytest.mark.parametrize(
    "box", [(-3, 0, 40, 50), (0, 9, 9, 20), (20, 3, 70, 50), (65, 30, 85, 50), (70, 1, 79, 20), (75, 40, 79, 59)]
)
def test_a_label_stays_inside_the_image(image, objects, box, width):
    objects["boxes"] = torch.tensor([box]).float()  # in an image of width 80 and height 60
    figure = Figure(figsize=(width, width), layout="constrained")
    ax = draw_objects(figure.subplots(), image, objects, NAMES)
    figure.draw_without_rendering()
    (text,), axes = ax.texts, ax.get_window_extent()
    label = text.get_window_extent()
    assert axes.x0 - 1 <= label.x0 < label.x1 <= axes.x1 + 1
    assert axes.y0 - 1 <= label.y0 < label.y1 <= axes.y1 + 1


@pytest.mark.parametrize(
    ("box", "corner", "alignment"),
    [
        ((10, 30, 30, 50), (10, 30), ("left", "bottom")),
        ((50, 30, 70, 50), (70, 30), ("right", "bottom")),
        ((10, 1, 30, 50), (10, 50), ("left", "top")),
        ((10, 1, 30, 59), (10, 1), ("left", "top")),
        ((50, -2, 90, 59), (80, 0), ("right", "top")),
    ],
    ids=["on the left", "on the right", "below at the upper border", "from border to border", "across the corners"],
)
def test_a_label_is_aligned_with_a_corner_of_its_box(image, objects, box, corner, alignment):
    objects["boxes"] = torch.tensor([box]).float()
    text = draw_objects(Figure(figsize=(8, 8)).subplots(), image, objects, NAMES).texts[0]
    assert text.get_position() == corner
    assert (text.get_horizontalalignment(), text.get_verticalalignment()) == alignment


def test_drawing_twice_gives_the_same_picture(image, objects):
    figure = Figure(figsize=(3, 3))
    ax = draw_objects(figure.subplots(), image, objects, NAMES)
    positions = []
    for _ in range(2):
        figure.draw_without_rendering()
        positions.append(ax.texts[0].get_window_extent().bounds)
    assert positions[0] == positions[1]


def test_a_box_without_text_has_no_label(ax):
    assert not draw_box(ax, (1, 2, 3, 4), "", "black").texts


def test_a_box_with_an_empty_mask_has_no_outline(image, objects):
    objects["masks"] = torch.zeros_like(objects["masks"])
    ax = draw_objects(Figure().subplots(), image, objects, NAMES)
    assert not ax.collections
    assert len(ax.lines) == 1


def test_colours_repeat_for_more_classes_than_colours(image, objects):
    objects["labels"] = torch.tensor([len(CLASS_COLOURS) + 2])
    names = [str(k) for k in range(1, len(CLASS_COLOURS) + 3)]
    ax = draw_objects(Figure().subplots(), image, objects, names)
    assert ax.texts[0].get_text() == names[-1]
    assert ax.lines[0].get_color() == CLASS_COLOURS[1]


def test_the_first_eight_colours_are_those_of_okabe_and_ito():
    """Wong (2011), Points of view: color blindness, Nature Methods 8, 441, lists their red, green and blue."""
    listed = {(0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
              (204, 121, 167)}  # fmt: skip
    assert {tuple(round(255 * part) for part in to_rgb(class_colour(label))) for label in range(1, 9)} == listed
    assert len(set(CLASS_COLOURS)) == len(CLASS_COLOURS)


def test_luminance_is_that_of_wcag():
    """Worked out by hand: 0.5 is ((0.5 + 0.055) / 1.055) ** 2.4 = 0.2140 in linear light."""
    assert luminance("white") == pytest.approx(1)
    assert luminance("black") == 0
    assert luminance((0.5, 0.5, 0.5)) == pytest.approx(0.2140, abs=1e-4)
    assert luminance((0, 1, 0)) == pytest.approx(0.7152)


@pytest.mark.parametrize("label", range(1, len(CLASS_COLOURS) + 1))
def test_text_on_every_colour_can_be_read(image, objects, label):
    objects["labels"] = torch.tensor([label])
    ax = draw_objects(Figure().subplots(), image, objects, ["$x$"] * label)
    text = ax.texts[0]
    darker, lighter = sorted(luminance(c) for c in (text.get_color(), text.get_bbox_patch().get_facecolor()[:3]))
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5
    assert text.get_text() == "$x$"
    assert not text.get_parse_math()  # a dollar sign in the name of a class is one


def test_draw_image_returns_the_axes_given(image, ax):
    assert draw_image(ax, image) is ax


def test_images_and_objects_are_not_changed(image, objects):
    copies = image.clone(), {name: value.clone() for name, value in objects.items()}
    draw_objects(Figure().subplots(), image, objects, NAMES)
    assert image.equal(copies[0])
    assert all(objects[name].equal(copies[1][name]) for name in objects)
