"""What the pictures of an evaluation show, read back from the figures."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from maskrcnn.evaluation import plots

NAMES = ("a", "b", "c")
A, B = (2, 2, 12, 12), (20, 20, 32, 30)


@pytest.fixture
def ax():
    return Figure().add_subplot()


def samples_of(targets):
    return [(torch.zeros(3, 40, 40), target) for target in targets]


def test_the_confusion_matrix_shows_its_counts(ax, result):
    plots.confusion(ax, result)
    shown = {tuple(map(round, text.get_position())): text.get_text() for text in ax.texts if text.get_fontsize() > 6}
    # (column, row): classes a, b, c, then missed and false positive
    assert {place: text for place, text in shown.items() if text not in ("0", "")} == {
        (0, 0): "2", (1, 0): "1", (1, 1): "1", (3, 1): "1", (0, 3): "1",
    }  # fmt: skip
    assert (3, 3) not in shown  # neither a cell nor a detection: nothing to count
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b", "c", "missed"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c", "false positive"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    shading = ax.images[0].get_array()
    assert shading[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0])


def test_calibration_shows_the_fraction_correct_by_score(ax, result):
    """Scores 0.6 (wrong) and 0.7 (right), 0.8 and 0.9 (right), 0.95 (wrong); in float32, 0.7 and 0.9 are a little less."""
    plots.calibration(ax, result)
    x, y = ax.lines[1].get_data()
    assert x == pytest.approx([0.65, 0.85, 0.95], abs=1e-6)
    assert y == pytest.approx([0.5, 1, 0])
    assert [text.get_text() for text in ax.texts] == ["2", "2", "1"]
    bars = [segment[:, 1].tolist() for segment in ax.collections[0].get_segments()]
    assert bars[1:] == [[1, 1], [0, 0]]  # all right, all wrong, in every sample


def test_precision_and_recall_of_each_class(ax, result):
    """Of class a: right, then right (0.7) at recall 1, before a wrong one; of b: wrong (0.95), then right (0.8)."""
    plots.precision_recall(ax, result.ap["mask"], NAMES, "masks")
    curves = {line.get_label().split(",")[0]: line.get_ydata() for line in ax.lines}
    assert set(curves) == {"a", "b"}
    assert curves["a"][0] == 1
    assert curves["a"][66] == 1  # two of three cells
    assert curves["a"][67] == 0  # the third is never predicted as a
    assert curves["b"][50] == pytest.approx(0.5)  # one of two, after a wrong one
    assert curves["b"][51] == 0


def test_a_dashed_curve_where_a_stricter_iou_differs(ax, given, rectangles):
    """IoU 0.72 with the only cell of class a, 1 with that of class b: only a is different at 0.75."""
    target = rectangles(((2, 2, 12, 27), 1), (B, 2))
    prediction = rectangles(((2, 2, 12, 20), 1), (B, 2), scores=[0.9, 0.8])
    plots.precision_recall(ax, given([prediction], [target]).ap["mask"], NAMES, "masks")
    (dashed,) = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert dashed.get_ydata().tolist() == [0] * 101
    assert dashed.get_color() == ax.lines[0].get_color() != ax.lines[-1].get_color()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a, AP50 1.00", "b, AP50 1.00"]


def test_all_curves_side_by_side_with_a_band_for_class_agnostic_precision(result):
    axes = plots.curves_figure(result).axes
    assert [ax.get_title() for ax in axes[2:]] == ["confusion matrix", "calibration"]
    assert axes[1].lines[0].get_label() == "class-agnostic, AP50 0.80"
    assert axes[1].lines[0].get_ydata().tolist() == [1] * 81 + [0] * 20
    (band,) = axes[1].collections
    edges = band.get_paths()[0].vertices
    at_half = edges[np.isclose(edges[:, 0], 0.5), 1]
    assert (at_half.min(), at_half.max()) == pytest.approx((result.curve.low[50], result.curve.high[50]))
    assert not axes[0].collections


def test_masks_are_ranked_by_iou(given, rectangles):
    """Of a cell of 10 x 10 pixels 8, 10, 6 rows are covered, the last by another class."""
    predictions = [rectangles(((2, 2, 12, 2 + h), label), scores=[0.9]) for h, label in ((8, 1), (10, 1), (6, 2))]
    targets = [rectangles((A, 1))] * 3
    result = given(predictions, targets)
    ranked = plots.ranked_crops(result, [target["boxes"] for target in targets], count=1)
    assert {name: crops[0].image for name, crops in ranked.items()} == {"best": 1, "median": 0, "worst": 2}
    assert ranked["median"][0].title == "image 0\nIoU 0.800, a"
    assert ranked["worst"][0].title == "image 2\nIoU 0.600, a\npredicted b"
    everything = plots.ranked_crops(result, [target["boxes"] for target in targets])
    assert [crop.image for crop in everything["best"]] == [1, 0, 2]
    assert [crop.image for crop in everything["worst"]] == [2, 0, 1]


def test_a_failure_says_what_is_true_and_what_was_predicted(result):
    crops = {kind: plots.failure_crops(result, kind) for kind in ("missed", "false positive", "misclassified", "split")}
    assert crops == {
        "missed": [(2, B, "2.png\ntrue b")],
        "false positive": [(3, B, "3.png\npredicted a 0.60")],
        "misclassified": [(1, A, "1.png\ntrue a\npredicted b 0.95")],
        "split": [],
    }


def outlines(ax):
    """(colour, x1, y1, x2, y2) of every outline."""
    found = []
    for collection in ax.collections:
        vertices = np.concatenate([path.vertices for path in collection.get_paths()])
        found.append((to_rgb(collection.get_edgecolor()[0]), *vertices.min(axis=0), *vertices.max(axis=0)))
    return found


def test_a_gallery_outlines_true_masks_in_green_and_predicted_ones_in_pink(given, rectangles):
    targets = [rectangles(), rectangles((A, 1))]
    result = given([rectangles(scores=[]), rectangles(((4, 3, 14, 12), 1), scores=[0.9])], targets)
    samples = samples_of(targets)
    samples[1][0][0, 5, 6] = 1  # one red pixel, in the image of the crop
    figure = plots.gallery([plots.Crop(1, A, "a cell")], lambda i: samples[i], result, columns=2)
    ax, empty = figure.axes
    assert ax.get_title() == "a cell"
    assert ax.images[0].get_array()[5, 6].tolist() == [1, 0, 0]
    true, predicted = outlines(ax)
    assert true[1:] == pytest.approx((2, 2, 12, 12))
    assert predicted[1:] == pytest.approx((4, 3, 14, 12))
    assert max(true[0]) == true[0][1]  # green
    assert min(predicted[0]) == predicted[0][1]  # red and blue: pink
    # A square around the cell, 35 % of its side more on each side; y points down.
    assert ax.get_xlim() == pytest.approx((-1.5, 15.5))
    assert ax.get_ylim() == pytest.approx((15.5, -1.5))
    assert not empty.images


@pytest.mark.parametrize("box", [(10, 20, 30, 24), (18, 12, 22, 32)])
def test_a_crop_is_square_around_the_middle_of_a_long_box(given, rectangles, box):
    result = given([rectangles(scores=[])], [rectangles((A, 1))])
    samples = samples_of([rectangles((A, 1))])
    figure = plots.gallery([plots.Crop(0, box, "")], lambda i: samples[i], result, columns=1)
    assert figure.axes[0].get_xlim() == pytest.approx((3, 37))
    assert figure.axes[0].get_ylim() == pytest.approx((39, 5))


def test_a_picture_for_every_kind_of_failure_that_occurs(result, targets):
    figures = plots.galleries(result, samples_of(targets))
    expected = ["best masks", "median masks", "worst masks", "missed", "false positive", "misclassified"]
    assert list(figures) == expected
    assert len(figures["best masks"].axes) == 4  # all cells that match
    assert figures["missed"].axes[0].get_title() == "2.png\ntrue b"


def test_a_picture_says_when_it_does_not_show_all_failures(given, rectangles):
    boxes = [(x, y, x + 4, y + 4) for x in range(0, 40, 8) for y in range(0, 24, 8)][:13]
    targets = [rectangles(*((box, 1) for box in boxes))]
    figures = plots.galleries(given([rectangles(scores=[])], targets), samples_of(targets))
    assert list(figures) == ["missed"]
    assert sum(bool(ax.images) for ax in figures["missed"].axes) == 12
    assert figures["missed"].get_supxlabel().startswith("the first 12 of 13")
