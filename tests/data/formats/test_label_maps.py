import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.classes import choose_classes
from data.dataset import SmearDataset, read_dataset
from data.formats import index_dataset
from data.records import DataError

MAP = np.zeros((48, 64), np.uint16)
MAP[5:25, 5:25] = 1
MAP[5:25, 25:45] = 300  # touches the first
MAP[30:45, 10:40] = 7


def save_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48)).save(path)


def save_map(path: Path, label_map: np.ndarray = MAP) -> None:
    """As StarDist and cellpose do; _seg.npy is a pickled dict."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, {"masks": label_map, "outlines": label_map, "filename": "x"}, allow_pickle=True)
    else:
        Image.fromarray(label_map).save(path)


def read(root: Path) -> SmearDataset:
    """The training images; files left out by index and reader are in `skipped`."""
    index, names, _ = choose_classes(index_dataset(root), None)
    dataset = read_dataset(index.train, names, progress=False)
    dataset.skipped = [*index.skipped, *dataset.skipped]
    return dataset


PAIRS = [
    ("a.tif", "a_masks.tif"),
    ("a.png", "a_mask.png"),
    ("a.jpg", "a_label.png"),
    ("a.png", "a_labels.png"),  # our own predict.py
    ("a.png", "a-labels.tif"),
    ("a.tif", "a_cp_masks.png"),
    ("a.tif", "a_seg.npy"),
    ("000_img.png", "000_masks.png"),
    ("images/a.png", "masks/a.png"),
    ("images/a.jpg", "labels/a.tif"),
    ("img/a.png", "gt/a.png"),
    ("images/a.png", "masks/a_mask.png"),
    ("images/a_label.png", "masks/a_label.png"),
    ("images/a.png", "masks/a.npy"),
    ("images/a_img.png", "masks/a_seg.npy"),
    (unicodedata.normalize("NFC", "images/é.png"), unicodedata.normalize("NFD", "masks/é.png")),
    ("A.PNG", "a_Masks.png"),
]


@pytest.mark.parametrize(("image", "mask"), PAIRS)
@pytest.mark.parametrize("folder", ["", "train"])
def test_every_number_is_a_cell_of_the_image_of_that_name(tmp_path, image, mask, folder):
    save_image(tmp_path / folder / image)
    save_map(tmp_path / folder / mask)
    dataset = read(tmp_path)
    assert dataset.skipped == []
    masks = dataset[0][1]["masks"].numpy() > 0
    assert (masks == np.array([MAP == 1, MAP == 7, MAP == 300])).all()
    assert dataset.class_names == ("cell",)


def test_a_map_without_a_cell_is_of_a_negative_image(tmp_path):
    for name, label_map in (("a", MAP), ("b", np.zeros_like(MAP))):
        save_image(tmp_path / f"images/{name}.png")
        save_map(tmp_path / f"masks/{name}.png", label_map)
    assert [len(sample.labels) for sample in read(tmp_path).samples] == [3, 0]


@pytest.mark.parametrize("sides", [("train", "val", "test"), ("Training", "validation", "testing"), ("train", "valid")])
def test_splits_are_kept(tmp_path, sides):
    for side in sides:
        save_image(tmp_path / side / "images/a.tif")
        save_map(tmp_path / side / "masks/a.tif")
    index = index_dataset(tmp_path)
    found = [record.image for record in (*index.train, *index.val, *index.test)]
    assert found == [tmp_path / side / "images/a.tif" for side in sides]


def test_of_several_masks_the_image_comes_before_cellposes_file_and_pictures_of_results_do_not_count(tmp_path):
    save_image(tmp_path / "a.tif")
    for name in ("a_cp_masks.png", "a_seg.npy"):
        save_map(tmp_path / name)
    for name in ("a_overlay.png", "a_outlines.png", "a_flows.tif"):
        save_image(tmp_path / name)
    index = index_dataset(tmp_path)
    ((record,), skipped) = index.train, index.skipped
    assert [mask.path.name for mask in record.masks] == ["a_cp_masks.png"]
    assert not any(each.is_error for each in skipped)
    assert any("a_cp_masks.png is read instead of it" in each.reason for each in skipped)


def test_what_has_no_counterpart_or_two_is_named(tmp_path):
    for name in ("a.png", "b.png", "b.jpg", "c.png"):
        save_image(tmp_path / name)
    for name in ("a_masks.png", "a_labels.png", "b_masks.png", "z_masks.png"):
        save_map(tmp_path / name)
    errors = {each.path.name: each.reason for each in index_dataset(tmp_path).skipped if each.is_error}
    assert errors == {
        "b.png": "the same name as b.jpg; keep one of the two",
        "c.png": f"no mask of that name in {tmp_path}",
        "z_masks.png": f"no image of that name in {tmp_path}",
        "a_masks.png": "a_labels.png is read instead of it",
    }


def test_two_folders_for_the_same_are_refused_and_do_not_hinder_another_format(tmp_path, message):
    save_image(tmp_path / "images/a.png")
    for folder in ("masks", "labels"):
        save_map(tmp_path / folder / "a.png")
    assert f"{tmp_path / 'masks'} and labels: two folders" in message(tmp_path).replace(
        f"{tmp_path / 'labels'} and masks", f"{tmp_path / 'masks'} and labels"
    )
    (tmp_path / "labels/a.txt").write_text("0 .1 .1 .5 .1 .5 .5")
    (tmp_path / "data.yaml").write_text("names: [u]")
    assert index_dataset(tmp_path).format == "yolo"


@pytest.mark.parametrize("shape", [(48, 63), (64, 48), (24, 32)])
def test_a_map_of_another_size_than_its_image_is_named(tmp_path, shape):
    for name in "ab":
        save_image(tmp_path / f"images/{name}.png")
        save_map(tmp_path / f"masks/{name}.png", MAP if name == "b" else np.ones(shape, np.uint16))
    (error,) = read(tmp_path).skipped
    assert str(error).startswith(f"{tmp_path / 'masks/a.png'}: the mask is {shape[1]} x {shape[0]}, its image 64 x 48")


@pytest.mark.parametrize("content", [b"", b"no image"])
@pytest.mark.parametrize("file", ["masks/a.png", "masks/a.npy"])
def test_a_damaged_map_is_named(tmp_path, content, file):
    save_image(tmp_path / "images/a.png")
    (tmp_path / "masks").mkdir()
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError) as error:
        read(tmp_path)
    assert f"{tmp_path / file}: " in str(error.value)


def test_a_split_whose_masks_are_missing_is_listed(tmp_path):
    """images/train, images/val, masks/train, and an empty masks/val."""
    for side, count in (("train", 3), ("val", 2)):
        for kind in ("images", "masks"):
            (tmp_path / kind / side).mkdir(parents=True)
            for k in range(count if (kind, side) != ("masks", "val") else 0):
                Image.fromarray(np.full((48, 64), k, np.uint8)).save(tmp_path / kind / side / f"{k}.png")
    index = index_dataset(tmp_path)
    assert len(index.train) == 3
    assert not index.val
    assert [(item.path, item.is_error) for item in index.skipped] == [(tmp_path / "images/val", False)]


@pytest.mark.parametrize("layout", ["{0}s/{1}", "train/{0}s/{1}", "{0}s/train/{1}"])
def test_folders_of_patients_are_no_classes(tmp_path, touch, layout):
    for folder in ("Patient 0", "Patient 1"):
        for kind in ("image", "mask"):
            touch(tmp_path / layout.format(kind, folder) / "a.png")
    index = index_dataset(tmp_path)
    assert index.format == "label-maps"
    assert [record.label for record in index.train] == ["cell", "cell"]
    assert [record.image.parent.name for record in index.train] == ["Patient 0", "Patient 1"]
    assert all(record.annotation.parent.name == record.image.parent.name for record in index.train)
    assert "the folders Patient 0, Patient 1 are taken for patients or slides; --format class-folders" in index.notes[1]
    assert not index.skipped


@pytest.mark.parametrize(("count", "named"), [(2, "P0, P1"), (5, "P0, P1, P2, ...")])
def test_folders_of_patients_are_named_once_and_not_all(tmp_path, touch, count, named):
    for side in ("train", "val"):
        for patient in range(count):
            for kind in ("images", "masks"):
                touch(tmp_path / side / kind / f"P{patient}" / "a.png")
    assert index_dataset(tmp_path).notes[1].startswith(f"the folders {named} are taken for patients")


def test_classes_in_folders_of_patients_are_refused_with_the_remedy(tmp_path, touch, message):
    for kind in ("images", "masks"):
        touch(tmp_path / kind / "Patient 0/Monocyte/a.png")
        touch(tmp_path / kind / "Patient 0/slide 1/a.png")
    (line,) = message(tmp_path).splitlines()[1:]
    folder = tmp_path / "images/Patient 0/Monocyte"
    moved = tmp_path / "images/Monocyte/Patient 0"
    assert line.strip() == f"{folder}: if it is of a class, move it to {moved}; else move its files to {folder.parent}"


def test_names_that_differ_in_letter_case_are_refused(tmp_path):
    for name in ("A", "a", "b"):
        save_image(tmp_path / f"images/{name}.png")
        save_map(tmp_path / f"masks/{name}.png")
    index = index_dataset(tmp_path)
    assert [record.image.stem for record in index.train] == ["b"]
    assert [each.path.stem for each in index.skipped] == ["A", "a"] * 2


def test_a_test_split_without_masks_is_listed_as_no_error(tmp_path):
    for folder in ("train/images", "train/masks", "test"):
        save_image(tmp_path / folder / "a.png")
    assert [(each.path, each.is_error) for each in index_dataset(tmp_path).skipped] == [
        (tmp_path / "test/a.png", False)
    ]
