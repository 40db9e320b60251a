"""Finding files: replicas of both layouts made of empty files, since none is opened."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from data.lisc import CLASSES, DataError, class_of, find

COUNTS = {"Baso": 10, "eosi": 5, "lymp": 15, "mono": 2, "neut": 1}
CLASS_OF = dict(zip(COUNTS, CLASSES))


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def make_lisc(root: Path, expert_first=False, change_case=str) -> Path:
    for name, count in {**COUNTS, "mixt": 5}.items():
        for i in range(1, count + 1):
            touch(root / change_case("Main Dataset") / change_case(name) / f"{i}.bmp")
            order = ("areaforexpert1", name) if expert_first else (name, "areaforexpert1")
            truth = root / change_case("Ground Truth Segmentation")
            touch(truth.joinpath(*map(change_case, order)) / f"{i}_expert.bmp")
    for i in (1, 2, 10):
        touch(root / change_case("More Dataset without Ground Truth") / "alll" / f"{i}.bmp")
    return root


def make_tutorial(root: Path) -> Path:
    for side, numbers in (("train", (1, 2)), ("val", (3,))):
        for name in CLASSES:
            for i in numbers:
                touch(root / side / "image" / name.title() / f"{name.title()}_{i:02d}.jpg")
                touch(root / side / "mask" / name.title() / f"{name.title()}_{i:02d}.png")
    return root


def message(*args, **options) -> str:
    with pytest.raises(DataError) as error:
        find(*args, **options)
    return str(error.value)


@pytest.mark.parametrize("outer", ["", "LISC Database", "LISC Database/LISC Database"])
@pytest.mark.parametrize("expert_first", [False, True])
@pytest.mark.parametrize("change_case", [str, str.lower, str.upper])
def test_lisc_is_found_as_unzipped(tmp_path, outer, expert_first, change_case):
    root = make_lisc(tmp_path / outer, expert_first, change_case)
    touch(root / change_case("Main Dataset") / change_case("Baso") / "Thumbs.db")
    touch(tmp_path / "__MACOSX" / "Main Dataset" / "Baso" / "1.bmp")
    found = find(tmp_path)
    fields = found.train
    assert found.val is None
    assert not found.skipped
    expected = {CLASS_OF[name]: count for name, count in COUNTS.items()} | {None: 5}
    assert Counter(field.label for field in fields) == expected
    assert [field.image.name for field in found.unlabelled] == ["1.bmp", "2.bmp", "10.bmp"]
    assert all(field.mask is None and field.label is None for field in found.unlabelled)
    for image, mask, label in fields:
        assert mask.name == f"{image.stem}_expert.bmp"
        folder = image.parent.name.lower()
        assert folder in map(str.lower, mask.parts)
        assert folder == ("mixt" if label is None else label[:4])


def test_lisc_masks_may_lie_in_the_class_folders_and_be_named_as_the_images(tmp_path):
    for name, mask in (("Baso", "1.bmp"), ("neut", "7_expert.png")):
        touch(tmp_path / "Main Dataset" / name / f"{mask[0]}.bmp")
        touch(tmp_path / "Ground Truth Segmentation" / name / mask)
    fields = find(tmp_path).train
    assert [(f.image.name, f.mask.name, f.label) for f in fields] == [
        ("1.bmp", "1.bmp", "basophil"),
        ("7.bmp", "7_expert.png", "neutrophil"),
    ]


@pytest.mark.parametrize("expert_first", [False, True])
def test_the_second_experts_masks_are_left_alone(tmp_path, expert_first):
    make_lisc(tmp_path, expert_first)
    order = ("areaforexpert2", "Baso") if expert_first else ("Baso", "areaforexpert2")
    touch(tmp_path.joinpath("Ground Truth Segmentation", *order) / "1_expert.bmp")
    fields = find(tmp_path).train
    assert len(fields) == sum(COUNTS.values()) + 5
    assert all("areaforexpert1" in field.mask.parts for field in fields)


def test_the_order_does_not_depend_on_where_the_data_lie(tmp_path):
    one, two = (find(make_lisc(tmp_path / place)) for place in ("one", "two/LISC Database"))
    assert [(f.label, f.image.name) for f in one.train] == [(f.label, f.image.name) for f in two.train]
    assert [f.image.name for f in one.train if f.label == "basophil"] == [f"{i}.bmp" for i in range(1, 11)]


@pytest.mark.parametrize("outer", ["", "WBC"])
def test_the_layout_of_the_tutorial(tmp_path, outer):
    root = make_tutorial(tmp_path / outer)
    touch(root / "detect" / "image" / "a.png")
    found = find(tmp_path)
    train, val, unlabelled = found.train, found.val, found.unlabelled
    assert [f.image.name for f in train] == [f"{c.title()}_{i:02d}.jpg" for c in CLASSES for i in (1, 2)]
    assert [f.image.name for f in val] == [f"{c.title()}_03.jpg" for c in CLASSES]
    assert [f.image.name for f in unlabelled] == ["a.png"]
    for field in train + val:
        assert field.mask == Path(str(field.image).replace("image", "mask")).with_suffix(".png")
        assert field.label == field.image.parent.name.lower()


def test_without_a_val_folder_there_is_no_split(tmp_path):
    shutil.rmtree(make_tutorial(tmp_path) / "val")
    found = find(tmp_path)
    assert found.val is None
    assert Counter(field.label for field in found.train) == dict.fromkeys(CLASSES, 2)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("Baso", "basophil"), ("EOSINOPHILS", "eosinophil"), ("lymp", "lymphocyte"), ("Monocyte", "monocyte"),
     ("Neutro", "neutrophil"), ("mixt", "mixt"), ("ba", None), ("Lymphoblast", None), ("neutral", None), ("", None)],
)  # fmt: skip
def test_class_of_a_folder(folder, expected):
    assert class_of(folder) == expected


@pytest.mark.parametrize("state", ["missing", "empty", "other", "no images"])
def test_without_data_one_message_says_where_to_get_them_and_what_to_do_meanwhile(tmp_path, state):
    root = tmp_path / "LISC"
    if state != "missing":
        root.mkdir()
    if state == "other":
        touch(root / "holiday" / "1.jpg")
    if state == "no images":
        for kind in ("image", "mask"):
            (root / "train" / kind).mkdir(parents=True)
    text = message(root)
    for part in (str(root), "Rezatofighi", "LISC Database.zip", "Leukocyte%20Data.htm", "no redistribution",
                 "Main Dataset/<class>/1.bmp", "train/mask/<Class>", "python train.py --data synthetic"):  # fmt: skip
        assert part in text


def test_two_data_sets_side_by_side_are_not_chosen_from(tmp_path):
    make_lisc(tmp_path / "LISC Database")
    make_tutorial(tmp_path / "WBC")
    text = message(tmp_path)
    assert str(tmp_path / "WBC") in text
    assert str(tmp_path / "LISC Database") in text


def test_files_without_their_counterpart_are_left_out_and_listed(tmp_path):
    make_tutorial(tmp_path)
    no_mask = touch(tmp_path / "train/image/Monocyte/odd.png")
    no_image = touch(tmp_path / "val/mask/Basophil/lone.png")
    found = find(tmp_path)
    assert [item.path for item in found.skipped] == [no_mask, no_image]
    assert str(found.skipped[0]).startswith(f"{no_mask}: no mask of that name in")
    assert str(found.skipped[1]).startswith(f"{no_image}: no image of that name in")
    assert len(found.train) == 10
    assert len(found.val) == 5


def test_all_that_is_wrong_with_the_folders_is_in_one_message(tmp_path):
    make_tutorial(tmp_path)
    unknown = touch(tmp_path / "train/image/Platelet/1.png").parent
    twice = touch(tmp_path / "train/image/Basophil/Basophil_01.png")
    lines = {line.strip() for line in message(tmp_path).splitlines()}
    assert sum(line.startswith(str(twice)) and "same name" in line for line in lines) == 1
    assert any(line.startswith(f"{unknown}: unknown class") and all(c in line for c in CLASSES) for line in lines)
    assert len(lines) == 3


def test_lisc_with_an_image_without_mask_or_without_any(tmp_path):
    make_lisc(tmp_path)
    (tmp_path / "Ground Truth Segmentation/Baso/areaforexpert1/3_expert.bmp").unlink()
    assert [item.path for item in find(tmp_path).skipped] == [tmp_path / "Main Dataset/Baso/3.bmp"]
    shutil.rmtree(tmp_path / "Ground Truth Segmentation")
    assert "Ground Truth Segmentation: no such folder" in message(tmp_path)


def test_missing_masks_of_a_whole_split_are_one_line(tmp_path):
    shutil.rmtree(make_tutorial(tmp_path) / "train/mask")
    lines = message(tmp_path).splitlines()
    assert len(lines) == 2
    assert str(tmp_path / "train/mask") in lines[1]
