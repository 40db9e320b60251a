"""From a folder to training and validation sets, so that nothing of the one is known from the other.

A data set's own split (train and val) is taken as it is. LISC has none: one is drawn, class by class, so that a rare class
is on both sides if it has a field for each, and pictures of the same field (see groups.py) stay together.
"""

import contextlib
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from data.dataset import SmearDataset
from data.groups import same_field
from data.lisc import CLASSES, DataError, Field, Skipped, find

CACHE = ".same-fields.json"  # beside the data
# A few bad files do not stop a run; many are a sign that something is wrong with the folder.
MAX_SKIPPED = 0.1


class Splits(NamedTuple):
    train: SmearDataset
    val: SmearDataset
    groups: list[int]  # of each training, then each validation field: equal numbers show the same field
    skipped: list[Skipped]

    @property
    def val_groups(self) -> list[int]:
        """`groups` of the validation fields alone."""
        return self.groups[len(self.train) :]

    @property
    def straddling(self) -> list[Field]:
        """Validation fields that the training set shows, too: possible only where the data brings its own split."""
        seen = set(self.groups[: len(self.train)])
        pairs = zip(self.val.fields, self.val_groups, strict=True)
        return [field for field, group in pairs if group in seen]


def open_splits(
    root: Path | str,
    folds: int | None = None,
    fold: int = 0,
    seed: int = 0,
    strict: bool = False,
    part: str = "cell",
    class_names: Sequence[str] = CLASSES,
    progress: bool = True,
    undivided: bool = False,
    to_train: bool = True,
) -> Splits:
    """Read and check every image below root, and divide them.

    folds, fold: cross-validation instead of one split. All annotated fields are divided into `folds` parts, part `fold`,
    counted from 0, is the validation set. strict: no file may be left out. undivided: all fields are the validation set,
    and none is left to train on. to_train: False where the validation set alone is looked at, and one will do.
    Raises DataError if the data cannot be used, ValueError for a fold that does not exist.
    """
    if folds is not None and not (folds >= 2 and 0 <= fold < folds):
        raise ValueError(f"folds must be 2 or more and fold from 0 to folds - 1, got {fold} of {folds}")
    found = find(root, to_train)
    own = found.val is not None and folds is None
    fields = found.train + (found.val or [])
    dataset = SmearDataset(fields, class_names, progress=progress, part=part)
    skipped = [*found.skipped, *dataset.skipped]
    check_skipped(found.root, skipped, len(fields), strict)
    groups = find_groups(dataset, found.root / CACHE, progress)
    if undivided:
        chosen = list(range(len(dataset)))
    elif own:
        of_train = set(found.train)
        chosen = [i for i, field in enumerate(dataset.fields) if field not in of_train]
    else:
        parts = divide([field.label for field in dataset.fields], groups, folds or 5, seed)
        chosen = [i for i, place in enumerate(parts) if place == fold]
    rest = sorted(set(range(len(dataset))) - set(chosen))
    if not chosen or (to_train and not rest):
        raise DataError(f"{root}: {len(rest)} images left to train on and {len(chosen)} to validate on; add images")
    return Splits(dataset.subset(rest), dataset.subset(chosen), [groups[i] for i in rest + chosen], skipped)


def fingerprints(dataset: SmearDataset) -> list[str]:
    """A short name for the pixels of each image, the same wherever the file lies."""
    return [hashlib.sha256(sample.image.numpy().tobytes()).hexdigest()[:16] for sample in dataset.samples]


def seen_in_training(images: Sequence[str], trained_on: Iterable[str]) -> str:
    """A warning, if some of the images are among those that a model was trained on; else nothing. All by fingerprint."""
    known = set(trained_on)
    count = sum(name in known for name in images)
    about = f"warning: {count} of the {len(images)} images were trained on; on them a model is better than on new ones"
    return about if count else ""


def check_same_images(splits: Splits, trained_on: Iterable[str], validated_on: Iterable[str]) -> None:
    """Raise DataError if a run, known by fingerprints, would go on with other images, or with the same divided in another
    way: some that were trained on might be validated on, or the other way round."""
    if set(fingerprints(splits.train)) - set(trained_on) or set(fingerprints(splits.val)) != set(validated_on):
        raise DataError(
            "the images are not those that the run began with, which cannot be resumed; bring them back, or start another "
            "run, with --weights of this one"
        )


def check_skipped(root: Path, skipped: Sequence[Skipped], count: int, strict: bool) -> None:
    """Raise DataError, with all of them, if more files are left out than a run may shrug off."""
    faults = [item for item in skipped if item.is_fault]
    lines = [f"{len(faults)} files cannot be used:", *map(str, faults)]
    if strict and faults:
        raise DataError("\n  ".join([f"{root}: {lines[0]}", *lines[1:]]))
    if len(faults) > max(1, MAX_SKIPPED * count):
        advice = "So many are no accident; mend them, or take them out."
        raise DataError("\n  ".join([f"{root}: {lines[0]}", *lines[1:], advice]))


def find_groups(dataset: SmearDataset, cache: Path, progress: bool = True) -> list[int]:
    """`same_field` of a data set, remembered in a file as long as its pictures stay the same."""
    pictures = [sample.image.numpy() for sample in dataset.samples]
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(repr(picture.shape).encode())
        digest.update(picture.tobytes())
    try:
        known = json.loads(cache.read_text(encoding="utf-8"))
        if known["pictures"] == digest.hexdigest():
            return list(known["groups"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # there is none, or not one of ours: it is made again
    groups = same_field(pictures, progress)
    with contextlib.suppress(OSError):  # a folder that is only for reading: the groups are found again next time
        cache.write_text(json.dumps({"pictures": digest.hexdigest(), "groups": groups}), encoding="utf-8")
    return groups


def divide(labels: Sequence[str | None], groups: Sequence[int], parts: int, seed: int) -> list[int]:
    """A part, 0 to parts - 1, for each field: parts of equal size in each class, no group in two of them.

    labels: the class of each field, None for several. Deterministic by seed.
    """
    members: dict[int, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    place = [0] * len(labels)
    totals = Counter(dict.fromkeys(range(parts), 0))
    for label in sorted(set(labels), key=str):
        own = [fields for fields in members.values() if labels[fields[0]] == label]
        random.Random(f"{seed} {label}").shuffle(own)
        # The largest first, each to the part that has the fewest of the class so far, or the fewest of all.
        filled = Counter(dict.fromkeys(range(parts), 0))
        for fields in sorted(own, key=len, reverse=True):
            part = min(range(parts), key=lambda k: (filled[k], totals[k], k))
            filled[part] += len(fields)
            totals[part] += len(fields)
            for i in fields:
                place[i] = part
    return place
