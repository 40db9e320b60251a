"""What all formats share: names of classes, and folders without a data set or with more than one."""

import pytest

from data.classes import standard_class
from data.formats import index_dataset


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("Baso", "basophil"),
        ("EOSINOPHILS", "eosinophil"),
        ("lymp", "lymphocyte"),
        ("Monocyte", "monocyte"),
        ("Neutro", "neutrophil"),
        ("mixt", None),
        ("ba", None),
        ("bas", None),  # four letters at least
        ("neu", None),
        ("Lymphoblast", None),
        ("neutral", None),
        ("", None),
    ],
)
def test_the_standard_class_that_a_name_means(folder, expected):
    assert standard_class(folder) == expected


@pytest.mark.parametrize("state", ["missing", "empty", "other", "no images"])
def test_without_data_one_message_says_where_to_get_them_and_what_to_do_instead(tmp_path, touch, message, state):
    root = tmp_path / "LISC"
    if state != "missing":
        root.mkdir()
    if state == "other":
        touch(root / "holiday" / "1.jpg")
    if state == "no images":
        for folder in ("image", "mask"):
            (root / "train" / folder).mkdir(parents=True)
    text = message(root)
    for expected in (
        str(root),
        "Rezatofighi",
        "LISC Database.zip",
        "Leukocyte%20Data.htm",
        "no redistribution",
        "Main Dataset/<class>/1.bmp",
        "train/mask/<Class>",
        "python train.py --data synthetic",
    ):
        assert expected in text


def test_of_two_data_sets_side_by_side_none_is_chosen(tmp_path, make_lisc, make_tutorial, message):
    make_lisc(tmp_path / "LISC Database")
    make_tutorial(tmp_path / "WBC")
    text = message(tmp_path)
    assert str(tmp_path / "WBC") in text
    assert str(tmp_path / "LISC Database") in text


def test_a_broken_file_beside_a_data_set_does_not_hide_it(tmp_path, make_tutorial, message):
    make_tutorial(tmp_path / "set")
    (tmp_path / "set/instances.json").write_text('{"images": [')
    assert index_dataset(tmp_path).format == "class-folders"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/instances.json").write_text('{"images": [')
    assert "instances.json: not valid JSON" in message(tmp_path / "other")
