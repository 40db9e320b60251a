"""The files of a report, read as their readers do."""

import base64
import io
import json
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

from maskrcnn.evaluation.report import WIDTH, format_table, write_report
from maskrcnn.inference.colours import ColourRange

A, B = (2, 2, 12, 12), (20, 20, 32, 30)
PICTURES = {
    *("missed", "false-positive", "misclassified", "best-masks", "median-masks", "worst-masks"),
    *("precision-and-recall", "precision-and-recall-class-agnostic", "confusion-matrix", "calibration"),
}
HEADLINE = "5 cells: 4 found, 3 named correctly, 1 wrongly, 1 false positive"


class Page(HTMLParser):
    """A page as headings, tables {heading: rows of texts}, paragraphs, and pictures [bytes]. Fails on tags that do not
    match, and on any that a report does not have."""

    TAGS = frozenset(
        "html head title style body h1 h2 p div section table thead tbody tr td th small".split()  # noqa: SIM905
    )

    def __init__(self, text):
        super().__init__()
        self.open, self.tables, self.paragraphs, self.pictures, self.headings, self.notes = [], {}, [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "img":
            self.pictures.append(base64.b64decode(attributes["src"].removeprefix("data:image/png;base64,")))
        assert not {"href", "src"} & attributes.keys() or attributes["src"].startswith("data:")  # no other file
        if tag not in ("img", "meta"):
            assert tag in self.TAGS
            self.open.append(tag if attributes.get("class") != "notes" else "notes")
        if tag in ("h1", "h2"):
            self.headings.append("")
        if tag == "p":
            self.paragraphs.append("")
        if tag == "table":
            self.tables[self.headings[-1]] = []
        if tag == "tr":
            self.tables[self.headings[-1]].append([])
        if tag in ("td", "th"):
            self.tables[self.headings[-1]][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop().replace("notes", "div") == tag

    def handle_data(self, data):
        inner = self.open[-1] if self.open else ""
        if inner in ("td", "th", "small"):
            self.tables[self.headings[-1]][-1][-1] += f" ({data})" if inner == "small" else data
        if inner in ("h1", "h2"):
            self.headings[-1] += data
        if inner == "p":
            self.paragraphs[-1] += data
        if inner == "notes":
            self.notes += data


@pytest.fixture(scope="module")
def folder(result, targets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "new"
    folder.mkdir()
    (folder / "evaluation-split.png").touch()  # of an earlier evaluation with other kinds of failure
    path = write_report(result, samples_of(targets), folder, "runs/<x>", "warning: <b>\nnotes & more")
    assert path == folder / "report.html"
    return folder


def samples_of(targets):
    return [(torch.full((3, 40, 40), i / 100), target) for i, target in enumerate(targets)]


def test_the_page_begins_with_what_was_found_and_warnings(folder):
    shown = Page((folder / "report.html").read_text())
    assert shown.headings[:2] == [HEADLINE, "differential count"]
    assert shown.paragraphs[:2] == ["runs/<x>", "warning: <b>"]
    assert shown.notes == "notes & more"


def test_the_page_shows_the_true_beside_the_predicted_differential_count(folder):
    """Of five cells three are an a; predicted are three a (one false) and two b (one is an a)."""
    assert Page((folder / "report.html").read_text()).tables["differential count"] == [
        ["class", "true", "true %", "predicted", "predicted %"],
        ["a", "3", "60.0 (14.7\xa0to 94.7)", "3", "60.0 (14.7\xa0to 94.7)"],
        ["b", "2", "40.0 (5.3\xa0to 85.3)", "2", "40.0 (5.3\xa0to 85.3)"],
        ["c", "0", "0.0 (0.0\xa0to 52.2)", "0", "0.0 (0.0\xa0to 52.2)"],
    ]


def test_the_page_needs_no_other_file(folder):
    text = (folder / "report.html").read_text()
    assert "http" not in text
    shown = Page(text)
    files = {file.name: file.read_bytes() for file in folder.glob("evaluation-*.png")}
    assert set(files) == {f"evaluation-{name}.png" for name in PICTURES}
    assert sorted(shown.pictures) == sorted(files.values())
    for picture in shown.pictures:
        image = Image.open(io.BytesIO(picture))
        image.load()
        assert min(image.size) > 100
        assert len(image.convert("L").getcolors()) > 2  # not blank


def test_every_table_and_picture_says_how_to_read_it(folder):
    shown = Page((folder / "report.html").read_text())
    readings = [paragraph for paragraph in shown.paragraphs if len(paragraph) > 40]
    assert len(readings) >= len(shown.headings) - 1
    assert any("blue, solid: ground truth; orange, dashed: prediction" in reading for reading in readings)


def test_the_page_lists_all_failures(folder):
    assert Page((folder / "report.html").read_text()).tables["all failures"] == [
        ["kind", "file", "true", "predicted", "score", "box"],
        ["missed", "smears/2.png", "b", "", "", "20, 20, 32, 30"],
        ["false positive", "smears/3.png", "", "a", "0.6", "20, 20, 32, 30"],
        ["misclassified", "smears/1.png", "a", "b", "0.95", "2, 2, 12, 12"],
    ]


def test_tables_are_narrow_and_pages_of_paper_break_between_them(folder):
    shown = Page((folder / "report.html").read_text())
    assert {len(row) for rows in shown.tables.values() for row in rows} == {2, 5, 6}
    style = (folder / "report.html").read_text().partition("@media print")[2].partition("</style>")[0]
    assert "@page { size: A4" in style
    assert "section { break-inside: avoid }" in style
    assert ".wide { overflow: visible }" in style  # nothing is cut off


def test_the_other_files_hold_the_same(folder, result):
    assert (folder / "evaluation.txt").read_text() == format_table(result) + "\n"
    assert json.loads((folder / "evaluation.json").read_text()) == json.loads(json.dumps(result.to_dict()))


def test_colours_are_shown_beside_those_of_training_and_strange_ones_are_named(result, targets, tmp_path):
    for known, strange in ((0.01, False), (0.5, True)):
        colours = ColourRange.of([torch.full((3, 4, 4), known)])
        text = write_report(result, samples_of(targets), tmp_path, "run", "notes", colours).read_text()
        shown = Page(text)
        assert "colours" in shown.headings
        assert (tmp_path / "evaluation-colours.png").exists()
        assert shown.notes == "notes"
        assert ("4 of 4 images have other colours" in shown.paragraphs[1]) == strange


def test_names_are_text_and_not_html(given, rectangles, tmp_path):
    """The reader fails on a tag that a report does not have."""
    script = "<script>alert('x')</script>"
    names = (script, "b&amp;", 'c"')
    result = given([rectangles((A, 2), scores=[0.9])], [rectangles((A, 1))], files=[f"{script}.png"], class_names=names)
    path = write_report(
        result, samples_of([rectangles((A, 1))]), tmp_path, f"{script} &lt;", f"warning: {script}\n{script}"
    )
    text = path.read_text()
    shown = Page(text)
    assert "<script" not in text
    assert shown.tables["all failures"][1][1:4] == [f"{script}.png", script, "b&amp;"]
    assert [row[0] for row in shown.tables["differential count"][1:]] == list(names)
    assert shown.paragraphs[:2] == [f"{script} &lt;", f"warning: {script}"]
    assert shown.notes == script


def columns_of(text, table):
    """Row -> column -> what stands there, of the table with this title."""
    lines = text.split(f"\n{table}\n")[1].split("\n\n")[0].splitlines()
    rows = ([part.strip() for part in line.split("  ") if part.strip()] for line in lines[1:])
    titles = [part.strip() for part in lines[0].split("  ") if part.strip()]
    return {name: dict(zip(titles, values, strict=True)) for name, *values in rows}


def test_the_text_holds_all_of_it(result):
    text = format_table(result)
    assert text.startswith(f"{HEADLINE}\n4 images, 5 cells; detections with a score of 0.5 or more\n")
    assert text.endswith("failures: 1 missed, 1 false positive, 1 misclassified")
    found = columns_of(text, "cells found and named")
    assert {name: float(row["recall"].split()[0]) for name, row in found.items()} == {
        "all classes as one": 0.8, "mean of classes": 0.583, "a": 0.667, "b": 0.5,
    }  # fmt: skip
    assert found["b"]["recall"] == "0.500 (0.013 to 0.987)"  # one of two
    assert list(columns_of(text, "outlines")["a"]) == ["IoU", "Dice", "panoptic quality", "offset, pixels"]
    assert list(columns_of(text, "scores")) == ["all classes as one"]
    overall = columns_of(text, "average precision")
    assert next(iter(overall)) == "masks, as one class"
    assert overall["masks, as one class"]["AP50"].startswith("0.802")
    assert list(columns_of(text, "average precision of classes, masks")) == ["a", "b"]
    assert columns_of(text, "average precision by area")["large"] == dict.fromkeys(("AP", "AP50", "AP75", "AR"), "-")


def test_class_names_are_shown_as_they_are_and_long_ones_make_no_line_longer(given, rectangles):
    names = ("large_cell", "class_agnostic cell", " ".join(["a long name"] * 20))
    objects = [(A, 1), (B, 3), (A, 2)]
    targets = [rectangles(*objects[:2]), rectangles(*objects[1:])]
    predictions = [rectangles(*objects[:2], scores=[0.9, 0.8]), rectangles(*objects[1:], scores=[0.9, 0.8])]
    text = format_table(given(predictions, targets, class_names=names))
    assert max(map(len, text.splitlines())) <= WIDTH == 120
    assert sum(line.startswith("class_agnostic cell  ") for line in text.splitlines()) == 5
    assert " ".join(text.split()).count("a long name") == 5 * 20  # once in every table of classes


def test_numbers_of_one_are_singular_and_one_cell_has_no_interval(given, rectangles):
    text = format_table(given([rectangles((A, 1), scores=[0.9])], [rectangles((A, 1))]))
    assert text.startswith("1 cell: 1 found, 1 named correctly, 0 wrongly, 0 false positives\n1 image, 1 cell; ")
    assert "a: 1 cell: no interval means anything" in text.splitlines()
    assert "1 cells" not in text
    assert " to " not in text.partition("average precision")[2]


def test_all_right_is_not_certain(given, rectangles):
    """12 of 12 cells on as many images: exact intervals for what is counted, and none where all samples are the same."""
    text = format_table(given([rectangles((A, 1), scores=[0.9])] * 12, [rectangles((A, 1))] * 12))
    assert "1.000 to 1.000" not in text
    assert columns_of(text, "cells found and named")["a"] == {
        "precision": "1.000 (0.735 to 1.000)", "recall": "1.000 (0.735 to 1.000)", "F1": "1.000",
        "accuracy": "1.000 (0.735 to 1.000)",
    }  # fmt: skip
    assert columns_of(text, "average precision")["masks, mean of classes"]["AP50"] == "1.000"


def test_images_without_a_cell_are_counted(given, rectangles):
    text = format_table(given([rectangles((A, 1), scores=[0.9])], [rectangles()]))
    assert text.startswith("0 cells: 0 found, 0 named correctly, 0 wrongly, 1 false positive\n1 image, 0 cells; ")
    assert "images without a cell: 1, with 1.00 false positives each (on 1 of them)" in text
