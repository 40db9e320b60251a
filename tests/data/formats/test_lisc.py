import shutil
from collections import Counter

import pytest

from data.classes import standard_class
from data.formats import index_dataset


@pytest.mark.parametrize("outer", ["", "LISC Database", "LISC Database/LISC Database"])
@pytest.mark.parametrize("expert_first", [False, True])
@pytest.mark.parametrize("change_case", [str, str.lower, str.upper])
def test_lisc_is_found_as_unzipped(tmp_path, make_lisc, touch, counts, outer, expert_first, change_case):
    root = make_lisc(tmp_path / outer, expert_first, change_case)
    touch(root / change_case("Main Dataset") / change_case("Baso") / "Thumbs.db")
    touch(tmp_path / "__MACOSX" / "Main Dataset" / "Baso" / "1.bmp")
    index = index_dataset(tmp_path)
    assert index.root == root
    assert index.val is None
    assert not index.skipped
    assert Counter(standard_class(record.label or "") for record in index.train) == counts
    assert [record.image.name for record in index.unlabelled] == ["1.bmp", "2.bmp", "10.bmp"]
    assert not any(record.is_annotated or record.label for record in index.unlabelled)
    for record in index.train:
        image, mask, label = record.image, record.annotation, record.label
        assert mask.name == f"{image.stem}_expert.bmp"
        folder = image.parent.name.lower()
        assert folder in map(str.lower, mask.parts)
        assert folder == ("mixt" if label is None else label.lower())


def test_masks_may_be_in_the_class_folders_and_named_like_the_images(tmp_path, touch):
    for name, mask in (("Baso", "1.bmp"), ("neut", "7_expert.png")):
        touch(tmp_path / "Main Dataset" / name / f"{mask[0]}.bmp")
        touch(tmp_path / "Ground Truth Segmentation" / name / mask)
    assert [(r.image.name, r.annotation.name, r.label) for r in index_dataset(tmp_path).train] == [
        ("1.bmp", "1.bmp", "Baso"),
        ("7.bmp", "7_expert.png", "neut"),
    ]


@pytest.mark.parametrize("expert_first", [False, True])
def test_the_second_experts_masks_are_ignored(tmp_path, make_lisc, touch, counts, expert_first):
    make_lisc(tmp_path, expert_first)
    order = ("areaforexpert2", "Baso") if expert_first else ("Baso", "areaforexpert2")
    touch(tmp_path.joinpath("Ground Truth Segmentation", *order) / "1_expert.bmp")
    index = index_dataset(tmp_path)
    assert len(index.train) == sum(counts.values())
    assert all("areaforexpert1" in record.annotation.parts for record in index.train)
    second = tmp_path.joinpath("Ground Truth Segmentation", *order) / "1_expert.bmp"
    assert [(item.path, item.is_error) for item in index.skipped] == [(second, False)]


def test_the_order_does_not_depend_on_where_the_data_are(tmp_path, make_lisc):
    first, second = (index_dataset(make_lisc(tmp_path / root)).train for root in ("one", "two/LISC Database"))
    assert [(r.label, r.image.name) for r in first] == [(r.label, r.image.name) for r in second]
    assert [r.image.name for r in first if r.label == "Baso"] == [f"{i}.bmp" for i in range(1, 11)]


def test_an_image_without_mask_is_skipped_and_a_folder_without_masks_is_an_error(tmp_path, make_lisc, message):
    make_lisc(tmp_path)
    (tmp_path / "Ground Truth Segmentation/Baso/areaforexpert1/3_expert.bmp").unlink()
    assert [item.path for item in index_dataset(tmp_path).skipped] == [tmp_path / "Main Dataset/Baso/3.bmp"]
    shutil.rmtree(tmp_path / "Ground Truth Segmentation")
    assert "Ground Truth Segmentation: no such folder" in message(tmp_path)
