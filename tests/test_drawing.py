import warnings

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from maskrcnn.drawing import CLASS_COLOURS, draw_image, draw_objects, overlay

NAMES = ("round", "square")


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def as_pixels(image):
    return (image.permute(1, 2, 0).numpy() * 255).round().astype(int)


@pytest.mark.parametrize("size", [(60, 80), (29, 57), (113, 58), (201, 435)])
def test_an_overlay_has_the_size_of_its_image(size):
    # In inches and back: 29 / 100 * 100 is 28.999999999999996.
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long(), "masks": torch.zeros(0, *size)}
    picture = overlay(torch.rand(3, *size), nothing, NAMES)
    assert picture.shape == (*size, 3)
    assert picture.dtype == np.uint8


def test_an_overlay_of_nothing_is_the_image_itself(image, nothing):
    assert np.abs(overlay(image, nothing, NAMES).astype(int) - as_pixels(image)).max() <= 1


def test_an_object_is_tinted_within_its_mask_and_nothing_else_is_touched(image, objects):
    picture = overlay(image, objects, NAMES).astype(int)
    inner = np.s_[34:46, 24:36]
    tint = np.array(to_rgb(CLASS_COLOURS[1])) * 255  # of label 2
    expected = 0.75 * as_pixels(image)[inner] + 0.25 * tint
    assert np.abs(picture[inner] - expected).max() <= 2
    outside = np.ones((60, 80), dtype=bool)
    outside[10:54, 16:76] = False  # the object, its outline, and its label above it
    assert np.abs(picture - as_pixels(image))[outside].max() <= 1


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
def test_only_predictions_of_the_least_score_are_drawn(image, objects, prediction_of, score, shown):
    ax = draw_objects(Figure().subplots(), image, prediction_of(objects, score), NAMES, min_score=0.5)
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
    assert ax.images[0].get_extent() == [0, 80, 60, 0]  # pixel i covers i to i + 1
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 80), (60, 0))


@pytest.mark.parametrize("width", [2, 8])  # of the picture in inches: in a small one a label takes more of the image
@pytest.mark.parametrize("box", [(-3, 0, 40, 50), (65, 30, 85, 50), (70, 1, 79, 20), (75, 40, 79, 59)])
def test_a_label_stays_inside_the_image(image, objects, box, width):
    objects["boxes"] = torch.tensor([box]).float()  # in an image 80 wide and 60 high
    figure = Figure(figsize=(width, width), layout="constrained")
    ax = draw_objects(figure.subplots(), image, objects, NAMES)
    figure.draw_without_rendering()
    (text,), room = ax.texts, ax.get_window_extent()
    label = text.get_window_extent()
    assert room.x0 - 1 <= label.x0 < label.x1 <= room.x1 + 1
    assert room.y0 - 1 <= label.y0 < label.y1 <= room.y1 + 1


def test_a_label_begins_with_its_box_and_stands_on_it_where_there_is_room(image, objects):
    objects["boxes"] = torch.tensor([[10.0, 30.0, 30.0, 50.0]])
    figure = Figure(figsize=(8, 8))
    ax = draw_objects(figure.subplots(), image, objects, NAMES)
    figure.draw_without_rendering()
    assert ax.texts[0].get_position() == pytest.approx((10, 30))
    label = ax.texts[0].get_window_extent()
    x, y = ax.transData.transform((10, 30))
    assert (label.x0, label.y0) == pytest.approx((x, y), abs=2)


def test_a_box_with_an_empty_mask_and_a_mask_that_fills_the_image_can_be_drawn(image, objects):
    for fill in (0, 1):
        objects["masks"] = torch.full_like(objects["masks"], fill)
        assert overlay(image, objects, NAMES).shape == (60, 80, 3)


def test_more_classes_than_colours_begin_again(image, objects):
    objects["labels"] = torch.tensor([len(CLASS_COLOURS) + 2])
    names = [str(k) for k in range(1, 13)]
    ax = draw_objects(Figure().subplots(), image, objects, names)
    assert ax.texts[0].get_text() == "12"
    assert ax.lines[0].get_color() == CLASS_COLOURS[1]


def test_draw_image_returns_the_axes_given(image):
    ax = Figure().subplots()
    assert draw_image(ax, image) is ax


def test_images_and_objects_are_not_changed(image, objects):
    copies = image.clone(), {name: value.clone() for name, value in objects.items()}
    overlay(image, objects, NAMES)
    assert image.equal(copies[0])
    assert all(objects[name].equal(copies[1][name]) for name in objects)
