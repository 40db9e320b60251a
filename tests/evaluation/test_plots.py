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
    first, second, third = ax.collections[0].get_segments()
    assert first[:, 1] == pytest.approx([1 - 0.975**0.5, 0.975**0.5])  # one of two: (1 - p)^2 or p^2 is 97.5 %
    assert second[:, 1] == pytest.approx([0.025**0.5, 1])  # two of two
    assert len(third) == 0  # of one there is no interval


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


def test_a_picture_of_each_curve_with_a_band_for_class_agnostic_precision(result):
    figures = plots.curve_figures(result)
    assert list(figures) == [
        *("precision and recall", "precision and recall, class-agnostic"),
        *("confusion matrix", "calibration"),
    ]
    by_class, agnostic, *_ = (figure.axes[0] for figure in figures.values())
    assert agnostic.lines[0].get_label() == "class-agnostic, AP50 0.80"
    assert agnostic.lines[0].get_ydata().tolist() == [1] * 81 + [0] * 20
    (band,) = agnostic.collections
    edges = band.get_paths()[0].vertices
    at_half = edges[np.isclose(edges[:, 0], 0.5), 1]
    assert (at_half.min(), at_half.max()) == pytest.approx((result.curve.low[50], result.curve.high[50]))
    assert not by_class.collections


def test_masks_are_ranked_by_iou(given, rectangles):
    """Of a cell of 10 x 10 pixels 8, 10, 6 rows are covered, the last by another class."""
    predictions = [rectangles(((2, 2, 12, 2 + h), label), scores=[0.9]) for h, label in ((8, 1), (10, 1), (6, 2))]
    result = given(predictions, [rectangles((A, 1))] * 3)
    for count in (1, 4):
        ranked = plots.ranked_crops(result, count=count)
        assert {name: [crop.image for crop in crops] for name, crops in ranked.items()} == {
            "best": [1],
            "median": [0],
            "worst": [2],
        }
    assert ranked["median"][0].title == "image 0\nIoU 0.800, a"
    assert ranked["worst"][0].title == "image 2\nIoU 0.600, a\npredicted b"


@pytest.mark.parametrize(
    ("cells", "best", "median", "worst"),
    [
        (0, [], [], []),
        (1, [0], [], []),
        (2, [0], [], [1]),
        (4, [0], [1], [3]),
        (7, [0, 1], [2, 3], [6, 5]),
        (20, *[4] * 3),
    ],
)
def test_no_cell_is_among_the_best_and_the_worst(given, rectangles, cells, best, median, worst):
    """Image i has one cell of 30 x 30 pixels, of which i rows are missing: the IoU falls."""
    predictions = [rectangles(((2, 2 + i // 2, 32, 32 - (i - i // 2) // 2), 1), scores=[0.9]) for i in range(cells)]
    result = given(predictions or [rectangles(scores=[])], [rectangles(((2, 2, 32, 32), 1))] * max(cells, 1))
    ranked = [[crop.image for crop in crops] for crops in plots.ranked_crops(result).values()]
    shown = [image for images in ranked for image in images]
    assert len(set(shown)) == len(shown)
    expected = [[0, 1, 2, 3], [8, 9, 10, 11], [19, 18, 17, 16]] if cells == 20 else [best, median, worst]
    assert ranked == expected


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


def lab(colour, matrix):
    """CIELAB of a colour as the colour-blind see it: a matrix for linear RGB (Machado et al. 2009, severity 1)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    seen = np.clip(np.array(matrix) @ linear, 0, 1)
    to_xyz = [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
    x, y, z = np.cbrt(np.array(to_xyz) @ seen / (0.95047, 1, 1.08883))  # above 0.008856, as all here are
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]


@pytest.mark.parametrize("matrix", [np.eye(3).tolist(), DEUTERANOPIA, PROTANOPIA])
def test_the_colour_blind_can_tell_truth_from_prediction(matrix):
    """In CIELAB 10 is a clear difference; green and pink are 43 apart to the eye of a deuteranope, and 145 else."""
    assert np.linalg.norm(lab(plots.GT_COLOUR, matrix) - lab(plots.PREDICTION_COLOUR, matrix)) > 100
    if matrix == DEUTERANOPIA:
        assert np.linalg.norm(lab("#00a030", matrix) - lab("#e0218a", matrix)) == pytest.approx(43, abs=1)


def test_a_gallery_outlines_true_masks_in_blue_and_predicted_ones_dashed_in_orange(given, rectangles):
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
    assert max(true[0]) == true[0][2] > 2 * true[0][0]  # blue
    assert min(predicted[0]) == predicted[0][2] < predicted[0][1] < predicted[0][0]  # orange
    assert [len(collection.get_linestyle()[0][1] or ()) for collection in ax.collections] == [0, 2]  # of dashes
    assert "blue, solid: ground truth; orange, dashed: prediction" in plots.LEGEND
    # A square around the cell, 35 % of its side more on each side; y points down.
    assert ax.get_xlim() == pytest.approx((-1.5, 15.5))
    assert ax.get_ylim() == pytest.approx((15.5, -1.5))
    assert not empty.images


def shown_of(ax, image):
    """x and y of the view, in pixels of the image: the part that is drawn is looked for in it."""
    part = ax.images[0].get_array()[..., 0]
    windows = np.lib.stride_tricks.sliding_window_view(image[0].numpy(), part.shape)
    ((top, left),) = np.argwhere((windows == part).all(axis=(2, 3)))
    (x1, x2), (y2, y1) = ax.get_xlim(), ax.get_ylim()
    return x1 + left, x2 + left, y1 + top, y2 + top


@pytest.mark.parametrize("box", [(10, 20, 30, 24), (18, 12, 22, 32)])
def test_a_crop_is_square_around_the_middle_of_a_long_box(given, rectangles, box):
    target = rectangles((box, 1))
    image = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0))
    figure = plots.gallery(
        [plots.Crop(0, box, "")], lambda _: (image, target), given([rectangles(scores=[])], [target]), 1
    )
    ax = figure.axes[0]
    assert shown_of(ax, image) == pytest.approx((3, 37, 5, 39))
    (outline,) = outlines(ax)
    offset = np.array(shown_of(ax, image))[[0, 2, 0, 2]] - np.array([*ax.get_xlim()[:1], *ax.get_ylim()[1:]] * 2)
    assert np.array(outline[1:]) + offset == pytest.approx(box)


def test_a_crop_draws_nothing_of_a_large_image_beyond_it(given, rectangles):
    target = rectangles((A, 1), (B, 1))
    image, far = torch.zeros(3, 4000, 5000), (4000, 3000, 4010, 3010)
    crops = [plots.Crop(0, A, ""), plots.Crop(0, far, "")]
    axes = plots.gallery(crops, lambda _: (image, target), given([rectangles(scores=[])], [target]), 2).axes
    assert max(*axes[0].images[0].get_array().shape, *axes[1].images[0].get_array().shape) < 30
    assert [len(outlines(ax)) for ax in axes] == [1, 0]


def test_long_file_names_are_broken(given, rectangles):
    name = "a very long name of a file " + "x" * 60 + ".png"
    result = given([rectangles(scores=[])], [rectangles((A, 1))], files=[f"folder/{name}"])
    (crop,) = plots.failure_crops(result, "missed")
    assert max(map(len, crop.title.split("\n"))) <= plots.TITLE_WIDTH
    assert crop.title.replace("\n", "").replace(" ", "") == name.replace(" ", "") + "truea"


def test_a_picture_for_every_kind_of_failure_that_occurs(result, targets):
    figures = plots.galleries(result, samples_of(targets))
    expected = ["best masks", "median masks", "worst masks", "missed", "false positive", "misclassified"]
    assert list(figures) == expected
    assert [len(figures[f"{name} masks"].axes) for name in ("best", "median", "worst")] == [
        1,
        1,
        1,
    ]  # of four that match
    assert figures["missed"].axes[0].get_title() == "2.png\ntrue b"


def test_a_picture_says_when_it_does_not_show_all_failures(given, rectangles):
    boxes = [(x, y, x + 4, y + 4) for x in range(0, 40, 8) for y in range(0, 24, 8)][:13]
    targets = [rectangles(*((box, 1) for box in boxes))]
    figures = plots.galleries(given([rectangles(scores=[])], targets), samples_of(targets))
    assert list(figures) == ["missed"]
    assert sum(bool(ax.images) for ax in figures["missed"].axes) == 12
    assert figures["missed"].get_supxlabel().startswith("the first 12 of 13")
