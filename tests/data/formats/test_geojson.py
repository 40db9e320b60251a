import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from data.formats import index_dataset
from data.records import DataError

SIZE = (64, 48)  # width and height


def ring(x: float, y: float, side: float) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def feature(coordinates, kind: str = "Polygon", **properties) -> dict:
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "id": "x", "geometry": geometry, "properties": properties}


def write(path: Path, what) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(what), encoding="utf-8")


@pytest.mark.parametrize("form", ["collection", "list", "single"])
def test_all_that_qupath_exports_is_read(tmp_path, form, save_image, read, cells):
    one = feature([ring(10, 10, 20)])
    forms = {"collection": {"type": "FeatureCollection", "features": [one]}, "list": [one], "single": one}
    write(tmp_path / "a.geojson", forms[form])
    save_image(tmp_path / "a.tif")
    (mask,) = cells(read(tmp_path))
    assert (mask.sum(), mask[10:30, 10:30].all()) == (400, True)


def test_an_inner_ring_is_a_hole_and_several_polygons_are_one_cell(tmp_path, save_image, read, cells):
    holed = [ring(5, 5, 20), ring(10, 10, 8)]
    write(tmp_path / "a.geojson", [feature(holed), feature([holed, [ring(40, 30, 10)]], "MultiPolygon")])
    save_image(tmp_path / "a.tif")
    drawn = Image.new("1", SIZE)
    for box, value in (((5, 5, 24, 24), 1), ((10, 10, 17, 17), 0)):  # the corners of Pillow's are pixels of it
        ImageDraw.Draw(drawn).rectangle(box, fill=value)
    first, second = cells(read(tmp_path))
    assert (first == np.array(drawn)).all()
    assert (second.sum(), second[30:40, 40:50].all()) == (400 - 64 + 100, True)


@pytest.mark.parametrize(
    ("properties", "label"),
    [
        ({"classification": {"name": "u", "color": [1, 2, 3]}}, "u"),
        ({"classification": {"names": ["u", "v"]}}, "u: v"),
        ({"classification": "u"}, "u"),
        ({"objectType": "annotation"}, "cell"),
        ({"classification": None}, "cell"),
    ],
)
def test_the_class_is_qupaths_classification(tmp_path, properties, label, save_image):
    write(tmp_path / "a.geojson", [feature([ring(1, 1, 9)], **properties)])
    save_image(tmp_path / "a.png")
    assert index_dataset(tmp_path).train[0].labels == [label]


@pytest.mark.parametrize(
    ("file", "image"),
    [
        ("a.geojson", "a.tif"),
        ("a.json", "a.tif"),
        ("a.tif.geojson", "a.tif"),
        ("A.geojson", "a.tif"),
        ("geojson/a.geojson", "images/a.tif"),
        (unicodedata.normalize("NFD", "é.geojson"), unicodedata.normalize("NFC", "é.tif")),
    ],
)
def test_the_image_has_the_name_of_the_file(tmp_path, file, image, save_image):
    write(tmp_path / file, [feature([ring(1, 1, 9)])])
    write(tmp_path / Path(file).with_name(f"b{Path(file).suffix}"), {"type": "FeatureCollection", "features": []})
    for name in (image, "b.png", "c.png"):
        save_image(tmp_path / name)
    index = index_dataset(tmp_path)
    assert {record.image.name: len(record.shapes) for record in index.train} == {Path(image).name: 1, "b.png": 0}
    (unlisted,) = index.skipped
    assert (unlisted.path.name, unlisted.is_error) == ("c.png", False)


def test_splits_are_kept(tmp_path, save_image):
    for side in ("train", "valid"):
        write(tmp_path / side / "a.geojson", [feature([ring(1, 1, 9)])])
        save_image(tmp_path / side / "a.png")
    index = index_dataset(tmp_path)
    assert [record.image.parent.name for record in (*index.train, *index.val)] == ["train", "valid"]


WRONG = {
    "no geometry": ({"type": "Feature", "geometry": None}, "a feature without geometry is not the outline"),
    "two points": (feature([[[1, 2], [3, 4], [1, 2]]]), "a polygon of 2 points"),
    "NaN": (feature([[[1, 2], [3, 4], [float("nan"), 2]]]), "not a number"),
    "no coordinates": (feature([]), "a Polygon without coordinates"),
    "not nested": (feature([[1, 2], [3, 4], [5, 6]]), "a polygon of"),
    "text": (feature("abc"), "not numbers"),
    "outside": (feature([ring(90, 1, 9)]), "outside the image of 64 x 48"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_feature_is_named_and_its_image_left_out(tmp_path, kind, save_image, read):
    wrong, message = WRONG[kind]
    write(tmp_path / "a.geojson", [feature([ring(1, 1, 9)]), wrong])
    write(tmp_path / "b.geojson", [feature([ring(1, 1, 9)])])
    for name in "ab":
        save_image(tmp_path / f"{name}.png")
    dataset = read(tmp_path)
    assert [record.image.name for record in dataset.records] == ["b.png"]
    (error,) = [str(skipped) for skipped in dataset.skipped if skipped.is_error]
    for text in (f"{tmp_path / 'a.geojson'}: ", "feature 1: ", message):
        assert text in error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[5]", "features: entry 0 is not"),
        ("7", "features is not a list"),
        ('{"features": 7}', "features is not a list"),
    ],
)
def test_what_is_no_geojson_is_named(tmp_path, message, content, save_image):
    (tmp_path / "a.geojson").write_text(content)
    save_image(tmp_path / "a.png")
    with pytest.raises(DataError) as error:
        index_dataset(tmp_path)
    assert f"{tmp_path / 'a.geojson'}: {message}" in str(error.value)


def test_a_file_without_image_and_one_with_two_are_named(tmp_path, save_image):
    for name in "abz":
        write(tmp_path / f"{name}.geojson", [feature([ring(1, 1, 9)])])
    for name in ("a.png", "b.png", "b.tif"):
        save_image(tmp_path / name)
    errors = [str(skipped) for skipped in index_dataset(tmp_path).skipped if skipped.is_error]
    assert len(errors) == 2
    assert f"{tmp_path / 'b.geojson'}: the image b could be {tmp_path / 'b.png'} or" in errors[0]
    assert f"{tmp_path / 'z.geojson'}: the image z is not in the data set" in errors[1]


def test_json_that_is_cut_short_is_bad_json_of_that_file(tmp_path, save_image):
    (tmp_path / "a.geojson").write_text(json.dumps([feature([ring(1, 1, 9)])])[:50])
    save_image(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.geojson: not valid JSON"):
        index_dataset(tmp_path)


def test_the_area_in_which_qupath_detected_cells_is_no_cell(tmp_path, save_image):
    area = feature([ring(1, 1, 40)], objectType="annotation")
    cells = [feature([ring(x, 5, 9)], objectType=kind) for x, kind in ((5, "detection"), (20, "cell"))]
    named = feature([ring(30, 5, 9)], objectType="annotation", classification={"name": "u"})
    write(tmp_path / "a.geojson", [area, *cells, named])
    write(tmp_path / "b.geojson", [area])
    for name in "ab":
        save_image(tmp_path / f"{name}.png")
    index = index_dataset(tmp_path)
    assert [record.labels for record in index.train] == [["cell", "cell", "u"], ["cell"]]
    note = "left out, since they do not outline one cell: 1 detection area; the first is feature 0 of "
    assert [each for each in index.notes if each.startswith(note)]


@pytest.mark.parametrize("classification", [{"name": "Ignore*"}, {"names": ["Tumor", "Region*"]}])
def test_what_qupath_ignores_is_left_out_and_counted(tmp_path, save_image, classification):
    ignored = feature([ring(20, 1, 9)], classification=classification)
    write(tmp_path / "a.geojson", [feature([ring(1, 1, 9)], classification="u"), ignored])
    save_image(tmp_path / "a.png")
    index = index_dataset(tmp_path)
    assert [record.labels for record in index.train] == [["u"]]
    assert [note for note in index.notes if "* outline; the first is feature 1 of" in note]
