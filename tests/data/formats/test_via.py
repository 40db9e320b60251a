import json
from pathlib import Path

import numpy as np
import pytest

from data.formats import index_dataset
from data.records import DataError

POLYGON = {"name": "polygon", "all_points_x": [10, 30, 30, 10], "all_points_y": [10, 10, 30, 30]}
CIRCLE = {"name": "circle", "cx": 32, "cy": 24, "r": 15}


def region(shape: dict, **attributes) -> dict:
    return {"shape_attributes": shape, "region_attributes": attributes}


def content(*regions, file: str = "a.png", version: int = 2) -> dict:
    numbered = dict(enumerate(regions)) if version == 1 else list(regions)
    return {f"{file}1234": {"filename": file, "size": 1234, "regions": numbered, "file_attributes": {}}}


def write(path: Path, what: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(what), encoding="utf-8")


@pytest.mark.parametrize("version", [1, 2, "project"])
def test_all_versions_are_read(tmp_path, version, save_image, read, cells):
    what = content(region(POLYGON), region(CIRCLE), version=version) | content(file="b.png", version=version)
    project = {"_via_settings": {"ui": {}}, "_via_img_metadata": what, "_via_attributes": {"region": {}}}
    write(tmp_path / "x.json", project if version == "project" else what)
    for name in "abc":
        save_image(tmp_path / f"images/{name}.png")
    dataset = read(tmp_path)
    assert [len(cells(dataset, i)) for i in (0, 1)] == [2, 0]
    expected = np.zeros((48, 64), bool)
    expected[10:30, 10:30] = True
    assert (cells(dataset)[0] == expected).all()
    (unlisted,) = dataset.skipped
    assert (unlisted.path.name, unlisted.reason, unlisted.is_error) == ("c.png", "no JSON file lists it", False)


SHAPES = {
    "rect": ({"name": "rect", "x": 5, "y": 7, "width": 20, "height": 30}, 600),
    "circle": (CIRCLE, np.pi * 15**2),
    "ellipse": ({"name": "ellipse", "cx": 32, "cy": 24, "rx": 20, "ry": 9}, np.pi * 20 * 9),
    "turned": ({"name": "ellipse", "cx": 32, "cy": 24, "rx": 20, "ry": 9, "theta": np.pi / 2}, np.pi * 20 * 9),
    "text": ({"name": "rect", "x": "5", "y": "7", "width": "20", "height": "30"}, 600),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_shapes_have_their_areas(tmp_path, kind, save_image, read, cells):
    shape, area = SHAPES[kind]
    write(tmp_path / "x.json", content(region(shape)))
    save_image(tmp_path / "a.png")
    (mask,) = cells(read(tmp_path))
    assert mask.sum() == pytest.approx(area, rel=0.02)
    y, x = np.nonzero(mask)
    assert (np.ptp(x) > np.ptp(y)) == (kind == "ellipse") or kind == "circle"


@pytest.mark.parametrize(
    ("attributes", "label"),
    [
        ({"name": "u"}, "u"),
        ({"Class": " u "}, "u"),
        ({"celltype": "u", "Quality": "good"}, "u"),
        ({"cell_type": "u", "comment": ""}, "u"),
        ({"wbc": "u"}, "u"),
        ({"wbc": "u", "comment": ""}, "u"),
        ({"類": "u"}, "u"),
        ({"type": {"u": True}}, "u"),
        ({"type": {"v": False, "u": True}}, "u"),
        ({"name": ""}, "cell"),
        ({"type": {}}, "cell"),
        ({}, "cell"),
        ({"name": 3}, "3"),
    ],
)
def test_the_class_is_a_text_a_choice_or_what_is_checked(tmp_path, attributes, label, save_image):
    write(tmp_path / "x.json", content(region(CIRCLE, **attributes)))
    save_image(tmp_path / "a.png")
    assert index_dataset(tmp_path).train[0].labels == [label]


@pytest.mark.parametrize("names", [("wbc", "stain"), ("類", "色")])
def test_of_several_attributes_the_class_is_asked_for(tmp_path, save_image, message, names):
    one, two = names
    write(tmp_path / "x.json", content(region(CIRCLE, **{one: "u", two: "dark"}), region(POLYGON, **{one: "v"})))
    save_image(tmp_path / "a.png")
    assert f"{tmp_path / 'x.json'}: the regions have the attributes {one}, {two}, and none says" in message(tmp_path)
    write(tmp_path / "x.json", content(region(CIRCLE, wbc="u", stain="dark", Class="w"), region(POLYGON, wbc="v")))
    assert index_dataset(tmp_path).train[0].labels == ["w", "cell"]


def test_a_cell_of_two_checked_classes_is_refused(tmp_path, save_image):
    checked = region(CIRCLE, type={"u": True, "v": True})
    write(tmp_path / "x.json", content(checked) | content(region(CIRCLE), file="b.png"))
    for name in "ab":
        save_image(tmp_path / f"{name}.png")
    (error,) = index_dataset(tmp_path).skipped
    assert "region 0: is of the classes u and v; a cell has one" in error.reason


@pytest.mark.parametrize("sides", [("train", "val"), ("Train", "validation")])
def test_the_layout_of_matterports_samples_is_read_with_its_split(tmp_path, sides, save_image):
    for side in sides:
        write(tmp_path / side / "via_region_data.json", content(region(CIRCLE)))
        save_image(tmp_path / side / "a.png")
    index = index_dataset(tmp_path)
    assert [record.image for record in (*index.train, *index.val)] == [tmp_path / side / "a.png" for side in sides]


def test_a_json_in_a_folder_of_annotations_is_found(tmp_path, save_image, read, cells):
    write(tmp_path / "annotations/x.json", content(region(CIRCLE)))
    save_image(tmp_path / "images/a.png")
    assert len(cells(read(tmp_path))) == 1


NAN = float("nan")
WRONG = {
    "two points": ({**POLYGON, "all_points_x": [1, 2], "all_points_y": [1, 2]}, "a polygon of 2 points"),
    "odd": ({**POLYGON, "all_points_x": [1, 2, 3]}, "3 x and 4 y coordinates"),
    "NaN": ({**POLYGON, "all_points_x": [1, 2, 3, NAN]}, "not a number"),
    "no y": ({"name": "polygon", "all_points_x": [1, 2, 3]}, "a polygon without all_points_y"),
    "x is a number": ({**POLYGON, "all_points_x": 7}, "not as expected"),
    "no radius": ({"name": "circle", "cx": 1, "cy": 2}, "a circle without r"),
    "radius of text": ({**CIRCLE, "r": "wide"}, "'wide' is not a number"),
    "no name": ({"cx": 1}, "a shape without name"),
    "not an object": (5, "not as expected"),
    "outside": ({**CIRCLE, "cx": 500}, "outside the image of 64 x 48"),
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_region_is_named_and_its_image_left_out(tmp_path, kind, version, save_image, read):
    shape, message = WRONG[kind]
    wrong = content(region(CIRCLE), region(shape), version=version)
    write(tmp_path / "x.json", wrong | content(region(CIRCLE), file="b.png", version=version))
    for name in "ab":
        save_image(tmp_path / f"{name}.png")
    dataset = read(tmp_path)
    assert [record.image.name for record in dataset.records] == ["b.png"]
    (skipped,) = dataset.skipped
    for text in ("a.png", str(tmp_path / "x.json"), "region 1", message):
        assert text in str(skipped)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"regions": None}, "regions are neither"),
        ({"regions": "abc"}, "regions are neither"),
        ({"regions": [5]}, "region 0: not as expected"),
        ({"filename": "z.png"}, "the entry a.png1234, the image z.png is not in the data set"),
        ({"filename": "b.png"}, "listed 2 times"),
    ],
)
def test_a_wrong_image_is_named_and_left_out(tmp_path, change, message, save_image, read):
    what = content(region(CIRCLE)) | content(region(CIRCLE), file="b.png") | content(file="c.png")
    what["a.png1234"] |= change
    write(tmp_path / "x.json", what)
    for name in "abc":
        save_image(tmp_path / f"{name}.png")
    errors = [str(skipped) for skipped in read(tmp_path).skipped if skipped.is_error]
    assert len(errors) == 1
    assert message in errors[0]
    assert str(tmp_path / "x.json") in errors[0]


@pytest.mark.parametrize("fraction", [0.5, 0.99])
def test_json_that_is_cut_short_is_bad_json_of_that_file(tmp_path, fraction, save_image):
    text = json.dumps(content(region(POLYGON)))
    (tmp_path / "x.json").write_text(text[: int(fraction * len(text))])
    save_image(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"x\.json: not valid JSON"):
        index_dataset(tmp_path)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("quality", "cell_type"), "of the attributes quality, cell_type the class is cell_type"),
        (("name", "class"), "of the attributes name, class the class is class or else name"),
        (("class",), None),
    ],
)
def test_of_several_attributes_it_is_said_which_is_the_class(tmp_path, save_image, names, said):
    write(tmp_path / "x.json", content(region(POLYGON, **dict.fromkeys(names, "u"), empty="")))
    save_image(tmp_path / "a.png")
    assert index_dataset(tmp_path).notes == ((f"{tmp_path / 'x.json'}: {said}",) if said else ())
