"""What the formats share: how images are found, and what any content of another kind than expected ends with."""

import copy
import json
import unicodedata

import pytest
from PIL import Image

from data.classes import choose_classes
from data.dataset import read_dataset
from data.formats import index_dataset
from data.formats.files import ImageFinder, by_key, files_below, side_of
from data.formats.json_files import peek_json, read_json
from data.records import DataError


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("instances_train2017", "train"),
        ("Training", "train"),
        ("valid", "val"),
        ("my-validation-set", "val"),
        ("testing", "test"),
        ("trainer", None),
        ("evaluation", None),
        ("contest", None),
    ],
)
def test_the_split_is_a_word_of_a_name(name, side):
    assert side_of(name) == side


def test_files_are_in_natural_order_and_links_are_followed_once(tmp_path, touch):
    for name in ("10.png", "2.png", "b/1.png", ".hidden/1.png", "__MACOSX/1.png", "Thumbs.db"):
        touch(tmp_path / name)
    (tmp_path / "b/back").symlink_to(tmp_path)
    assert files_below(tmp_path) == [tmp_path / name for name in ("2.png", "10.png", "b/1.png")]


def test_files_of_one_name_are_listed_apart(tmp_path, touch):
    files = [touch(tmp_path / name) for name in ("a.png", "A.jpg", "u/a.png", "b_expert2.png")]
    found, twice = by_key(files, tmp_path, r"_expert\d*")
    assert found == {"a": files[0], "u/a": files[2], "b": files[3]}
    assert [each.path for each in twice] == [files[1]]


@pytest.fixture
def find(tmp_path, touch) -> ImageFinder:
    """Of images of one name in several folders."""
    for name in ("u/a.png", "u/deep/a.png", "v/u/a.png", "train/b.png", "val/b.png", "w/c.png", "w/c.tif", "w/B.jpg"):
        touch(tmp_path / name)
    for form in ("NFC", "NFD"):
        touch(tmp_path / unicodedata.normalize(form, f"é{form}.png"))
    return ImageFinder(tmp_path)


@pytest.mark.parametrize(
    ("name", "near", "expected"),
    [
        ("a.png", "u", "u/a.png"),
        ("a.png", "u/deep", "u/deep/a.png"),
        ("A.PNG", "v/u", "v/u/a.png"),
        ("v/u/a.png", "u", "v/u/a.png"),
        ("..\\deep\\a.png", "v", "u/deep/a.png"),
        ("/home/x/other/a.png", "u", "u/a.png"),
        ("w/c.tif", "", "w/c.tif"),
        (unicodedata.normalize("NFD", "éNFC.png"), "", unicodedata.normalize("NFC", "éNFC.png")),
        (unicodedata.normalize("NFC", "éNFD.png"), "", unicodedata.normalize("NFD", "éNFD.png")),
    ],
)
def test_the_image_is_the_one_whose_folders_agree_or_the_nearest(tmp_path, find, name, near, expected):
    assert find(name, tmp_path / near) == tmp_path / expected


@pytest.mark.parametrize("side", ["train", "val"])
def test_of_images_as_near_the_one_in_the_folder_of_the_split_is_taken(tmp_path, find, side):
    assert find("b.png", tmp_path, side) == tmp_path / side / "b.png"


@pytest.mark.parametrize(("stem", "expected"), [("B", "w/B.jpg"), ("c.tif", "w/c.tif"), ("C.png", "w/c.png")])
def test_an_image_is_found_by_its_name_with_or_without_ending(tmp_path, find, stem, expected):
    assert find.knows(stem)
    assert find.by_stem(stem, tmp_path / "w") == tmp_path / expected


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (lambda find, root: find("z.png", root), "the image z.png is not in the data set"),
        (lambda find, root: find("", root), "is not in the data set"),
        (lambda find, root: find("u/", root), "is not in the data set"),
        (lambda find, root: find("b.png", root), r"could be .*train/b.png or .*val/b.png"),
        (lambda find, root: find.by_stem("c", root), r"could be .*c.png or .*c.tif"),
        (lambda find, root: find.by_stem("z", root), "the image z is not in the data set"),
    ],
)
def test_no_image_and_two_as_near_are_refused(tmp_path, find, search, message):
    with pytest.raises(ValueError, match=message):
        search(find, tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_json_is_read_in_any_unicode_encoding(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes('{"é": 1}'.encode(encoding))
    assert read_json(tmp_path / "a.json") == {"é": 1}


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": "\xff"}', b"\x00\x01", b"[" * 200_000])
def test_what_is_no_json_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    assert len(peek_json(tmp_path / "a.json", 10)) <= 10
    with pytest.raises(DataError, match=r"a\.json: not valid JSON"):
        read_json(tmp_path / "a.json")


RING = [[10, 10], [30, 10], [30, 30], [10, 30]]
MASK = (
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACAQAAAABazTCJAAAADElEQVR42mM4wMQAAAJIAMO+KgfVAAAAAElFTkSuQmCC"  # 2 x 2 pixels of 1
)
VALID = {
    "coco": {
        "images": [{"id": 1, "file_name": "a.png", "height": 48, "width": 64}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "iscrowd": 0,
                "segmentation": [[side for point in RING for side in point]],
            },
            {"id": 2, "image_id": 1, "category_id": 1, "segmentation": {"size": [48, 64], "counts": [9, 99, 2964]}},
        ],
        "categories": [{"id": 1, "name": "u"}],
    },
    "via": {
        "a": {
            "filename": "a.png",
            "regions": [
                {"shape_attributes": {"name": "circle", "cx": 9, "cy": 9, "r": 5}, "region_attributes": {"name": "u"}},
                {
                    "shape_attributes": {"name": "polygon", "all_points_x": [1, 20, 9], "all_points_y": [1, 20, 30]},
                    "region_attributes": {"type": {"u": True}},
                },
            ],
        }
    },
    "labelme": {
        "version": "5",
        "shapes": [
            {"label": "u", "points": RING, "shape_type": "polygon", "group_id": 1},
            {"label": "u", "points": RING[:2], "shape_type": "circle", "group_id": 1},
            {"label": "u", "points": [[1, 1], [2, 2]], "shape_type": "mask", "mask": MASK},
        ],
        "imagePath": "a.png",
        "imageHeight": 48,
        "imageWidth": 64,
    },
    "geojson": {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": {"type": kind, "coordinates": coordinates},
                "properties": {"classification": {"name": "u"}},
            }
            for kind, coordinates in (("Polygon", [RING]), ("MultiPolygon", [[RING]]))
        ],
    },
}
OTHERS = (None, 5, -1, 1e308, float("nan"), 10**400, "x", "", [], {}, [5], [[]], [None], {"x": 5}, True)


def places(content) -> list[tuple]:
    """The keys and numbers that lead to each value."""
    entries = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [(), *((key, *rest) for key, value in entries for rest in places(value))]


def changed(content, place: tuple, value):
    if not place:
        return value
    whole = copy.deepcopy(content)
    parent = whole
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    return whole


@pytest.mark.parametrize("format_name", VALID)
def test_whatever_a_value_is_replaced_by_the_data_are_read_or_refused_in_words(tmp_path, format_name):
    """Never another exception than DataError, at no place of the file."""
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(json.dumps(VALID[format_name]))
    assert len(index_dataset(tmp_path).train) == 1
    for place in places(VALID[format_name]):
        for value in OTHERS:
            (tmp_path / "a.json").write_text(json.dumps(changed(VALID[format_name], place, value)))
            try:
                index, names, _ = choose_classes(index_dataset(tmp_path, format_name=format_name), None)
                read_dataset(index.train, names, progress=False)
            except DataError as error:
                assert "a.json" in str(error) or "a.png" in str(error), (place, value)  # noqa: PT017
