"""What all formats share: names of classes, and folders without a data set or with more than one."""

import itertools

import pytest

from data.classes import standard_class
from data.formats import index_dataset
from data.records import DataError


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


def test_of_folders_with_images_and_masks_each_it_is_said_how_to_make_one_data_set_of_them(tmp_path, touch, message):
    for patient in ("P0", "P1"):
        for kind in ("images", "Masks"):
            for name in "ab":
                touch(tmp_path / patient / kind / f"{name}.png")
    assert message(tmp_path) == (
        f"{tmp_path}: several data sets ({tmp_path / 'P0'}, {tmp_path / 'P1'}); name one of them, or make one of them: "
        "move P0/images to images/P0, P0/Masks to masks/P0, and so on"
    )
    for kind in ("images", "Masks"):
        for patient in ("P0", "P1"):
            (tmp_path / kind.lower()).mkdir(exist_ok=True)
            (tmp_path / patient / kind).rename(tmp_path / kind.lower() / patient)
    assert len(index_dataset(tmp_path).train) == 4


def test_of_such_folders_in_a_split_it_is_said_so_that_the_split_is_kept(tmp_path, touch, message):
    for place in ("train/P0", "train/P1", "val/P0"):
        for kind, name in itertools.product(("images", "masks"), "ab"):
            touch(tmp_path / place / kind / f"{name}.png")
    assert "move train/P0/images to train/images/P0, train/P0/masks to train/masks/P0, and so on" in message(tmp_path)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("smears.zip", "Unzip it, and give the folder with what was in it"),
        ("via.json", "Give the folder with the images"),
    ],
)
def test_a_file_instead_of_a_folder_is_called_a_file(tmp_path, touch, message, name, advice):
    file = touch(tmp_path / name)
    assert message(file).startswith(f"{file}: this is a file. {advice}")


def test_a_format_that_does_not_fit_says_what_it_is_and_what_there_is(tmp_path, touch):
    for k in range(2):
        touch(tmp_path / f"holiday/{k}.jpg")
    with pytest.raises(DataError) as error:
        index_dataset(tmp_path, format_name="label-maps")
    last = str(error.value).splitlines()[-1].strip()
    assert last.startswith("label-maps is <name>.png and <name>_masks.png")
    assert last.endswith("it has 2 files (holiday/0.jpg, holiday/1.jpg)")


def test_the_export_of_a_tool_that_is_not_read_is_named(tmp_path, touch, message):
    touch(tmp_path / "a.png")
    touch(tmp_path / "annotations.xml").write_text("<annotations><image></image></annotations>")
    assert f"{tmp_path / 'annotations.xml'} is CVAT's XML (CVAT for images); export as COCO 1.0" in message(tmp_path)
