import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.formats import index_dataset
from data.records import DataError

SQUARE = [[10, 10], [30, 10], [30, 30], [10, 30]]


def shape(points, kind: str = "polygon", label="u", group=None, **others) -> dict:
    return {"label": label, "points": points, "group_id": group, "shape_type": kind, "flags": {}, **others}


def mask_shape(mask: np.ndarray, left: int, top: int, **others) -> dict:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    corners = [[left, top], [left + mask.shape[1] - 1, top + mask.shape[0] - 1]]
    return shape(corners, "mask", mask=base64.b64encode(buffer.getvalue()).decode(), **others)


def write(path: Path, *shapes, image: str | None = "a.png", **others) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    what = {"version": "5.4", "flags": {}, "shapes": shapes, "imagePath": image, "imageData": None}
    path.write_text(json.dumps({**what, "imageHeight": 48, "imageWidth": 64, **others}), encoding="utf-8")


def test_the_shapes_of_an_image_are_its_cells(tmp_path, save_image, read, cells):
    parts = shape(SQUARE), shape([[40, 30], [60, 5]], "rectangle", "v"), shape([[32, 24], [32, 40]], "circle")
    write(tmp_path / "a.json", *parts)
    save_image(tmp_path / "a.png")
    dataset = read(tmp_path)
    square, box, circle = cells(dataset)
    assert [dataset.class_names[label - 1] for label in dataset[0][1]["labels"]] == ["u", "v", "u"]
    assert (square.sum(), square[10:30, 10:30].all()) == (400, True)
    assert (box.sum(), box[5:30, 40:60].all()) == (500, True)
    assert circle.sum() == pytest.approx(np.pi * 16**2, rel=0.01)


def test_a_mask_lies_in_its_box_whose_corners_are_pixels_of_it(tmp_path, save_image, read, cells):
    inner = np.random.default_rng(0).random((9, 12)) > 0.3
    write(tmp_path / "a.json", mask_shape(inner, 20, 30))
    save_image(tmp_path / "a.png")
    expected = np.zeros((48, 64), bool)
    expected[30:39, 20:32] = inner
    assert (cells(read(tmp_path)) == expected).all()


def test_shapes_of_one_group_and_label_are_one_cell(tmp_path, save_image, read, cells):
    """Polygons and masks in any order."""
    far = [[40, 10], [60, 10], [60, 30], [40, 30]]
    beside = [[40, 10], [60, 10], [60, 30], [40, 25]]
    mask = np.ones((5, 6), bool)
    write(
        tmp_path / "a.json",
        *(shape(SQUARE, group=1), shape(far, group=1), shape(far, group=1, label="v"), shape(beside, group=None)),
        *(shape(SQUARE, group=2), mask_shape(mask, 50, 40, group=2)),
        *(mask_shape(mask, 0, 0, group=3), mask_shape(mask, 50, 40, group=3), shape(SQUARE, group=3)),
    )
    save_image(tmp_path / "a.png")
    assert [mask.sum() for mask in cells(read(tmp_path))] == [800, 400, 350, 430, 460]


@pytest.mark.parametrize(
    ("json_file", "image_path", "image"),
    [
        ("a.json", "a.png", "a.png"),
        ("x.json", "a.png", "a.png"),
        ("a.json", None, "a.png"),
        ("json/a.json", "../images/a.png", "images/a.png"),
        ("json/a.json", "..\\images\\a.png", "images/a.png"),
        ("json/a.json", "C:\\data\\a.png", "elsewhere/a.png"),
    ],
)
def test_the_image_is_found_beside_or_elsewhere(tmp_path, json_file, image_path, image, save_image):
    write(tmp_path / json_file, shape(SQUARE), image=image_path)
    write(tmp_path / "b.json", image="b.png")
    for name in (image, "b.png", "c.png"):
        save_image(tmp_path / name)
    index = index_dataset(tmp_path)
    assert {record.image for record in index.train} == {tmp_path / image, tmp_path / "b.png"}
    assert sorted(len(record.shapes) for record in index.train) == [0, 1]
    (unlisted,) = index.skipped
    assert (unlisted.path.name, unlisted.is_error) == ("c.png", False)


def test_splits_are_kept(tmp_path, save_image):
    for side in ("train", "val", "test"):
        write(tmp_path / side / "a.json", shape(SQUARE))
        save_image(tmp_path / side / "a.png")
    index = index_dataset(tmp_path)
    found = [record.image.parent.name for record in (*index.train, *index.val, *index.test)]
    assert found == ["train", "val", "test"]


BOX = mask_shape(np.ones((3, 4), bool), 2, 2)
WRONG = {
    "two points": ([shape([[1, 2], [3, 4]])], "shape 0 (u): a polygon of 2 points"),
    "NaN": ([shape([[1, 2], [3, 4], [float("nan"), 5]])], "shape 0 (u): a coordinate of a polygon is not a number"),
    "odd": ([shape([[1, 2], [3, 4], [5]])], "shape 0 (u): the coordinates"),
    "no points": ([{"label": "u", "shape_type": "polygon"}], "shape 0 (u): points is missing"),
    "no radius": ([shape([[1, 2]], "circle")], "shape 0 (u): a circle of 1 points"),
    "no mask": ([shape([[1, 2], [3, 4]], "mask")], "shape 0 (u): its mask cannot be read"),
    "no PNG": ([{**BOX, "mask": "AAAA"}], "shape 0 (u): its mask cannot be read"),
    "mask of another size": ([{**BOX, "points": [[2, 2], [9, 9]]}], "shape 0 (u): its mask is 4 x 3, not as large"),
    "mask outside": ([{**BOX, "points": [[-1, -1], [2, 1]]}], "shape 0 (u): its mask is not within the image"),
    "outside": (
        [shape((np.array(SQUARE) + 100).tolist())],
        "a.png, shape 0 (u): lies between (110, 110) and (130, 130), mostly",
    ),
    "no object": ([5], "shapes: entry 0 is not an object"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_shape_is_named_and_its_image_left_out(tmp_path, kind, save_image, read):
    shapes, message = WRONG[kind]
    write(tmp_path / "a.json", *shapes)
    write(tmp_path / "b.json", shape(SQUARE), image="b.png")
    for name in "ab":
        save_image(tmp_path / f"{name}.png")
    dataset = read(tmp_path)
    assert [record.image.name for record in dataset.records] == ["b.png"]
    (error,) = [str(skipped) for skipped in dataset.skipped if skipped.is_error]
    assert f"{tmp_path / 'a.json'}: {message}" in error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "b.png"}, "a.json: its imagePath is b.png, but it is named as a.png is; rename it"),
        ({"imageHeight": 50}, "is for a.png of 64 x 50 pixels"),
        ({"imageHeight": "x"}, "imageHeight and imageWidth are 'x' and 64"),
        ({"shapes": None}, "shapes is not a list"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, change, message, save_image, read):
    write(tmp_path / "a.json", shape(SQUARE), **{"image": "a.png", **change})
    write(tmp_path / "b.json", shape(SQUARE), image="b.png")
    for name in "ab":
        save_image(tmp_path / f"{name}.png")
    assert any(message in str(skipped) for skipped in read(tmp_path).skipped if skipped.is_error)


@pytest.mark.parametrize("path", ["z.png", "/home/me/z.png"])
def test_a_file_that_was_renamed_with_its_image_is_of_that_image(tmp_path, save_image, path):
    write(tmp_path / "a.json", shape(SQUARE), image=path)
    save_image(tmp_path / "a.png")
    assert [record.image.name for record in index_dataset(tmp_path).train] == ["a.png"]


def test_an_image_that_is_not_there_and_two_files_of_one_are_named(tmp_path, save_image):
    for name, image in (("x", "z.png"), ("y", "b.png"), ("b", "b.png"), ("c", "c.png")):
        write(tmp_path / f"{name}.json", shape(SQUARE), image=image)
    for name in "bc":
        save_image(tmp_path / f"{name}.png")
    index = index_dataset(tmp_path)
    assert [record.image.name for record in index.train] == ["b.png", "c.png"]
    errors = [str(skipped) for skipped in index.skipped if skipped.is_error]
    assert errors[0].startswith(f"{tmp_path / 'x.json'}: the image z.png is not in the data set")
    assert errors[1].startswith(f"{tmp_path / 'y.json'}: is for b.png, as b.json is")


@pytest.mark.parametrize("alone", [True, False])
def test_json_that_is_cut_short_is_bad_json_of_that_file(tmp_path, alone, save_image):
    for name in "a" if alone else "ab":
        write(tmp_path / f"{name}.json", shape(SQUARE), image=f"{name}.png")
        save_image(tmp_path / f"{name}.png")
    (tmp_path / "a.json").write_text((tmp_path / "a.json").read_text()[:100])
    if alone:
        with pytest.raises(DataError, match=r"a\.json: not valid JSON"):
            index_dataset(tmp_path)
    else:
        errors = [str(skipped) for skipped in index_dataset(tmp_path).skipped if skipped.is_error]
        assert len(errors) == 1
        assert errors[0].startswith(f"{tmp_path / 'a.json'}: not valid JSON")


@pytest.mark.parametrize("label", ["", " ", None])
def test_a_shape_without_a_label_is_a_cell_without_a_class(tmp_path, save_image, label):
    write(tmp_path / "a.json", shape(SQUARE), shape([[40, 10], [60, 10], [60, 30]], label=label))
    save_image(tmp_path / "a.png")
    index = index_dataset(tmp_path)
    assert [record.labels for record in index.train] == [["u", "cell"]]
    assert index.notes == ("1 outlines have no class and are read as cell, 1 have one",)
