"""The report and the contact sheet of a data set."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.inspect.report import COLUMNS, contact_sheet, dataset_report, write_dataset_report
from data.splits import all_images, open_dataset, train_val_split
from data.synthetic.dataset import write_dataset
from maskrcnn.config import LISC_CLASSES


@pytest.fixture(scope="module")
def lisc(tmp_path_factory) -> Path:
    """A synthetic set with a field in two classes, a mask with another class's greys, a fragment and an empty file."""
    root = tmp_path_factory.mktemp("data") / "LISC"
    write_dataset(root, images=25, layout="lisc", size=(240, 192), progress=False)
    masks = root / "Ground Truth Segmentation"
    (root / "Main Dataset/mono/2.bmp").write_bytes((root / "Main Dataset/neut/1.bmp").read_bytes())
    pixels = np.full((184, 232), 175, np.uint8)
    pixels[:, 100:] = 0
    pixels[100, 200:203] = 175  # three pixels: a stray fragment
    Image.fromarray(pixels).save(masks / "mono/areaforexpert1/2_expert.bmp")
    pixels[:, :100] = 75
    pixels[40:80, 40:80] = 100  # an eosinophil's codes
    pixels[100, 200:203] = 0
    Image.fromarray(pixels).save(masks / "lymp/areaforexpert1/1_expert.bmp")
    (masks / "Baso/areaforexpert1/1_expert.bmp").write_bytes(b"")
    return root


@pytest.fixture(scope="module")
def splits(lisc):
    return train_val_split(open_dataset(lisc, progress=False))


def test_the_report_names_what_is_remarkable(lisc, splits):
    lines = dataset_report(splits).splitlines()
    assert "sizes: 240 x 192 (23)" in lines  # of 25, one is bad and one has no mask
    assert "fragments of masks too small to be a cell, left out: 1" in lines
    mask = lisc / "Ground Truth Segmentation/lymp/areaforexpert1/1_expert.bmp"
    conflict = "the greys of its mask are those of a cell of another class (eosinophil)"
    assert f"class in doubt: {mask}: {conflict}; its folder's, lymphocyte, is used" in lines
    assert "fields shown more than once: 1" in lines
    repeated = next(line for line in lines if "neut/1.bmp" in line)
    assert "mono/2.bmp" in repeated
    assert "under different classes" in repeated
    assert lines[-2] == "files left out: 1"
    assert "Baso/areaforexpert1/1_expert.bmp: the file is empty" in lines[-1]


def test_the_counts_are_those_of_the_data(splits):
    lines = dataset_report(splits).splitlines()
    assert lines[0].split() == ["images", *LISC_CLASSES]
    for line, dataset in zip(lines[1:3], (splits.train, splits.val)):
        labels = [label for sample in dataset.samples for label in sample.labels.tolist()]
        expected = [len(dataset), *(labels.count(k) for k in range(1, 6))]
        assert [int(word) for word in line.split()[1:]] == expected
    cells = [len(sample.labels) for sample in splits.train.samples + splits.val.samples]
    assert f"cells per image: {min(cells)} to {max(cells)}, median {np.median(cells):g}" in lines


def test_fields_in_training_and_validation_are_named(splits):
    train, val = len(splits.train), len(splits.val)
    assert "in training and in validation" not in dataset_report(splits)
    groups = list(range(train + val))
    groups[train] = train - 1  # the last training image and the first validation image
    report = dataset_report(splits._replace(groups=groups))
    assert "in training and in validation" in report
    assert "1 validation images show a field of the training set" in report
    for first, second in ((0, train - 1), (train, train + val - 1)):  # on one side
        groups = list(range(train + val))
        groups[second] = first
        report = dataset_report(splits._replace(groups=groups))
        assert "fields shown more than once: 1" in report
        assert "in training and in validation" not in report
        assert "show a field of the training set" not in report


def test_the_contact_sheet_shows_images_of_the_whole_data_set(splits):
    figure = contact_sheet(splits, count=7)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    records = splits.train.records + splits.val.records
    names = [f"{record.image.parent.name}/{record.image.name}" for record in records]
    assert len(titles) == len(set(titles)) == 7
    assert len(figure.axes) == 2 * COLUMNS
    assert (titles[0], titles[-1]) == (names[0], names[-1])
    assert len([ax for ax in contact_sheet(splits).axes if ax.get_title()]) == len(records)


def test_the_files_of_a_run(splits, tmp_path):
    control = write_dataset_report(splits, tmp_path)
    assert (tmp_path / "data.txt").read_text(encoding="utf-8") == f"{dataset_report(splits)}\n{control}\n"
    assert control.startswith("background alone predicts the class of")
    with Image.open(tmp_path / "contact-sheet.png") as sheet:
        assert sheet.width > 1000


def test_the_report_is_of_the_files_and_not_of_what_is_kept_of_them(tmp_path):
    """Cells of 100 x 50 pixels, in images of 300 x 400 that are kept at half of their size."""
    for k in range(4):
        image = np.random.default_rng(k).integers(0, 256, (300, 400, 3), dtype=np.uint8)
        mask = np.zeros((300, 400), np.uint8)
        mask[100 : 100 + 50, 100:200] = 255 * (k > 0)
        for kind, pixels in (("image", image), ("mask", mask)):
            path = tmp_path / ("val" if k == 3 else "train") / kind / "blast" / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    lines = dataset_report(train_val_split(open_dataset(tmp_path, progress=False, max_side=150))).splitlines()
    assert "sizes: 400 x 300 (4)" in lines
    assert "  kept smaller, at the size that training needs: 4" in lines
    assert "longer side of a cell's box, pixels: 100 to 100, median 100" in lines
    assert "images without a cell: 1" in lines
    assert "read as class-folders; masks: binary (4)" in lines
    assert "few images, whose figures mean little, show blast (2 to train on, 1 to validate on)" in lines


def test_names_do_not_hide_small_cells_of_the_contact_sheet(tmp_path):
    for k, side in enumerate((8, 40)):
        image = np.random.default_rng(k).integers(0, 256, (150, 200, 3), dtype=np.uint8)
        mask = np.zeros((150, 200), np.uint8)
        for left in (20, 90, 150):
            mask[50 : 50 + side, left : left + side] = 255
        for kind, pixels in (("image", image), ("mask", mask)):
            path = tmp_path / kind / "blast" / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    small, large = contact_sheet(all_images(open_dataset(tmp_path, progress=False))).axes[:2]
    assert small.get_title() == "blast/0.png\n3 blast"
    assert not small.texts
    assert large.get_title() == "blast/1.png"
    assert [text.get_text() for text in large.texts] == ["blast"] * 3
