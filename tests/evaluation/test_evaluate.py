"""All of an evaluation at once, for a model whose answers are known."""

import base64
import io
import json
import math
import re

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from maskrcnn import Config
from maskrcnn.evaluation import charts
from maskrcnn.evaluation.average_precision import AveragePrecision
from maskrcnn.evaluation.evaluate import AP_COLUMNS, ap_intervals, evaluate, table
from maskrcnn.evaluation.report import write_report

NAMES = ("a", "b", "c")
A, B = (2, 2, 12, 12), (20, 20, 32, 30)


def objects(*found, scores=None):
    """found: (box, label), each filled."""
    boxes = torch.tensor([box for box, _ in found]).float().reshape(-1, 4)
    masks = torch.zeros(len(found), 40, 40)
    for mask, ((x1, y1, x2, y2), _) in zip(masks, found):
        mask[y1:y2, x1:x2] = 1
    result = {"boxes": boxes, "labels": torch.tensor([label for _, label in found], dtype=torch.int64), "masks": masks}
    return result if scores is None else {**result, "scores": torch.tensor(scores), "masks": masks[:, None]}


class Known(torch.nn.Module):
    """Answers by the brightness of the image: its number, in hundredths."""

    config = Config.lisc(NAMES)

    def __init__(self, answers):
        super().__init__()
        self.answers, self.weight = answers, torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        return [self.answers[round(float(image[0, 0, 0]) * 100)] for image in images]


TRUTH = [objects((A, 1), (B, 2)), objects((A, 1)), objects((B, 2)), objects((A, 1))]
ANSWERS = [
    objects((A, 1), (B, 2), scores=[0.9, 0.8]),
    objects((A, 2), scores=[0.95]),  # wrong class
    objects(scores=[]),  # missed
    objects((A, 1), (B, 1), scores=[0.7, 0.6]),  # nothing there
]


@pytest.fixture(scope="module")
def samples():
    return [(torch.full((3, 40, 40), i / 100), target) for i, target in enumerate(TRUTH)]


@pytest.fixture(scope="module")
def result(samples):
    return evaluate(Known(ANSWERS), samples, "float32", files=[f"smears/{i}.png" for i in range(4)])


def test_every_failure_is_listed_with_its_file(result):
    rows = result.to_dict()["every failure"]
    assert [(row["kind"], row["file"], row["is"], row["called"]) for row in rows] == [
        ("missed", "smears/2.png", "b", ""),
        ("nothing there", "smears/3.png", "", "a"),
        ("wrong class", "smears/1.png", "a", "b"),
    ]
    assert [row["score"] for row in rows] == ["", 0.6, 0.95]
    assert rows[0]["box"] == list(B)
    assert {k: n for k, n in result.failure_counts().items() if n} == {
        "missed": 1,
        "nothing there": 1,
        "wrong class": 1,
    }


def test_average_precision_has_intervals_for_all_for_each_class_and_by_area(result):
    measures = {kind: AveragePrecision(NAMES, kind) for kind in ("mask", "box")}
    for prediction, target in zip(ANSWERS, TRUTH):
        for measure in measures.values():
            measure.update(prediction, target)
    rows, curve = ap_intervals(measures["mask"], measures["box"])
    np.testing.assert_equal(rows, result.ap_intervals)
    assert {"mask", "box, any class", "mask, a", "box, b", "mask, any class, small", "mask, any class, large"} <= set(
        rows
    )
    assert "mask, c" not in rows  # there is none
    for kind, measure in measures.items():
        one = measure.compute()
        assert [rows[kind][c].value for c in AP_COLUMNS] == pytest.approx([one.ap, one.ap50, one.ap75, one.ar])
        for name in ("a", "b"):
            alone = rows[f"{kind}, {name}"]
            assert alone["AP"].value == pytest.approx(one.per_class[name])
            assert alone["AR"].value == pytest.approx(one.per_class_ar[name])
    for row in rows.values():
        for estimate in row.values():
            assert math.isnan(estimate.value) or estimate.low <= estimate.value <= estimate.high
    assert curve.shape == (2, 101)
    assert (curve[0] <= curve[1]).all()
    assert math.isnan(rows["mask, any class, large"]["AP"].value)


def test_counts_have_intervals_and_say_what_they_count(result):
    confusion = result.to_dict()["confusion"]
    assert confusion["rows, what it is"] == ["nothing there", "a", "b", "c"]
    assert confusion["columns, what it was called"] == ["missed", "a", "b", "c"]
    assert confusion["counts"] == [[0, 1, 0, 0], [0, 2, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    low, high = result.confusion_interval
    assert (low <= result.confusion).all()
    assert (result.confusion <= high).all()
    assert high[1, 1] > low[1, 1]
    assert result.calibration_interval.shape == (2, 10)


def test_the_table_holds_all_of_it(result):
    text = table(result)
    for part in (
        "4 images, 5 cells",
        "mask, any class, largest third",
        "box, b",
        "AR",
        "panoptic quality",
        "1 wrong class",
    ):
        assert part in text


def test_one_image_has_no_intervals():
    alone = evaluate(Known(ANSWERS), [(torch.zeros(3, 40, 40), TRUTH[0])], "float32")
    assert " to " not in table(alone).partition("\n")[2]
    assert np.isnan(alone.confusion_interval).all()
    assert alone.ap_intervals["mask"]["AP"].value == pytest.approx(1)


class Upright(Known):
    """Sees its cell only where the image's bright corner is the upper left one: in two of its eight ways."""

    def forward(self, images):
        return [self.answers[int(image[0, 0, 0] < 0.5)] for image in images]


def test_all_eight_ways_on_request():
    image = torch.zeros(3, 40, 40)
    image[:, 0, 0] = 1
    model, samples = Upright([objects((A, 1), scores=[0.8]), objects(scores=[])]), [(image, objects((A, 1)))]
    once, all_ways = (evaluate(model, samples, "float32", min_score=0.1, turns=turns) for turns in (False, True))
    assert once.predictions[0]["scores"].tolist() == pytest.approx([0.8])
    assert all_ways.predictions[0]["scores"].tolist() == pytest.approx([0.8 * 2 / 8])
    assert all_ways.predictions[0]["boxes"].tolist() == [list(A)]


def test_a_class_that_is_only_called_has_a_row():
    wrong = [objects((A, 3), scores=[0.9])]
    only = evaluate(Known(wrong), [(torch.zeros(3, 40, 40), TRUTH[1])], "float32")
    assert only.cells["precision"]["c"].value == 0
    assert "b" not in only.cells["precision"]


def test_the_report_is_one_page_that_needs_no_other_file(result, samples, tmp_path):
    stale = tmp_path / "evaluation-split.png"  # of an evaluation that failed in another way
    stale.touch()
    path = write_report(result, samples, tmp_path, "runs/<x>", "notes & more")
    page = path.read_text()
    assert "runs/&lt;x&gt;" in page
    assert "notes &amp; more" in page
    assert page.count("<td>smears/") == 3  # a row for each failure
    sources = re.findall(r'src="([^"]*)"', page)
    assert "http" not in page
    pictures = [
        Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/png;base64,")))) for source in sources
    ]
    assert min(min(picture.size) for picture in pictures) > 100
    files = {file.name for file in tmp_path.glob("evaluation-*.png")}
    kinds = {"missed", "nothing-there", "wrong-class", "best-outlines", "median-outlines", "worst-outlines", "curves"}
    assert files == {f"evaluation-{kind}.png" for kind in kinds}
    assert len(sources) == len(files)
    assert (tmp_path / "evaluation.txt").read_text() == table(result) + "\n"
    assert json.loads((tmp_path / "evaluation.json").read_text()) == json.loads(json.dumps(result.to_dict()))


def test_outlines_are_ranked_by_how_well_they_fit():
    """Of a cell of 10 x 10 pixels 8, 10, 6 rows are found, the last under another name."""
    answers = [objects(((2, 2, 12, 2 + rows), label), scores=[0.9]) for rows, label in ((8, 1), (10, 1), (6, 2))]
    targets = [objects((A, 1))] * 3
    known = [(torch.full((3, 40, 40), i / 100), target) for i, target in enumerate(targets)]
    ranked = charts.ranked_cells(evaluate(Known(answers), known, "float32"), [t["boxes"] for t in targets], count=1)
    assert {name: cells[0].image for name, cells in ranked.items()} == {"best": 1, "median": 0, "worst": 2}
    assert ranked["median"][0].title == "image 0\nIoU 0.800, a"
    assert ranked["worst"][0].title == "image 2\nIoU 0.600, a, called b"


def test_the_confusion_matrix_shows_its_counts(result):
    ax = charts.confusion(Figure().add_subplot(), result)
    shown = {tuple(map(round, text.get_position())): text.get_text() for text in ax.texts if text.get_fontsize() > 6}
    # (column, row): classes a, b, c, then missed and nothing there
    assert {place: text for place, text in shown.items() if text not in ("0", "")} == {
        (0, 0): "2", (1, 0): "1", (1, 1): "1", (3, 1): "1", (0, 3): "1",
    }  # fmt: skip
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b", "c", "missed"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c", "nothing there"]


def test_calibration_shows_the_share_that_is_right_by_score(result):
    """Scores 0.6 (wrong) and 0.7 (right), 0.8 and 0.9 (right), 0.95 (wrong); in float32, 0.7 and 0.9 are a little less."""
    ax = charts.calibration(Figure().add_subplot(), result)
    x, y = ax.lines[1].get_data()
    assert x == pytest.approx([0.65, 0.85, 0.95], abs=1e-6)
    assert y == pytest.approx([0.5, 1, 0])
    assert [text.get_text() for text in ax.texts] == ["2", "2", "1"]


def test_precision_and_recall_of_each_class(result):
    """Of class a: right, then right (0.7) at recall 1, before a wrong one; of b: wrong (0.95), then right (0.8)."""
    ax = charts.precision_recall(Figure().add_subplot(), result.ap["mask"], NAMES, "masks")
    curves = {line.get_label().split(",")[0]: line.get_ydata() for line in ax.lines}
    assert set(curves) == {"a", "b"}
    assert curves["a"][0] == 1
    assert curves["a"][66] == 1  # two of three cells
    assert curves["a"][67] == 0  # the third is never called a
    assert curves["b"][50] == pytest.approx(0.5)  # one of two, after a wrong one
    assert curves["b"][51] == 0
