"""Names that are nearly those of splits, and images without annotation."""

import json

import pytest

from data.formats import index_dataset


@pytest.fixture
def make_coco(tmp_path, touch):
    """{JSON file: its images} -> the folder of a data set of COCO's; the images may have more in their folders."""

    def make(files: dict[str, list[str]]):
        for file, images in files.items():
            for image in images:
                touch(tmp_path / image)
            content = {
                "images": [{"id": k, "file_name": image, "height": 9, "width": 9} for k, image in enumerate(images)],
                "annotations": [
                    {"id": k, "image_id": k, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 5]]}
                    for k in range(len(images))
                ],
                "categories": [{"id": 1, "name": "u"}],
            }
            touch(tmp_path / file).write_text(json.dumps(content))
        return tmp_path

    return make


def counts(index) -> tuple[int, int | None, int]:
    return len(index.train), None if index.val is None else len(index.val), len(index.test)


@pytest.mark.parametrize(("file", "name"), [("blood_test.json", "blood_test"), ("test tubes/a.json", "test tubes")])
def test_a_word_in_the_name_of_all_there_is_makes_no_split(make_coco, file, name):
    index = index_dataset(make_coco({file: ["1.png", "2.png"]}))
    assert counts(index) == (2, None, 0)
    note = f"{name} is taken for no split, nothing else being named after one; else name it test"
    assert index.notes == (note,)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"blood_test.json": ["1.png"], "blood_train.json": ["2.png"]}, (1, None, 1)),
        ({"cells_val.json": ["1.png"], "cells_test.json": ["2.png"]}, (0, 1, 1)),
        ({"instances_test2017.json": ["1.png"]}, (0, None, 1)),
        ({"a.json": ["1.png"], "test/a.json": ["test/2.png"]}, (1, None, 1)),
        ({"val/a.json": ["val/2.png"]}, (0, 1, 0)),
    ],
)
def test_splits_that_are_named_as_such_or_beside_another_one_are_kept(make_coco, files, expected):
    assert counts(index_dataset(make_coco(files), needs_train=False)) == expected


def test_of_a_test_split_alone_it_is_said_that_there_is_nothing_to_train_on(make_coco, message):
    root = make_coco({"instances_test2017.json": ["1.png"]})
    assert "no annotated image to train on, only 1 to test on, as the name of their folder or file says" in message(
        root
    )


@pytest.mark.parametrize(("name", "meant"), [("vaild", "valid"), ("validaton", "validation"), ("dev", "val")])
def test_a_folder_that_is_nearly_named_after_a_split_is_not_trained_on(make_coco, message, name, meant):
    root = make_coco({"train/a.json": ["train/1.png"], f"{name}/a.json": [f"{name}/2.png"]})
    assert f"{root / name}: the name of no split; if {meant} is meant, rename it to that; if it" in message(root)


def test_an_unused_folder_that_is_nearly_named_after_a_split_is_noted(tmp_path, make_tutorial, message):
    make_tutorial(tmp_path)
    (tmp_path / "val").rename(tmp_path / "vaild")
    note = f"{tmp_path / 'vaild'}: the name of no split; if valid is meant, rename it to that; it is not used"
    assert index_dataset(tmp_path).notes == (note,)
    (tmp_path / "train").rename(tmp_path / "trian")
    (tmp_path / "vaild").rename(tmp_path / "val")
    assert f"{tmp_path / 'trian'}: the name of no split; if train is meant" in message(tmp_path)


def test_other_folders_beside_a_split_are_no_mistakes(make_coco):
    """A JSON file may list images wherever they are, and other folders have other names."""
    root = make_coco({"train.json": ["train/1.png", "dev/2.png", "rest/3.png"], "raw/a.json": ["raw/4.png"]})
    index = index_dataset(root)
    assert counts(index) == (4, None, 0)
    assert index.notes == ()


def test_a_name_that_is_only_a_little_like_that_of_a_split_is_no_mistake(tmp_path, make_tutorial, touch):
    for name in ("rest", "text", "masks", "raw"):
        touch(make_tutorial(tmp_path) / name / "1.png")
    assert index_dataset(tmp_path).notes == ()


def test_images_without_annotation_are_counted(make_coco, touch):
    root = make_coco({"a.json": ["0.png"]})
    for k in range(12):
        touch(root / f"{k}.png")
    index = index_dataset(root)
    assert index.notes == ("of 12 images 11 have no annotation and are not used",)
    assert len(index.skipped) == 11


@pytest.mark.parametrize(
    ("split", "other", "word", "meant"),
    [
        ("train.json", "dev.json", "dev", "val"),
        ("smears_train.json", "smears_dev_b.json", "dev", "val"),
        ("instances_val.json", "instances_holdout.json", "holdout", "test"),
        ("train/a.json", "train_b.json", None, None),
        ("train.json", "train_eval.json", None, None),
        ("train.json", "device.json", None, None),
        ("a.json", "dev.json", None, None),
    ],
)
def test_a_list_of_images_that_may_be_a_split_is_not_trained_on(make_coco, message, split, other, word, meant):
    root = make_coco({split: ["1.png"], other: ["2.png"]})
    if word is None:
        assert counts(index_dataset(root)) == (2, None, 0)
    else:
        said = f"{root / other}: the name of no split; if {meant} is meant, write that for {word}; if it is to be trained on"
        assert said in message(root)


def test_annotations_of_single_images_are_no_splits(tmp_path, touch):
    for name in ("train_1", "dev_1"):
        touch(tmp_path / f"{name}.png")
        shape = {"label": "u", "points": [[1, 1], [5, 1], [5, 5]], "shape_type": "polygon"}
        touch(tmp_path / f"{name}.json").write_text(json.dumps({"shapes": [shape], "imagePath": f"{name}.png"}))
    assert counts(index_dataset(tmp_path)) == (2, None, 0)
