import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data.dataset import SmearDataset, read_dataset
from data.formats import index_dataset
from data.opening import AnnotatedImages, ReadOptions, open_dataset
from data.records import DataError, ImageRecord, MaskFile
from data.samples import Sample
from data.splits import (
    Splits,
    all_images,
    check_same_content,
    content_of,
    fingerprints,
    k_fold,
    overlap_warning,
    stratified_group_folds,
    train_val_split,
)
from data.synthetic.dataset import write_dataset
from maskrcnn.config import LISC_CLASSES

SIZE = (240, 192)  # of the images of `lisc`


def split(root: Path, seed: int = 0, **options) -> Splits:
    return train_val_split(open_dataset(root, ReadOptions(**options), progress=False), seed)


def names(dataset) -> list[str]:
    return [f"{record.image.parent.name}/{record.image.name}" for record in dataset.records]


def test_every_class_is_on_both_sides_in_proportion():
    labels = ["a"] * 50 + ["b"] * 10 + ["c"] * 2 + [None] * 5
    folds = stratified_group_folds(labels, range(len(labels)), 5, seed=0)
    per_class = [Counter(fold for fold, label in zip(folds, labels) if label == name) for name in ("a", "b", "c", None)]
    assert [sorted(counts.values()) for counts in per_class] == [[10] * 5, [2] * 5, [1, 1], [1] * 5]
    # Rare classes do not all go to the same folds.
    assert max(Counter(folds).values()) - min(Counter(folds).values()) <= 1


def test_folds_are_deterministic_by_seed():
    labels = ["a"] * 20 + ["b"] * 20
    first, again, other = (stratified_group_folds(labels, range(40), 5, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_group_is_never_split():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 30, 100).tolist()
    labels = ["ab"[group % 2] for group in groups]
    for seed in range(5):
        folds = stratified_group_folds(labels, groups, 4, seed)
        assert all(len({fold for fold, other in zip(folds, groups) if other == group}) == 1 for group in groups)
        sizes = Counter(folds)
        assert max(sizes.values()) - min(sizes.values()) <= 8  # nearly equal, as far as groups of about 3 allow


def test_large_groups_are_placed_first():
    """The other way round, one fold would get 6 of the 8 images."""
    folds = stratified_group_folds(["a"] * 8, [0, 1, 2, 3, 4, 4, 4, 4], 2, seed=0)
    assert sorted(Counter(folds).values()) == [4, 4]


@given(
    groups=st.lists(st.integers(0, 20), max_size=60),
    label_of=st.lists(st.sampled_from(["a", "b", "c", None]), min_size=21, max_size=21),
    folds=st.integers(2, 6),
    seed=st.integers(0, 1000),
)
def test_folds_of_any_groups_and_classes(groups, label_of, folds, seed):
    """No group is in two folds, and in each class no fold is more than the largest group ahead of another."""
    labels = [label_of[group] for group in groups]
    result = stratified_group_folds(labels, groups, folds, seed)
    assert len(result) == len(groups)
    assert set(result) <= set(range(folds))
    assert len(set(zip(groups, result))) == len(set(groups))
    largest = max(Counter(groups).values(), default=0)
    for name in set(labels):
        sizes = [sum(fold == k and label == name for fold, label in zip(result, labels)) for k in range(folds)]
        assert max(sizes) - min(sizes) <= largest


def dataset_of(labels):
    """Without pixels: the classes in each image, of 3."""
    none = torch.zeros(4, 4, 3, dtype=torch.uint8)
    samples = [Sample(none, [], torch.zeros(0, 4), torch.tensor(sorted(each), dtype=torch.int64)) for each in labels]
    return SmearDataset([ImageRecord(Path(f"{i}.png")) for i in range(len(samples))], samples, ("a", "b", "c"))


@given(
    images=st.lists(st.tuples(st.integers(0, 12), st.sets(st.integers(1, 3))), min_size=12, max_size=30),
    seed=st.integers(0, 100),
)
def test_a_split_that_is_made_here_has_no_field_on_both_sides(images, seed):
    """Whatever classes the images of a field show."""
    groups, labels = zip(*images)
    opened = AnnotatedImages(Path("smears"), dataset_of(labels), list(groups), None, [])
    try:
        splits = train_val_split(opened, seed)
    except DataError:
        return  # nothing to validate on, or no cell
    assert not splits.shared_with_train


def test_lisc_is_split_by_class(lisc):
    splits = split(lisc)
    assert not set(names(splits.train)) & set(names(splits.val))
    assert len(splits.train) + len(splits.val) == len(index_dataset(lisc).train)
    of_val = Counter(record.label for record in splits.val.records)
    assert set(LISC_CLASSES) <= set(of_val)
    assert all(1 <= of_val[label] <= 2 for label in LISC_CLASSES)  # a fifth of 7 or 8
    assert names(split(lisc).val) == names(splits.val)
    assert names(split(lisc, seed=1).val) != names(splits.val)


def test_every_image_is_in_the_validation_set_of_one_fold(lisc):
    images = open_dataset(lisc, progress=False)
    validated = [name for fold in range(4) for name in names(k_fold(images, 4, fold).val)]
    assert sorted(validated) == sorted(set(validated))
    assert len(validated) == len(index_dataset(lisc).train)
    for folds, fold in ((4, -1), (4, 4), (1, 0)):
        with pytest.raises(ValueError, match="fold"):
            k_fold(images, folds, fold)


def test_images_of_basophils_have_no_nucleus_which_is_no_error(lisc):
    """They are a fifth of all images: more than the unusable files that a run accepts."""
    splits = split(lisc, compartment="nucleus", strict=True)
    assert len(splits.skipped) >= 7
    labels = {record.label for record in splits.train.records + splits.val.records}
    assert labels & set(LISC_CLASSES) == set(LISC_CLASSES) - {"basophil"}


def test_the_split_of_a_data_set_is_kept_and_fields_on_both_sides_are_named(tmp_path):
    write_dataset(tmp_path, images=20, layout="wbc", size=SIZE, progress=False)
    splits = split(tmp_path)
    index = index_dataset(tmp_path)
    assert [r.image for r in splits.train.records] == [r.image for r in index.train]
    assert [r.image for r in splits.val.records] == [r.image for r in index.val]
    assert not splits.shared_with_train
    copied = index.val[-1]
    copied.image.write_bytes(index.train[0].image.read_bytes())
    images = open_dataset(tmp_path, progress=False)
    shared = train_val_split(images)
    assert [record.image for record in shared.shared_with_train] == [copied.image]
    assert shared.val_groups[-1] == shared.groups[0]
    assert not k_fold(images, 4).shared_with_train


def test_all_images_can_be_evaluated_on_even_a_single_one(tmp_path):
    write_dataset(tmp_path, images=1, layout="wbc", size=SIZE, progress=False, val_fraction=0)
    images = open_dataset(tmp_path, progress=False, needs_train=False)
    splits = all_images(images)
    assert (len(splits.train), len(splits.val)) == (0, 1)
    with pytest.raises(DataError, match="add images"):
        train_val_split(images)


def test_a_folder_with_val_alone_is_enough_to_evaluate_on_and_not_to_train_on(tmp_path):
    write_dataset(tmp_path, images=20, layout="wbc", size=SIZE, progress=False)
    shutil.rmtree(tmp_path / "train")
    splits = train_val_split(open_dataset(tmp_path, progress=False, needs_train=False), needs_train=False)
    assert len(splits.train) == 0
    assert len(splits.val) > 0
    with pytest.raises(DataError, match=r"no annotated image to train on, only \d+ to validate on"):
        split(tmp_path)


def test_fingerprints_are_those_of_the_pixels(copy):
    images = copy / "Main Dataset/neut"
    for number in (80, 81):
        Image.fromarray(np.full((SIZE[1], SIZE[0], 3), number, np.uint8)).save(images / f"{number}.bmp")
    shutil.copy(images / "80.bmp", images / "82.bmp")
    mask = copy / "Ground Truth Segmentation/neut/areaforexpert1/1_expert.bmp"
    masks = (MaskFile(mask, "neutrophil", may_lack_margin=True),)
    records = [ImageRecord(images / f"{number}.bmp", masks) for number in (80, 81, 82)]
    hashes = fingerprints(read_dataset(records, progress=False))
    assert hashes[0] == hashes[2] != hashes[1]


def test_a_warning_counts_the_images_of_the_training_set():
    assert overlap_warning(["a", "b"], ["c"]) == ""
    assert "1 of the 2 images were in the training set" in overlap_warning(["a", "b"], ["b"])
    assert "2 of the 3 images were in the training set" in overlap_warning(["a", "b", "c"], ["b", "x", "c"])


def test_a_run_is_not_resumed_with_other_images_or_another_split(lisc):
    images = open_dataset(lisc, progress=False)
    splits = train_val_split(images)
    started = content_of(splits)
    check_same_content(splits, json.loads(json.dumps(started)))
    check_same_content(images_elsewhere(splits), started)
    fewer = splits._replace(val=splits.val.subset(range(len(splits.val) - 1)))
    with pytest.raises(DataError, match=r"1 image to validate on: missing or changed \(.*bmp\)\nrestore them"):
        check_same_content(fewer, started)
    with pytest.raises(DataError, match=r"images to train on: new \("):
        check_same_content(train_val_split(images, seed=1), started)
    other = dataclasses.replace(splits.train, samples=[*splits.train.samples])
    first = other.samples[0]
    other.samples[0] = first._replace(regions=[region.moved(1, 0) for region in first.regions])
    with pytest.raises(DataError, match=r"1 image to train on: annotated differently \("):
        check_same_content(splits._replace(train=other), started)
    other.samples[0] = first._replace(labels=first.labels + 1)
    with pytest.raises(DataError, match=r"1 image to train on: annotated differently \("):
        check_same_content(splits._replace(train=other), started)
    renamed = dataclasses.replace(splits.train, class_names=("a", "b", "c", "d", "e"))
    with pytest.raises(DataError, match=r"the classes were basophil, .* and are a, b, c, d, e"):
        check_same_content(splits._replace(train=renamed), started)


def images_elsewhere(splits: Splits) -> Splits:
    """The same images in another folder."""
    sides = {
        side: dataclasses.replace(
            dataset,
            records=[record._replace(image=Path("/elsewhere") / record.image.name) for record in dataset.records],
        )
        for side, dataset in (("train", splits.train), ("val", splits.val))
    }
    return splits._replace(**sides)


@pytest.mark.parametrize("seed", range(8))
def test_a_large_group_does_not_unbalance_the_folds(seed):
    """Six images of one field and six of six others divide into two folds of six."""
    folds = stratified_group_folds(["a"] * 12, [0] * 6 + [1, 2, 3, 4, 5, 6], folds=2, seed=seed)
    assert sorted(Counter(folds).values()) == [6, 6]


def test_training_needs_a_cell_and_evaluation_does_not(tmp_path):
    for side, cells in (("train", 0), ("val", 255)):
        for k in range(2):
            for kind in ("image", "mask"):
                path = tmp_path / side / kind / "blast" / f"{k}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                seed = k + (side == "val") * 10
                pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
                if kind == "mask":
                    pixels = np.zeros((48, 64), np.uint8)
                    pixels[10:30, 10:30] = cells
                Image.fromarray(pixels).save(path)
    with pytest.raises(DataError, match="no cell in any of 2 training images"):
        split(tmp_path)
    images = open_dataset(tmp_path, progress=False)
    assert len(all_images(images._replace(dataset=images.dataset.subset([0, 1]), groups=[0, 1])).val) == 2
