"""From a folder to training and validation sets that share no field of view.

A data set's own split (train and val) is kept. LISC has none: a fifth of each class is sampled for validation. Images of the
same field (see duplicates.py) stay on one side, and a rare class is on both sides if it has a field for each.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from data.dataset import SmearDataset
from data.duplicates import members_by_group
from data.opening import AnnotatedImages
from data.records import DataError, ImageRecord, Skipped
from maskrcnn.inference.arguments import plural, some

SHOWN = 3  # files of a message
DEFAULT_FOLDS = 5  # a data set without a split: one of so many folds is the validation set


class Splits(NamedTuple):
    """Training and validation set, and what was left out of both."""

    train: SmearDataset
    val: SmearDataset
    groups: list[int]  # of the training, then of the validation images: equal numbers show the same field
    skipped: list[Skipped]
    notes: Sequence[str] = ()  # see AnnotatedImages

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


def train_val_split(images: AnnotatedImages, seed: int = 0, needs_train: bool = True) -> Splits:
    """The data set's own split; without one, a stratified split by seed. Raises DataError if a side is empty (the training
    side may be, without needs_train)."""
    if images.provided_val is not None:
        return _split(images, images.provided_val, needs_train)
    strata = strata_of(images.dataset)
    folds = stratified_group_folds(strata, images.groups, DEFAULT_FOLDS, seed)
    groups_of = {
        stratum: {g for s, g in zip(strata, images.groups, strict=True) if s == stratum} for stratum in set(strata)
    }
    # A class of a single field is trained on, with all images of this field: validated on alone, it would never be found.
    trained_on = {group for groups in groups_of.values() if len(groups) == 1 for group in groups}
    val = [i for i, fold in enumerate(folds) if fold == 0 and images.groups[i] not in trained_on]
    return _split(images, val, needs_train)


def k_fold(images: AnnotatedImages, folds: int, fold: int = 0, seed: int = 0, needs_train: bool = True) -> Splits:
    """Cross-validation: all images divided into `folds` parts, of which part `fold`, from 0 on, is the validation set.

    Raises ValueError for a fold that does not exist, DataError if a side is empty.
    """
    if not (folds >= 2 and 0 <= fold < folds):
        raise ValueError(f"folds must be 2 or more and fold from 0 to folds - 1, got {fold} of {folds}")
    parts = stratified_group_folds(strata_of(images.dataset), images.groups, folds, seed)
    return _split(images, [i for i, part in enumerate(parts) if part == fold], needs_train)


def all_images(images: AnnotatedImages) -> Splits:
    """Every image in the validation set, none to train on: to evaluate on a data set as a whole."""
    return _split(images, range(len(images.dataset)), needs_train=False)


def _split(images: AnnotatedImages, val: Sequence[int], needs_train: bool) -> Splits:
    train = sorted(set(range(len(images.dataset))) - set(val))
    if not val or (needs_train and not train):
        counts = f"of {plural(len(images.dataset), 'image')} {len(train)} are to train on and {len(val)} to validate on"
        raise DataError(f"{images.root}: {counts}; both sides need some: add images")
    if needs_train and not any(len(images.dataset.samples[i].labels) for i in train):
        raise DataError(f"{images.root}: no cell in any of {len(train)} training images, so there is nothing to learn")
    groups = [images.groups[i] for i in [*train, *val]]
    sides = images.dataset.subset(train), images.dataset.subset(val)
    notes = [*images.notes, *(_class_notes(*sides) if train else [])]
    return Splits(*sides, groups, images.skipped, notes)


def _class_notes(train: SmearDataset, val: SmearDataset) -> list[str]:
    """The classes that a side shows in no image, or in one."""
    counts = [images_per_class(dataset) for dataset in (train, val)]
    few: dict[str, list[str]] = {}
    for label, name in enumerate(train.class_names, start=1):
        in_train, in_val = (count[label] for count in counts)
        if in_train + in_val == 0:
            few.setdefault("no image shows", []).append(name)
        elif in_train == 0:
            few.setdefault("no training image shows", []).append(f"{name} (and {in_val} to validate on)")
        elif min(in_train, in_val) < 2:
            listed = few.setdefault("few images, whose figures mean little, show", [])
            listed.append(f"{name} ({in_train} to train on, {in_val} to validate on)")
    return [f"{what} {', '.join(names)}" for what, names in few.items()]


def images_per_class(dataset: SmearDataset) -> Counter[int]:
    """Label -> the number of images that show it."""
    return Counter(label for sample in dataset.samples for label in sample.labels.unique().tolist())


def strata_of(dataset: SmearDataset) -> list[str]:
    """What each image is an example of: its class or, of several, the one that fewest images show; "" without a cell."""
    count = images_per_class(dataset)
    strata = []
    for sample in dataset.samples:
        present = sample.labels.unique().tolist()
        rarest = min(present, key=lambda label: (count[label], label), default=0)
        several = "several, " if len(present) > 1 else ""
        strata.append(f"{several}{dataset.class_names[rarest - 1]}" if rarest else "")
    return strata


def fingerprints(dataset: SmearDataset) -> list[str]:
    """The `Sample.fingerprint` of each image."""
    return [sample.fingerprint for sample in dataset.samples]


def overlap_warning(images: Sequence[str], trained_on: Iterable[str]) -> str:
    """A warning if some of the images were in a model's training set; else "". All by fingerprint."""
    training_images = set(trained_on)
    count = sum(name in training_images for name in images)
    warning = f"warning: {count} of the {len(images)} images were in the training set; results on them are too good"
    return warning if count else ""


def content_of(splits: Splits) -> dict[str, Any]:
    """What a run is made of, for `check_same_content`: the classes, and of each image of each side its fingerprint, file and
    annotation."""
    sides = {"train": splits.train, "val": splits.val}
    images = {
        side: [
            [sample.fingerprint, str(record.image), sample.annotation]
            for sample, record in zip(dataset.samples, dataset.records, strict=True)
        ]
        for side, dataset in sides.items()
    }
    return {"classes": list(splits.train.class_names), **images}


def check_same_content(splits: Splits, started_with: Mapping[str, Any]) -> None:
    """Raise DataError if a run that is resumed would continue with other images, classes, annotations or another split:
    images that were trained on might then be validated on, or the reverse. Where the images lie does not matter.

    started_with: `content_of` its start.
    """
    now, found = content_of(splits), []
    if now["classes"] != started_with["classes"]:
        found.append(f"the classes were {', '.join(started_with['classes'])} and are {', '.join(now['classes'])}")
    for side, title in (("train", "to train on"), ("val", "to validate on")):
        before, after = ({image[0]: image for image in content[side]} for content in (started_with, now))
        gone = [before[key][1] for key in before if key not in after]
        new = [after[key][1] for key in after if key not in before]
        changed = [image[1] for key, image in after.items() if key in before and before[key][2] != image[2]]
        for files, what in ((gone, "missing or changed"), (new, "new"), (changed, "annotated differently")):
            if files:
                found.append(f"{plural(len(files), 'image')} {title}: {what} ({some(files, SHOWN)})")
    if found:
        raise DataError(
            "\n  ".join(["the run started with other data, so it cannot be resumed:", *found])
            + "\nrestore them, or start a new run with --weights of this one"
        )


def stratified_group_folds(labels: Sequence[str], groups: Sequence[int], folds: int, seed: int) -> list[int]:
    """A fold, 0 to folds - 1, for each image: folds of equal size in each class, no group in two of them.

    labels: what each image is an example of. Deterministic by seed.
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
