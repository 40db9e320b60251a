"""What the formats share: names of splits, and what any content of another kind than expected ends with."""

import copy
import json

import pytest
from PIL import Image

from data.classes import choose_classes
from data.dataset import read_dataset
from data.formats import index_dataset
from data.formats.files import files_below, is_plain_side, natural, side_of, split_folders
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
        ("validated", None),
        ("", None),
        ("blood_test_train", "train"),
        ("test_cells_of_val", None),
        ("train_val", None),
        ("image_info_test-dev2017", "test"),
    ],
)
def test_the_split_is_a_word_of_a_name_and_rather_one_at_its_ends(name, side):
    assert side_of(name) == side


@pytest.mark.parametrize("name", ["test", "instances_val2017", "stage1_train", "_annotations.coco.train", "val_v2"])
def test_a_name_may_tell_nothing_but_a_split(name):
    assert is_plain_side(name)


@pytest.mark.parametrize("name", ["blood_test", "test tubes", "train_val", "images", ""])
def test_a_name_with_other_words_may_mean_something_else(name):
    assert not is_plain_side(name)


def test_folders_of_splits_may_be_called_sets_and_the_plain_name_comes_first(tmp_path):
    for name in ("Training set", "val", "val data", "test tubes"):
        (tmp_path / name).mkdir()
    assert split_folders(tmp_path) == {"train": tmp_path / "Training set", "val": tmp_path / "val"}


def test_names_that_differ_in_letter_case_alone_are_in_one_order(tmp_path):
    assert sorted([tmp_path / "a1", tmp_path / "A1", tmp_path / "a"], key=natural) == [
        tmp_path / "a",
        tmp_path / "A1",
        tmp_path / "a1",
    ]


def test_files_are_in_natural_order_and_links_are_followed_once(tmp_path, touch):
    for name in ("10.png", "2.png", "b/1.png", ".hidden/1.png", "__MACOSX/1.png", "Thumbs.db"):
        touch(tmp_path / name)
    (tmp_path / "b/back").symlink_to(tmp_path)
    assert files_below(tmp_path) == [tmp_path / name for name in ("2.png", "10.png", "b/1.png")]


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
