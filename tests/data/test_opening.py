"""A folder as a whole: repeated fields and their cache, files that cannot be used, what class indices number."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from data import opening
from data.classes import parse_classes
from data.mask_kinds import CLASSES, INSTANCES
from data.opening import CACHE, CACHED, ReadOptions, cached_groups, open_dataset
from data.records import DataError
from data.splits import train_val_split

SAMPLE = SimpleNamespace(fingerprint="f", size=(4, 6), image=torch.zeros(4, 6, 3, dtype=torch.uint8))


def split(root, seed=0, **options):
    return train_val_split(open_dataset(root, ReadOptions(**options), progress=False), seed)


def names(dataset):
    return [f"{record.image.parent.name}/{record.image.name}" for record in dataset.records]


def test_repeated_fields_stay_together_and_are_cached(copy):
    images = copy / "Main Dataset"
    masks = copy / "Ground Truth Segmentation"
    for k in (90, 91):  # the same field again, 91 shifted
        for folder, name in ((images / "neut", "{}.bmp"), (masks / "neut/areaforexpert1", "{}_expert.bmp")):
            pixels = np.asarray(Image.open(folder / name.format(1)))
            Image.fromarray(np.roll(pixels, 8 * (k - 90), axis=1)).save(folder / name.format(k))
    for seed in range(4):
        splits = split(copy, seed)
        sides = [{f"neut/{k}.bmp" for k in (1, 90, 91)} & set(names(side)) for side in (splits.train, splits.val)]
        assert sorted(map(len, sides)) == [0, 3]
        assert not splits.shared_with_train
    cached = json.loads((copy / CACHE).read_text())
    (copy / CACHE).write_text(json.dumps({digest: [0] * len(groups) for digest, groups in cached.items()}))
    with pytest.raises(DataError, match="to validate on"):  # the cache is used as long as the images are the same
        split(copy)
    Image.fromarray(np.zeros((192, 240, 3), np.uint8)).save(images / "mono" / "1.bmp")
    assert len(set(open_dataset(copy, progress=False).groups)) > 30


def test_a_damaged_cache_is_replaced(copy):
    (copy / CACHE).write_text("not what it should be")
    groups = open_dataset(copy, progress=False).groups
    assert list(json.loads((copy / CACHE).read_text()).values()) == [groups]
    assert len(set(groups)) == len(groups)


def test_the_cache_keeps_the_groups_of_the_last_sizes_and_splits(tmp_path, monkeypatch):
    """So that a check at one size, then a training at another, do not search twice each time."""
    searched = []
    monkeypatch.setattr(
        opening, "duplicate_groups", lambda images, _: searched.append(len(images)) or [0] * len(images)
    )
    sets = [SimpleNamespace(samples=[SAMPLE] * count) for count in range(1, CACHED + 2)]
    for _ in range(2):
        for dataset in sets[:CACHED]:
            assert cached_groups(dataset, tmp_path / CACHE) == [0] * len(dataset.samples)
    assert searched == list(range(1, CACHED + 1))
    cached_groups(sets[CACHED], tmp_path / CACHE)
    assert [len(groups) for groups in json.loads((tmp_path / CACHE).read_text()).values()] == list(range(2, CACHED + 2))


def test_a_few_bad_files_are_left_out_and_many_or_any_when_strict_are_an_error(copy):
    folder = copy / "Main Dataset/lymp"
    files = sorted(folder.iterdir())
    files[0].write_bytes(b"")
    files[1].unlink()  # a mask without image is left
    splits = split(copy)
    assert {item.path.name for item in splits.skipped} == {files[0].name, f"{files[1].stem}_expert.bmp"}
    with pytest.raises(DataError, match="2 files cannot be used") as error:
        split(copy, strict=True)
    assert str(files[0]) in str(error.value)
    for file in files[2:]:
        file.write_bytes(b"no image")
    with pytest.raises(DataError, match="More than 10% of the files are unusable"):
        split(copy)


def write_label_map(root, side, name, values):
    """An image of noise and a label map of squares of 12 pixels side by side, which have these values."""
    pixels = np.zeros((40, 20 * len(values) + 20), np.uint8)
    for k, value in enumerate(values):
        pixels[10:22, 20 * k + 4 : 20 * k + 16] = value
    noise = np.random.default_rng(len(name)).integers(0, 256, (*pixels.shape, 3), dtype=np.uint8)
    for folder, content in (("images", noise), ("masks", pixels)):
        path = root / side / folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(content).save(path)


def test_numbers_of_classes_are_the_entries_before_they_are_merged(tmp_path):
    write_label_map(tmp_path, "", "a", [1, 2, 3])
    options = ReadOptions(classes=parse_classes("blast,smudge=blast,monocyte"), mask_kind=CLASSES)
    images = open_dataset(tmp_path, options, progress=False)
    assert images.dataset.class_names == ("blast", "monocyte")
    assert images.dataset.samples[0].labels.tolist() == [1, 1, 2]
    assert "their numbers: 1 blast, 2 blast, 3 monocyte" in images.notes[0]


def test_numbers_of_classes_that_nobody_names_are_refused(tmp_path):
    write_label_map(tmp_path, "", "a", [1, 2])
    with pytest.raises(DataError, match="in the order of the numbers: --classes a,b"):
        open_dataset(tmp_path, ReadOptions(mask_kind=CLASSES), progress=False)


def test_a_mask_means_the_same_in_every_split(tmp_path):
    """The one mask of the test split could be LISC's codes; the others say that its numbers are cells."""
    for k in range(3):
        write_label_map(tmp_path, "train", f"{k}a", [5, 7, 9])
    write_label_map(tmp_path, "test", "b", [100, 150])
    test = open_dataset(tmp_path, test=True, progress=False)
    assert test.dataset.mask_kinds == {INSTANCES: 1}
