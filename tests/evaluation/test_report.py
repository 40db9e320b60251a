"""The files of a report, read as their readers do."""

import base64
import io
import json
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

from maskrcnn.evaluation.report import format_table, page, write_report
from maskrcnn.inference.colours import ColourRange

A = (2, 2, 12, 12)
PICTURES = {"missed", "false-positive", "misclassified", "best-masks", "median-masks", "worst-masks", "curves"}


class Page(HTMLParser):
    """A page as tables [rows of texts], texts of <pre> and pictures [bytes]. Fails on tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.texts, self.pictures, self.headings = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "img":
            self.pictures.append(base64.b64decode(attributes["src"].removeprefix("data:image/png;base64,")))
        assert not {"href", "src"} & attributes.keys() or attributes["src"].startswith("data:")  # no other file
        if tag not in ("img", "meta"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        if self.open and self.open[-1] == "pre":
            self.texts.append(data)
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


@pytest.fixture(scope="module")
def folder(result, targets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "new"
    folder.mkdir()
    (folder / "evaluation-split.png").touch()  # of an earlier evaluation with other kinds of failure
    samples = [(torch.full((3, 40, 40), i / 100), target) for i, target in enumerate(targets)]
    path = write_report(result, samples, folder, "runs/<x>", "notes & more")
    assert path == folder / "report.html"
    return folder


def test_the_page_needs_no_other_file(folder, result):
    text = (folder / "report.html").read_text()
    assert "http" not in text
    shown = Page(text)
    assert shown.headings[0] == "runs/<x>"
    assert shown.texts == ["notes & more", format_table(result)]
    files = {file.name: file.read_bytes() for file in folder.glob("evaluation-*.png")}
    assert set(files) == {f"evaluation-{name}.png" for name in PICTURES}
    assert sorted(shown.pictures) == sorted(files.values())
    for picture in shown.pictures:
        image = Image.open(io.BytesIO(picture))
        image.load()
        assert min(image.size) > 100
        assert len(image.convert("L").getcolors()) > 2  # not blank


def test_the_page_lists_all_failures(folder):
    assert Page((folder / "report.html").read_text()).rows == [
        ["kind", "file", "true", "predicted", "score", "box"],
        ["missed", "smears/2.png", "b", "", "", "[20.0, 20.0, 32.0, 30.0]"],
        ["false positive", "smears/3.png", "", "a", "0.6", "[20.0, 20.0, 32.0, 30.0]"],
        ["misclassified", "smears/1.png", "a", "b", "0.95", "[2.0, 2.0, 12.0, 12.0]"],
    ]


def test_the_other_files_hold_the_same(folder, result):
    assert (folder / "evaluation.txt").read_text() == format_table(result) + "\n"
    assert json.loads((folder / "evaluation.json").read_text()) == json.loads(json.dumps(result.to_dict()))


def test_colours_are_shown_beside_those_of_training_and_strange_ones_are_named(result, targets, tmp_path):
    samples = [(torch.full((3, 40, 40), i / 100), target) for i, target in enumerate(targets)]
    for known, strange in ((0.01, False), (0.5, True)):
        colours = ColourRange.of([torch.full((3, 4, 4), known)])
        text = write_report(result, samples, tmp_path, "run", "notes", colours).read_text()
        assert "colours" in Page(text).headings
        assert (tmp_path / "evaluation-colours.png").exists()
        notes = Page(text).texts[0]
        assert notes.startswith("notes")
        assert ("4 of 4 images have other colours" in notes) == strange


def test_names_are_escaped():
    failures = [{"kind": "missed", "file": "<b>&.png"}]
    shown = Page(page("1 < 2", "", "a <i>", failures, {'<i> "x"': b"png"}))
    assert shown.rows[1] == ["missed", "<b>&.png"]
    assert shown.headings == ["1 < 2", '<i> "x"', "all failures"]
    assert shown.texts == ["a <i>"]
    assert Page(page("title", "", "text", [], {})).rows == []


def row_of(text, name):
    """The columns of the table's row with this name."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name}  ")]
    return [column for column in line.removeprefix(name).split("  ") if column.strip()]


def test_the_table_holds_all_of_it(result):
    text = format_table(result)
    assert text.startswith("4 images, 5 cells; ")
    assert "score >= 0.5" in text
    assert text.endswith("failures: 1 missed, 1 false positive, 1 misclassified")
    titles = [line.split("  ")[0] for line in text.splitlines()]
    for title in (
        *("mask", "box", "mask, class-agnostic", "box, b", "mask, class-agnostic, large"),
        *("mask, class-agnostic, largest third", "precision", "F1", "panoptic quality", "calibration error"),
    ):
        assert title in titles
    assert [x.split() for x in row_of(text, "average precision")] == [["AP"], ["AP50"], ["AP75"], ["AR"]]
    columns = [x.strip() for x in row_of(text, "cells, score >= 0.5")]
    recalls = [float(x.split()[0]) for x in row_of(text, "recall")]
    assert dict(zip(columns, recalls)) == {"class-agnostic": 0.8, "class mean": 0.583, "a": 0.667, "b": 0.5}
    assert [x.strip() for x in row_of(text, "mask, class-agnostic, large")] == ["-"] * 4


def test_class_names_are_shown_as_they_are(given, rectangles):
    names = ("large_cell", "class_agnostic cell", "c")
    text = format_table(given([rectangles((A, 1), scores=[0.9])], [rectangles((A, 1))], class_names=names))
    assert "mask, large_cell" in [line.split("  ")[0] for line in text.splitlines()]


def test_the_table_of_one_image_has_no_intervals(given, predictions, targets):
    text = format_table(given(predictions[:1], targets[:1]))
    assert text.startswith("1 images, 2 cells; one image has no intervals")
    assert " to " not in text.partition("\n")[2]
