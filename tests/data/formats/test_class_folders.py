import shutil
from collections import Counter
from pathlib import Path

import pytest

from data.formats import index_dataset
from maskrcnn.config import LISC_CLASSES


@pytest.mark.parametrize("outer", ["", "WBC"])
def test_the_layout_of_the_tutorial(tmp_path, make_tutorial, touch, outer):
    root = make_tutorial(tmp_path / outer)
    touch(root / "detect" / "image" / "a.png")
    index = index_dataset(tmp_path)
    train, val, unlabelled = index.train, index.val, index.unlabelled
    assert [r.image.name for r in train] == [f"{c.title()}_{i:02d}.jpg" for c in LISC_CLASSES for i in (1, 2)]
    assert [r.image.name for r in val] == [f"{c.title()}_03.jpg" for c in LISC_CLASSES]
    assert [r.image.name for r in unlabelled] == ["a.png"]
    assert not index.skipped
    assert index.format == "class-folders"
    for record in train + val:
        assert record.annotation == Path(str(record.image).replace("image", "mask")).with_suffix(".png")
        assert record.label == record.image.parent.name


def test_without_a_val_folder_there_is_no_split(tmp_path, make_tutorial):
    shutil.rmtree(make_tutorial(tmp_path) / "val")
    index = index_dataset(tmp_path)
    assert index.val is None
    assert Counter(record.label for record in index.train) == dict.fromkeys(map(str.title, LISC_CLASSES), 2)


def test_files_without_their_counterpart_are_left_out_and_listed(tmp_path, make_tutorial, touch):
    make_tutorial(tmp_path)
    no_mask = touch(tmp_path / "train/image/Monocyte/odd.png")
    no_image = touch(tmp_path / "val/mask/Basophil/lone.png")
    index = index_dataset(tmp_path)
    assert [item.path for item in index.skipped] == [no_mask, no_image]
    assert str(index.skipped[0]).startswith(f"{no_mask}: no mask of that name in")
    assert str(index.skipped[1]).startswith(f"{no_image}: no image of that name in")
    assert len(index.train) == 10
    assert len(index.val) == 5


def test_all_problems_of_the_folders_are_in_one_message(tmp_path, make_tutorial, touch, message):
    make_tutorial(tmp_path)
    second = touch(tmp_path / "train/image/Basophils/1.png").parent
    shutil.rmtree(tmp_path / "val/mask")
    lines = [line.strip() for line in message(tmp_path).splitlines()]
    assert lines[1] == f"{second}: the same class as Basophil; put the files into one folder"
    assert lines[2].startswith(f"{tmp_path / 'val/mask'}: no such folder")
    assert len(lines) == 3


def test_a_folder_in_both_spellings_is_an_error_that_names_both(tmp_path, make_tutorial, touch, message):
    make_tutorial(tmp_path)
    touch(tmp_path / "val/images/Monocyte/1.png")
    assert f"{tmp_path / 'val/image'} and images: two folders for the same" in message(tmp_path)


def test_an_image_that_is_there_twice_is_left_out_and_listed(tmp_path, make_tutorial, touch):
    make_tutorial(tmp_path)
    duplicate = touch(tmp_path / "train/image/Basophil/Basophil_01.png")
    (skipped,) = index_dataset(tmp_path).skipped
    assert skipped.path == duplicate.with_suffix(".png")
    assert "the same name as Basophil_01.jpg" in skipped.reason


def test_any_folder_is_a_class(tmp_path, make_tutorial, touch):
    make_tutorial(tmp_path)
    for kind in ("image", "mask"):
        touch(tmp_path / "train" / kind / "Platelet clump" / "1.png")
    assert {record.label for record in index_dataset(tmp_path).train} >= {"Basophil", "Platelet clump"}


def test_two_folders_of_one_class_are_a_problem(tmp_path, make_tutorial, touch, message):
    make_tutorial(tmp_path)
    second = touch(tmp_path / "train/image/Basophils/1.png").parent
    assert f"{second}: the same class as Basophil" in message(tmp_path)


def test_missing_masks_of_a_whole_split_are_one_line(tmp_path, make_tutorial, message):
    shutil.rmtree(make_tutorial(tmp_path) / "train/mask")
    lines = message(tmp_path).splitlines()
    assert len(lines) == 2
    assert str(tmp_path / "train/mask") in lines[1]


@pytest.mark.parametrize("layout", ["train/image/{0}", "images/train/{0}"])
def test_splits_may_be_above_or_below_the_folders_of_images(tmp_path, touch, layout):
    for side in ("train", "val", "test"):
        for kind in ("image", "mask"):
            folder = layout.replace("image", kind).replace("train", side)
            for label in ("type.1", "type.2"):
                touch(tmp_path / folder.format(label) / f"{side}.png")
    index = index_dataset(tmp_path)
    for records in (index.train, index.val, index.test):
        assert [record.label for record in records] == ["type.1", "type.2"]
    assert not index.skipped


def test_a_test_split_without_masks_is_no_problem(tmp_path, make_tutorial, touch):
    make_tutorial(tmp_path)
    picture = touch(tmp_path / "test/image/Monocyte/a.png")
    index = index_dataset(tmp_path)
    assert (len(index.train), len(index.val), len(index.test)) == (10, 5, 0)
    assert [(item.path, item.is_error) for item in index.skipped] == [(picture, False)]


def test_a_folder_with_a_test_split_alone_is_enough_to_evaluate_on(tmp_path, touch):
    for kind in ("image", "mask"):
        touch(tmp_path / "test" / kind / "Monocyte" / "a.png")
    assert len(index_dataset(tmp_path, needs_train=False).test) == 1


@pytest.mark.parametrize("name", ["a_mask.png", "a_label.png", "a-mask.png", "A_Masks.tif", "a_expert2.bmp", "a.png"])
def test_masks_may_say_in_their_names_what_they_are(tmp_path, touch, name):
    touch(tmp_path / "image/Eosinophil/a.png")
    mask = touch(tmp_path / "mask/Eosinophil" / name)
    index = index_dataset(tmp_path)
    assert [(record.annotation, record.label) for record in index.train] == [(mask, "Eosinophil")]
    assert not index.skipped


def test_of_two_masks_of_an_image_the_one_of_its_name_is_read_and_the_other_named(tmp_path, touch):
    touch(tmp_path / "image/Eosinophil/a.png")
    for name in ("a.png", "a-mask.png"):
        touch(tmp_path / "mask/Eosinophil" / name)
    index = index_dataset(tmp_path)
    assert [record.annotation.name for record in index.train] == ["a.png"]
    assert [(item.path.name, item.reason) for item in index.skipped] == [("a-mask.png", "a.png is read instead of it")]


@pytest.mark.parametrize("outer", ["", "outer"])
def test_folders_of_patients_are_classes_if_told(tmp_path, touch, outer):
    for kind in ("images", "masks"):
        for patient in ("P0", "P1"):
            touch(tmp_path / outer / kind / patient / f"{patient}.png")
    index = index_dataset(tmp_path, format_name="class-folders")
    assert [record.label for record in index.train] == ["P0", "P1"]


def test_a_class_beside_folders_of_patients_is_a_class(tmp_path, touch):
    for kind in ("images", "masks"):
        for folder in ("P0", "Monocyte"):
            touch(tmp_path / kind / folder / f"{folder}.png")
    index = index_dataset(tmp_path)
    assert index.format == "class-folders"
    assert [record.label for record in index.train] == ["Monocyte", "P0"]


def test_a_picture_with_one_mask_in_the_folders_of_two_classes_is_of_neither(tmp_path, make_tutorial):
    """Its cell would be there twice, once in each class."""
    make_tutorial(tmp_path)
    for label in ("Basophil", "Monocyte"):
        for kind in ("image", "mask"):
            (tmp_path / "train" / kind / label / "same.png").write_bytes(kind.encode())
    index = index_dataset(tmp_path)
    assert not [record for record in index.train if record.image.stem == "same"]
    (item,) = (item for item in index.skipped if item.path.stem == "same" and item.is_error)
    assert "the same picture with the same mask as" in item.reason
    assert "keep one" in item.reason


@pytest.mark.parametrize("other", ["old", "thumbs"])
def test_a_folder_of_other_pictures_is_no_class_where_images_have_their_masks_beside(tmp_path, touch, other):
    for name in "abc":
        touch(tmp_path / "images" / f"{name}.png")
        touch(tmp_path / "masks" / f"{name}.png")
    touch(tmp_path / "images" / other / "a.png")
    index = index_dataset(tmp_path)
    assert index.format == "label-maps"
    assert len(index.train) == 3
