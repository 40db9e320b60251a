from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.classes import choose_classes
from data.dataset import read_dataset
from data.formats import index_dataset

BOXES = [(5, 5, 20, 30), (20, 5, 40, 30), (10, 32, 50, 46)]  # x1, y1, x2, y2; the first two touch


def save_mask(path: Path, *boxes, size=(64, 48)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size[::-1], np.uint8)
    for x1, y1, x2, y2 in boxes:
        mask[y1:y2, x1:x2] = 255
    Image.fromarray(mask).save(path)


def make(folder: Path, masks=BOXES) -> None:
    """A field of view as in the Data Science Bowl."""
    save_mask(folder / f"images/{folder.name}.png")
    (folder / "masks").mkdir()
    for i, box in enumerate(masks):
        save_mask(folder / f"masks/{i:08x}.png", *([box] if isinstance(box, tuple) else box))


def read(root: Path):
    index, names, _ = choose_classes(index_dataset(root), None)
    return read_dataset(index.train, names, progress=False)


@pytest.mark.parametrize("folder", ["", "stage1_train", "train"])
def test_every_file_is_a_cell_even_of_several_parts(tmp_path, folder):
    make(tmp_path / folder / "0a1b")
    make(tmp_path / folder / "ffee", [[BOXES[0], BOXES[2]]])
    index = index_dataset(tmp_path)
    assert (index.format, index.skipped, len(index.train)) == ("object-masks", [], 2)
    dataset = read(tmp_path)
    areas = [sample[1]["masks"].numpy().sum(axis=(1, 2)).tolist() for sample in dataset]
    assert areas == [[15 * 25, 20 * 25, 40 * 14], [15 * 25 + 40 * 14]]
    assert dataset[0][1]["boxes"].int().tolist() == [list(box) for box in BOXES]


def test_an_empty_folder_of_masks_is_of_an_image_without_a_cell_and_none_is_an_error(tmp_path):
    make(tmp_path / "a")
    make(tmp_path / "b", [])
    save_mask(tmp_path / "c/images/c.png")
    index = index_dataset(tmp_path)
    assert [len(sample.labels) for sample in read(tmp_path).samples] == [3, 0]
    (error,) = [each for each in index.skipped if each.is_error]
    assert str(error).startswith(f"{tmp_path / 'c'}: has 1 images and 0 masks")


def test_a_folder_of_two_images_is_named(tmp_path):
    make(tmp_path / "a")
    make(tmp_path / "b")
    save_mask(tmp_path / "b/images/other.png")
    (error,) = [each for each in index_dataset(tmp_path).skipped if each.is_error]
    assert str(error).startswith(f"{tmp_path / 'b'}: has 2 images and 3 masks")


def test_splits_are_kept(tmp_path):
    for side in ("train", "val", "test"):
        make(tmp_path / side / "a")
    index = index_dataset(tmp_path)
    found = [record.image.parts[-4] for record in (*index.train, *index.val, *index.test)]
    assert found == ["train", "val", "test"]


@pytest.mark.parametrize("test", ["test", "stage1_test"])
def test_a_test_split_without_masks_is_set_aside(tmp_path, test):
    """As the Data Science Bowl is downloaded."""
    train = test.replace("test", "train")
    make(tmp_path / train / "a")
    for name in ("b", "c"):
        save_mask(tmp_path / test / name / f"images/{name}.png")
    index = index_dataset(tmp_path)
    assert ([record.image.stem for record in index.train], list(index.test)) == (["a"], [])
    assert [(item.path.stem, item.is_error) for item in index.skipped] == [("b", False), ("c", False)]
    make(tmp_path / test / "d")  # one with masks: then the others lack theirs
    index = index_dataset(tmp_path)
    assert [record.image.stem for record in index.test] == ["d"]
    assert [item.is_error for item in index.skipped] == [True, True]


def test_a_mask_of_another_size_is_named(tmp_path):
    make(tmp_path / "a")
    make(tmp_path / "b")
    save_mask(tmp_path / "b/masks/x.png", BOXES[0], size=(60, 48))
    (error,) = read(tmp_path).skipped
    assert str(error).startswith(f"{tmp_path / 'b/masks/x.png'}: the mask is 60 x 48, its image 64 x 48")


def test_a_mask_of_all_cells_beside_those_of_each_is_left_out_with_a_remark(tmp_path):
    make(tmp_path / "a", [*BOXES, BOXES])
    dataset = read(tmp_path)
    assert [shown.int().tolist() for shown in dataset.samples[0].boxes] == [list(box) for box in BOXES]
    assert any("only shows again what other masks of its image show" in remark for remark in dataset.remarks)


def test_masks_eight_pixels_smaller_than_their_image_are_not_padded(tmp_path):
    make(tmp_path / "a")
    make(tmp_path / "b")
    save_mask(tmp_path / "b/masks/x.png", BOXES[0], size=(56, 40))
    (error,) = read(tmp_path).skipped
    assert "the mask is 56 x 40, its image 64 x 48; they must be of one size" in str(error)
