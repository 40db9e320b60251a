"""The report and the contact sheet of a data set."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.dataset import SmearDataset
from data.inspect.report import COLUMNS, contact_sheet, dataset_report, shortened, write_dataset_report
from data.opening import ReadOptions, open_dataset
from data.records import Skipped
from data.splits import Splits, all_images, train_val_split
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


def save_pair(root: Path, label: str, name: str, mask: np.ndarray, number: int) -> None:
    """An image of noise and its mask, in folders of a class or of none."""
    pixels = np.random.default_rng(number).integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
    for kind, content in (("image", pixels), ("mask", mask)):
        path = root / kind / label / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(content).save(path)


@pytest.fixture(scope="module")
def splits(lisc):
    return train_val_split(open_dataset(lisc, progress=False))


def test_the_report_names_what_is_remarkable(lisc, splits):
    lines = dataset_report(splits).splitlines()
    assert "sizes: 240 x 192 (23)" in lines  # of 25, one is bad and one has no mask
    where = lines.index("fragments of masks too small to be a cell, left out: 1")
    assert re.match(r"  the first in .+\.bmp; if they are cells", lines[where + 1])
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
    assert "warning: 1 validation image of " in report
    for first, second in ((0, train - 1), (train, train + val - 1)):  # on one side
        groups = list(range(train + val))
        groups[second] = first
        report = dataset_report(splits._replace(groups=groups))
        assert "fields shown more than once: 1" in report
        assert "in training and in validation" not in report
        assert "with a field of the training set" not in report


@pytest.mark.parametrize(
    ("first", "second", "differ"), [([1], [2], True), ([1, 2], [2], False), ([1], [], False), ([], [], False)]
)
def test_a_repeated_field_has_different_classes_if_its_images_have_none_in_common(splits, first, second, differ):
    sample = splits.val.samples[0]
    samples = [sample._replace(labels=torch.tensor(labels, dtype=torch.int64)) for labels in (first, second, [1])]
    dataset = SmearDataset(splits.val.records[:3], samples, splits.val.class_names)
    report = dataset_report(Splits(dataset.subset([]), dataset, [0, 0, 1], []))
    assert "fields shown more than once: 1" in report
    assert ("under different classes" in report) == differ


def test_a_line_of_pixels_is_in_the_contact_sheet(tmp_path):
    mask = np.zeros((1, 3000), np.uint8)
    mask[0, 100:160] = 255
    for number, name in enumerate(("a.png", "b.png")):
        save_pair(tmp_path / "train", "mono", name, mask, number)
        save_pair(tmp_path / "val", "mono", name, mask, number + 2)
    splits = train_val_split(open_dataset(tmp_path, progress=False))
    assert len([ax for ax in contact_sheet(splits).axes if ax.get_title()]) == 4


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
    lines = dataset_report(
        train_val_split(open_dataset(tmp_path, ReadOptions(max_side=150), progress=False))
    ).splitlines()
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
    opened = open_dataset(tmp_path, progress=False)
    sheet = contact_sheet(all_images(opened))
    small, large = sheet.axes[:2]
    assert not sheet.legends  # one class needs none
    two = opened.dataset.samples[0]._replace(labels=torch.tensor([1, 2, 1]))
    dataset = SmearDataset(opened.dataset.records, [two, opened.dataset.samples[1]], ("blast", "smudge"))
    (legend,) = contact_sheet(all_images(opened._replace(dataset=dataset))).legends
    assert [text.get_text() for text in legend.get_texts()] == ["blast", "smudge"]
    assert small.get_title() == "blast/0.png\n3 blast"
    assert not small.texts
    assert large.get_title() == "blast/1.png"
    assert [text.get_text() for text in large.texts] == ["blast"] * 3


def test_cells_lost_and_sizes_are_said_in_pixels_of_the_files(tmp_path):
    """Images of 301 x 401 pixels, kept at 50 x 67, which is not their size divided by six; in each a speck vanishes."""
    for k in range(4):
        mask = np.zeros((301, 401), np.uint16)
        mask[100:160, 100:200], mask[0, 0] = 1, 2
        save_pair(tmp_path / ("val" if k == 3 else "train"), "blast", f"{k}.png", mask, k)
    images = open_dataset(tmp_path, ReadOptions(max_side=50), progress=False)
    lines = dataset_report(train_val_split(images)).splitlines()
    assert "sizes: 401 x 301 (4)" in lines
    assert "cells too small for the size that training needs, left out: 4" in lines
    whole = open_dataset(tmp_path, ReadOptions(max_side=None), progress=False)
    report = dataset_report(train_val_split(whole))
    assert "too small for the size" not in report
    assert "kept smaller" not in report


def test_of_many_sizes_the_most_common_and_the_range_are_said(splits):
    samples = [splits.val.samples[0]._replace(file_size=(100 + k, 3000 - k)) for k in range(1000)]
    common = [splits.val.samples[0]._replace(file_size=(500, 700))] * 3
    dataset = SmearDataset([splits.val.records[0]] * 1003, [*samples, *common], splits.val.class_names)
    report = dataset_report(splits._replace(val=dataset, train=dataset.subset([]), groups=list(range(1003))))
    (line,) = (line for line in report.splitlines() if line.startswith("sizes: "))
    assert line.startswith("sizes: 700 x 500 (3), 3000 x 100 (1), ")
    assert line.endswith(", and 995 others: widths 700 to 3000, heights 100 to 1099")


def test_no_line_of_the_report_comes_a_thousand_times(splits):
    count = 1000
    sample = splits.val.samples[0]._replace(class_conflict="the greys are those of another class")
    dataset = SmearDataset([splits.val.records[0]] * count, [sample] * count, splits.val.class_names)
    skipped = [Skipped(Path(f"{k}.png"), f"no mask of that name in {k}") for k in range(count)]
    groups = [k // 2 for k in range(count)]
    lines = dataset_report(Splits(dataset.subset([]), dataset, groups, skipped)).splitlines()
    assert len(lines) < 70
    assert f"files left out: {count}" in lines
    assert f"fields shown more than once: {count // 2}" in lines
    rest = [line for line in lines if "more like these" in line]
    assert rest == [f"  ... and {hidden} more like these" for hidden in (count - 20, count // 2 - 20, count - 5)]


def test_no_class_is_in_doubt_where_there_is_but_one(tmp_path):
    """Masks with LISC's codes as label maps, all of one class."""
    for k in range(6):
        mask = np.zeros((150, 200), np.uint8)
        mask[20:60, 20:60], mask[30:50, 30:50] = 75, 100  # an eosinophil's codes
        mask[90:130, 90:150] = 75
        save_pair(tmp_path / ("val" if k > 3 else "train"), "", f"{k}.png", mask, k)
    images = open_dataset(tmp_path, progress=False)
    assert images.dataset.class_names == ("cell",)
    assert images.dataset.mask_kinds == {"lisc-codes": 6}
    assert "class in doubt" not in dataset_report(train_val_split(images))


def test_titles_of_the_contact_sheet_fit_above_their_images(tmp_path):
    """Names of 80 and more letters, of files and of classes."""
    for k in range(7):
        mask = np.zeros((150, 200), np.uint8)
        mask[50:55, 20:25] = mask[90:95, 20:25] = 255
        save_pair(tmp_path, "WIDE_CLASS_NAME_" * 5, f"{'FIELD_OF_VIEW_' * 6}{k}.png", mask, k)
    figure = contact_sheet(all_images(open_dataset(tmp_path, progress=False)))
    figure.draw_without_rendering()
    titles = [ax.title for ax in figure.axes if ax.get_title()]
    assert [title.get_text().split("\n")[0][-5:] for title in titles] == [f"{k}.png" for k in range(7)]
    boxes = [title.get_window_extent() for title in titles]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes[:6]))
    assert all(box.x0 >= 0 and box.y1 <= figure.bbox.height for box in boxes)


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (3, 3), (7, COLUMNS)])
def test_few_images_fill_the_contact_sheet(splits, count, columns):
    figure = contact_sheet(splits, count)
    figure.draw_without_rendering()
    assert len(figure.axes) == -(-count // columns) * columns
    images = [ax for ax in figure.axes if ax.images]
    widths = [ax.get_window_extent().width / figure.bbox.width for ax in images]
    assert widths == [pytest.approx(1 / columns, rel=0.1)] * count
    assert all(ax.title.get_window_extent().y1 <= figure.bbox.height for ax in images)


@pytest.mark.parametrize(("length", "short"), [(9, "123456789"), (8, "123…6789"), (3, "1…9")])
def test_a_line_is_shortened_in_its_middle(length, short):
    assert shortened("123456789", length) == short
    assert len(short) == length
