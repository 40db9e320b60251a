"""What is done with the shapes of every format: what outlines no cell, is there twice, has no class or is no pixel."""

import json
from pathlib import Path

import pytest

from data.formats import index_dataset
from data.formats.outlines import NoOutline, ShapeCheck
from data.records import RunLengths, Shape
from data.shapes import polygon

SQUARE = [[10, 10], [30, 10], [30, 30], [10, 30]]
FILE = Path("a.json")


def outline(label: str = "u", points=SQUARE) -> Shape:
    return Shape(label, ((polygon(points),),), None, "entry 1")


def coco(shapes) -> dict:
    annotations = [
        {"id": i, "image_id": 1, "category_id": 1, "segmentation": [[side for point in points for side in point]]}
        | ({"iscrowd": 1} if len(points) < 3 else {})
        for i, points in enumerate(shapes)
    ]
    return {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "u"}],
    }


def via(shapes) -> dict:
    regions = []
    for points in shapes:
        x, y = zip(*points)
        kind = "polygon" if len(points) > 2 else "polyline"
        regions.append(
            {"shape_attributes": {"name": kind, "all_points_x": x, "all_points_y": y}, "region_attributes": {}}
        )
    return {"a.png1": {"filename": "a.png", "regions": regions}}


def labelme(shapes) -> dict:
    return {
        "shapes": [
            {"label": "u", "points": points, "shape_type": "polygon" if len(points) > 2 else "linestrip"}
            for points in shapes
        ],
        "imagePath": "a.png",
    }


def geojson(shapes) -> list[dict]:
    return [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [points]}
            if len(points) > 2
            else {"type": "LineString", "coordinates": points},
        }
        for points in shapes
    ]


FORMATS = {"coco": coco, "via": via, "labelme": labelme, "geojson": geojson}


@pytest.fixture(params=FORMATS)
def write(request, tmp_path, save_image):
    """shapes, each a list of points -> the index of a data set of one image that has them; two points are no outline."""

    def write_file(*shapes):
        save_image(tmp_path / "a.png")
        (tmp_path / "a.json").write_text(json.dumps(FORMATS[request.param](shapes)))
        return index_dataset(tmp_path, needs_train=False, format_name=request.param)

    return write_file


def test_what_outlines_no_cell_is_left_out_and_counted(write):
    index = write(SQUARE, SQUARE[:2], SQUARE[:2])
    assert [len(record.shapes) for record in index.train] == [1]
    (note,) = [note for note in index.notes if note.startswith("left out, since they do not outline one cell: 2 ")]
    assert note.endswith("a.json")


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([SQUARE[:2]], "is not the outline of a cell, and there is no other; outline"),
        ([[[0.1, 0.2], [0.4, 0.2], [0.4, 1]], [[0, 0], [1, 0], [1.01, 1]]], "are fractions of the image; pixels"),
    ],
)
def test_an_image_whose_cells_cannot_be_told_is_no_negative(tmp_path, save_image, shapes, message):
    for format_name, make in FORMATS.items():
        folder = tmp_path / format_name
        for name in "ab":
            save_image(folder / f"{name}.png")
        (folder / "a.json").write_text(json.dumps(make(shapes)))
        text = json.dumps(make([SQUARE])).replace("a.png", "b.png")
        (folder / "b.json").write_text(text)
        index = index_dataset(folder, format_name=format_name)
        assert [record.image.name for record in index.train] == ["b.png"]
        (error,) = [str(skipped) for skipped in index.skipped if skipped.is_error]
        assert message in error
        assert str(folder / "a.json") in error


def test_one_small_outline_beside_others_is_no_fraction(write):
    assert len(write(SQUARE, [[0, 0], [1, 0], [1, 1]]).train[0].shapes) == 2


def test_an_outline_that_is_there_twice_is_read_once_and_counted(write):
    other = [[40, 10], [50, 10], [50, 20]]
    index = write(SQUARE, other, SQUARE, SQUARE)
    assert [shape.polygons[0][0].tolist() for shape in index.train[0].shapes] == [SQUARE, other]
    assert [note for note in index.notes if note.startswith("2 outlines are there twice and are read once; the first")]


def test_equal_outlines_of_two_images_are_no_repetition():
    check = ShapeCheck()
    runs = [RunLengths(2, 2, polygon(SQUARE)[:, 0].astype(int) + i) for i in (0, 1, 1)]
    assert len(check([outline("u"), *(Shape("u", (), each) for each in runs)], FILE)) == 3
    assert len(check([outline("u")], FILE)) == 1
    assert check.notes()[0].startswith("1 outlines")


def test_outlines_without_a_class_are_counted_beside_others_and_one_remark_alone():
    check = ShapeCheck()
    assert [shape.label for shape in check([outline("")], FILE)] == ["cell"]
    assert check.notes() == ["no classes are named, so every cell is a cell"]
    check([outline("u"), outline("", [[1, 1], [9, 1], [9, 9]])], FILE)
    assert check.notes() == ["2 outlines have no class and are read as cell, 1 have one"]
    named = ShapeCheck()
    named([outline("cell"), NoOutline("points", "entry 2")], FILE)
    assert named.notes() == [f"left out, since they do not outline one cell: 1 point; the first is entry 2 of {FILE}"]


@pytest.mark.parametrize(("label", "said"), [("v", "u and v"), ("", "u and no class")])
def test_one_outline_of_two_classes_is_refused(label, said):
    runs = RunLengths(2, 2, polygon(SQUARE)[:, 0].astype(int))
    for one in (outline(), Shape("u", (), runs, "entry 1")):
        with pytest.raises(ValueError, match=f"entry 1 and entry 2 have one outline, of {said}; delete one of them"):
            ShapeCheck()([one, one._replace(label=label, entry="entry 2")], FILE)


def parts(*squares: tuple[int, int]) -> Shape:
    """Of (left edge, side)."""
    corners = [[(x, 5), (x + side, 5), (x + side, 5 + side), (x, 5 + side)] for x, side in squares]
    return Shape("u", tuple((polygon(points),) for points in corners), None, f"entry {squares[0][0]}")


def test_parts_that_could_be_cells_of_their_own_are_counted():
    check = ShapeCheck()
    check([parts((1, 20)), parts((2, 20), (22, 20)), parts((3, 20), (30, 14))], FILE)  # touching; less than half
    check([Shape("u", (parts((4, 20)).polygons[0] + parts((30, 20)).polygons[0],))], FILE)  # of one polygon
    assert not check.notes()
    assert len(check([parts((5, 20), (30, 15)), parts((6, 5), (20, 20), (50, 20))], FILE)) == 2
    assert check.notes() == [
        f"2 outlines consist of parts that lie apart and are one cell each; the first is entry 5 of {FILE}; if they are "
        "several cells, annotate each"
    ]
