"""From a folder to training and validation sets that share no field of view.

A data set's own split (train and val) is kept. LISC has none: a fifth of each class is sampled for validation. Images of the
same field (see duplicates.py) stay on one side, and a rare class is on both sides if it has a field for each.
"""

import contextlib
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from data.dataset import SmearDataset, read_dataset
from data.duplicates import duplicate_groups, members_by_group
from data.formats import index_dataset
from data.records import DataError, ImageRecord, Skipped
from maskrcnn.config import LISC_CLASSES

CACHE = ".same-fields.json"  # in the data set's folder
# A few bad files do not stop a run; many are a sign that something is wrong with the folder.
MAX_SKIPPED = 0.1
DEFAULT_FOLDS = 5  # a data set without a split: one of so many folds is the validation set


class AnnotatedImages(NamedTuple):
    """Everything that can be used of a data set, not yet split."""

    root: Path
    dataset: SmearDataset
    groups: list[int]  # equal numbers: images of the same field of view
    provided_val: list[int] | None  # indices of the validation images; None: the data set brings no split
    skipped: list[Skipped]


class Splits(NamedTuple):
    """Training and validation set, and what was left out of both."""

    train: SmearDataset
    val: SmearDataset
    groups: list[int]  # of the training, then of the validation images: equal numbers show the same field
    skipped: list[Skipped]

    @property
    def val_groups(self) -> list[int]:
        """`groups` of the validation images."""
        return self.groups[len(self.train) :]

    @property
    def shared_with_train(self) -> list[ImageRecord]:
        """Validation images whose field is also in the training set: possible only where the data brings its own split."""
        train = set(self.groups[: len(self.train)])
        pairs = zip(self.val.records, self.val_groups, strict=True)
        return [record for record, group in pairs if group in train]


def open_dataset(
    root: Path | str,
    compartment: str = "whole-cell",
    strict: bool = False,
    class_names: Sequence[str] = LISC_CLASSES,
    progress: bool = True,
    needs_train: bool = True,
) -> AnnotatedImages:
    """Find, read and check every image below root.

    strict: no file may be left out. needs_train: see `index_dataset`. Raises DataError if the data cannot be used.
    """
    index = index_dataset(root, needs_train)
    records = index.train + (index.val or [])
    dataset = read_dataset(records, class_names, progress=progress, compartment=compartment)
    skipped = [*index.skipped, *dataset.skipped]
    check_unusable(index.root, skipped, len(records), strict)
    groups = cached_groups(dataset, index.root / CACHE, progress)
    train = set(index.train)
    provided_val = None if index.val is None else [i for i, record in enumerate(dataset.records) if record not in train]
    return AnnotatedImages(index.root, dataset, groups, provided_val, skipped)


def train_val_split(images: AnnotatedImages, seed: int = 0, needs_train: bool = True) -> Splits:
    """The data set's own split; without one, a stratified split by seed. Raises DataError if a side is empty (the training
    side may be, without needs_train)."""
    if images.provided_val is None:
        return k_fold(images, DEFAULT_FOLDS, 0, seed, needs_train)
    return _split(images, images.provided_val, needs_train)


def k_fold(images: AnnotatedImages, folds: int, fold: int = 0, seed: int = 0, needs_train: bool = True) -> Splits:
    """Cross-validation: all images divided into `folds` parts, of which part `fold`, from 0 on, is the validation set.

    Raises ValueError for a fold that does not exist, DataError if a side is empty.
    """
    if not (folds >= 2 and 0 <= fold < folds):
        raise ValueError(f"folds must be 2 or more and fold from 0 to folds - 1, got {fold} of {folds}")
    labels = [record.label for record in images.dataset.records]
    parts = stratified_group_folds(labels, images.groups, folds, seed)
    return _split(images, [i for i, part in enumerate(parts) if part == fold], needs_train)


def all_images(images: AnnotatedImages) -> Splits:
    """Every image in the validation set, none to train on: to evaluate on a data set as a whole."""
    return _split(images, range(len(images.dataset)), needs_train=False)


def _split(images: AnnotatedImages, val: Sequence[int], needs_train: bool) -> Splits:
    train = sorted(set(range(len(images.dataset))) - set(val))
    if not val or (needs_train and not train):
        counts = f"{len(train)} images left to train on and {len(val)} to validate on"
        raise DataError(f"{images.root}: {counts}; add images")
    groups = [images.groups[i] for i in [*train, *val]]
    return Splits(images.dataset.subset(train), images.dataset.subset(val), groups, images.skipped)


def fingerprints(dataset: SmearDataset) -> list[str]:
    """A hash of the pixels of each image, the same wherever the file is stored."""
    return [hashlib.sha256(sample.image.numpy().tobytes()).hexdigest()[:16] for sample in dataset.samples]


def overlap_warning(images: Sequence[str], trained_on: Iterable[str]) -> str:
    """A warning if some of the images were in a model's training set; else "". All by fingerprint."""
    training_images = set(trained_on)
    count = sum(name in training_images for name in images)
    warning = f"warning: {count} of the {len(images)} images were in the training set; results on them are too good"
    return warning if count else ""


def check_same_images(splits: Splits, trained_on: Iterable[str], validated_on: Iterable[str]) -> None:
    """Raise DataError if a run that is resumed, known by fingerprints, would continue with other images or another split:
    images that were trained on might then be validated on, or the reverse."""
    if set(fingerprints(splits.train)) - set(trained_on) or set(fingerprints(splits.val)) != set(validated_on):
        raise DataError(
            "the images or their split differ from those that the run started with, so it cannot be resumed; restore them, "
            "or start a new run with --weights of this one"
        )


def check_unusable(root: Path, skipped: Sequence[Skipped], count: int, strict: bool) -> None:
    """Raise DataError, with all of them, if more than MAX_SKIPPED of `count` files are unusable (any, if strict)."""
    errors = [item for item in skipped if item.is_error]
    lines = [f"{root}: {len(errors)} files cannot be used:", *map(str, errors)]
    if strict and errors:
        raise DataError("\n  ".join(lines))
    if len(errors) > max(1, MAX_SKIPPED * count):
        advice = f"More than {MAX_SKIPPED:.0%} of the files are unusable. Fix or remove them."
        raise DataError("\n  ".join([*lines, advice]))


def cached_groups(dataset: SmearDataset, cache: Path, progress: bool = True) -> list[int]:
    """`duplicate_groups` of a data set, stored in a file and used again as long as the images stay the same."""
    images = [sample.image.numpy() for sample in dataset.samples]
    digest = hashlib.sha256()
    for image in images:
        digest.update(repr(image.shape).encode())
        digest.update(image.tobytes())
    try:
        stored = json.loads(cache.read_text(encoding="utf-8"))
        if stored["pictures"] == digest.hexdigest():
            return list(stored["groups"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no cache, or a damaged one: compute the groups again
    groups = duplicate_groups(images, progress)
    with contextlib.suppress(OSError):  # a read-only folder: compute the groups again next time
        cache.write_text(json.dumps({"pictures": digest.hexdigest(), "groups": groups}), encoding="utf-8")
    return groups


def stratified_group_folds(labels: Sequence[str | None], groups: Sequence[int], folds: int, seed: int) -> list[int]:
    """A fold, 0 to folds - 1, for each image: folds of equal size in each class, no group in two of them.

    labels: the class of each image, None for several. Deterministic by seed.
    """
    members = members_by_group(groups)
    fold_of = [0] * len(labels)
    totals = Counter(dict.fromkeys(range(folds), 0))
    for label in sorted(set(labels), key=str):
        of_label = [images for images in members.values() if labels[images[0]] == label]
        random.Random(f"{seed} {label}").shuffle(of_label)
        # The largest group first, each to the fold with the fewest images of the class so far, then the fewest of all.
        sizes = Counter(dict.fromkeys(range(folds), 0))
        for images in sorted(of_label, key=len, reverse=True):
            fold = min(range(folds), key=lambda k: (sizes[k], totals[k], k))
            sizes[fold] += len(images)
            totals[fold] += len(images)
            for i in images:
                fold_of[i] = fold
    return fold_of
