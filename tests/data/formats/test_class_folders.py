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
    _, train, val, unlabelled, skipped = index_dataset(tmp_path)
    assert [r.image.name for r in train] == [f"{c.title()}_{i:02d}.jpg" for c in LISC_CLASSES for i in (1, 2)]
    assert [r.image.name for r in val] == [f"{c.title()}_03.jpg" for c in LISC_CLASSES]
    assert [r.image.name for r in unlabelled] == ["a.png"]
    assert not skipped
    for record in train + val:
        assert record.mask == Path(str(record.image).replace("image", "mask")).with_suffix(".png")
        assert record.label == record.image.parent.name.lower()


def test_without_a_val_folder_there_is_no_split(tmp_path, make_tutorial):
    shutil.rmtree(make_tutorial(tmp_path) / "val")
    index = index_dataset(tmp_path)
    assert index.val is None
    assert Counter(record.label for record in index.train) == dict.fromkeys(LISC_CLASSES, 2)


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
    unknown = touch(tmp_path / "train/image/Platelet/1.png").parent
    duplicate = touch(tmp_path / "train/image/Basophil/Basophil_01.png")
    lines = {line.strip() for line in message(tmp_path).splitlines()}
    assert sum(line.startswith(str(duplicate)) and "same name" in line for line in lines) == 1
    assert any(line.startswith(f"{unknown}: unknown class") and all(c in line for c in LISC_CLASSES) for line in lines)
    assert len(lines) == 3


def test_two_folders_of_one_class_are_a_problem(tmp_path, make_tutorial, touch, message):
    make_tutorial(tmp_path)
    second = touch(tmp_path / "train/image/Basophils/1.png").parent
    assert f"{second}: the same class as Basophil" in message(tmp_path)


def test_missing_masks_of_a_whole_split_are_one_line(tmp_path, make_tutorial, message):
    shutil.rmtree(make_tutorial(tmp_path) / "train/mask")
    lines = message(tmp_path).splitlines()
    assert len(lines) == 2
    assert str(tmp_path / "train/mask") in lines[1]
