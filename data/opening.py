"""From a folder to everything that can be used of it: files are found, classes chosen, every image read and checked."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data.classes import SINGLE_NOTE, ClassChoice, choose_classes, without_single
from data.dataset import SmearDataset, listed, look_at_masks, read_dataset
from data.duplicates import duplicate_groups
from data.formats import index_dataset
from data.formats.lisc import NAME as LISC
from data.mask_kinds import CLASSES, CODES, MaskMeaning
from data.records import DataError, DatasetIndex, Skipped
from maskrcnn.inference.arguments import plural

CACHE = ".same-fields.json"  # in the data set's folder
CACHED = 8  # groupings in it: of the sizes, classes and splits that were read last
# A few bad files do not stop a run; many are a sign that something is wrong with the folder.
MAX_SKIPPED = 0.1
TELL_CLASSES = (CODES, CLASSES)  # kinds of masks that tell the class of a cell
MAX_SIDE = 640  # pixels: larger images are kept with this shorter side, twice the largest that is trained on


class ReadOptions(NamedTuple):
    """How a data set is read, as the command line says it."""

    compartment: str = "whole-cell"  # what to segment: one of dataset.COMPARTMENTS
    strict: bool = False  # no file may be left out
    classes: ClassChoice | None = None  # None: those of the data
    format_name: str | None = None  # one of formats.FORMAT_NAMES; None: it is recognised
    mask_kind: str | None = None  # one of mask_kinds.KINDS; None: it is decided from the masks
    max_side: int | None = MAX_SIDE  # pixels: the shorter side of images is at most this


AS_FOUND = ReadOptions()


class AnnotatedImages(NamedTuple):
    """Everything that can be used of a data set, not yet split."""

    root: Path
    dataset: SmearDataset
    groups: list[int]  # equal numbers: images of the same field of view
    provided_val: list[int] | None  # indices of the validation images; None: the data set brings no split
    skipped: list[Skipped]
    notes: Sequence[str] = ()  # how the files were read, and what of them is not used
    has_test: bool = False  # whether the data set has a test split, which is not among these


def open_dataset(
    root: Path | str,
    options: ReadOptions = AS_FOUND,
    progress: bool = True,
    needs_train: bool = True,
    test: bool = False,
    pixels: bool = True,
) -> AnnotatedImages:
    """Find, read and check every image below root.

    needs_train: see `index_dataset`. test: the images of the test split alone, as those to validate on. pixels: see
    `read_dataset`; without them repeated fields are not looked for. Raises DataError if the data cannot be used.
    """
    found = index_dataset(root, needs_train and not test, options.format_name)
    everything = [*found.train, *(found.val or []), *found.test]
    found = _test_alone(found) if test else found
    is_unnamed = SINGLE_NOTE in found.notes
    found = without_single(found) if options.mask_kind in TELL_CLASSES else found
    index, names, notes = choose_classes(found, options.classes)
    records = index.train + (index.val or [])
    if options.mask_kind == CLASSES and not options.classes and is_unnamed:
        raise DataError(
            f"{index.root}: numbers are classes here; name these, in the order of the numbers: --classes a,b"
        )
    numbered = options.classes.numbered if options.classes else names
    kind = options.mask_kind or look_at_masks(everything)  # whatever the split, a mask means the same
    meaning = MaskMeaning(kind, numbered, is_told=options.mask_kind is not None)
    dataset = read_dataset(
        records, names, progress, options.compartment, meaning, options.max_side, index.format != LISC, pixels
    )
    skipped = [*index.skipped, *dataset.skipped]
    check_unusable(index.root, skipped, len(records), options.strict)
    groups = cached_groups(dataset, index.root / CACHE, progress) if pixels else list(range(len(dataset)))
    train = {id(record) for record in index.train}
    provided_val = None if index.val is None else [i for i, r in enumerate(dataset.records) if id(r) not in train]
    notes = [_how_it_was_read(index, dataset, numbered), *index.notes, *notes, *dataset.remarks]
    return AnnotatedImages(index.root, dataset, groups, provided_val, skipped, notes, bool(index.test))


def _test_alone(index: DatasetIndex) -> DatasetIndex:
    if not index.test:
        raise DataError(f"{index.root}: read as {index.format}, and that has no test split")
    return index._replace(train=[], val=list(index.test), test=())


def _how_it_was_read(index: DatasetIndex, dataset: SmearDataset, numbered: Sequence[str]) -> str:
    kinds = ", ".join(f"{kind} ({count})" for kind, count in dataset.mask_kinds.most_common())
    how = f"read as {index.format}" + (f"; masks: {kinds}" if kinds else "")
    numbers = ", ".join(f"{k} {name}" for k, name in enumerate(numbered, start=1))
    return how + (f"; their numbers: {numbers}" if dataset.mask_kinds[CLASSES] else "")


def check_unusable(root: Path, skipped: Sequence[Skipped], count: int, strict: bool) -> None:
    """Raise DataError if more than MAX_SKIPPED of `count` files are unusable (any, if strict)."""
    errors = [item for item in skipped if item.is_error]
    lines = [f"{root}: {plural(len(errors), 'file')} cannot be used:", *listed(errors)]
    if strict and errors:
        raise DataError("\n  ".join(lines))
    if len(errors) > max(1, MAX_SKIPPED * count):
        advice = f"More than {MAX_SKIPPED:.0%} of the files are unusable. Fix or remove them."
        raise DataError("\n  ".join([*lines, advice]))


def cached_groups(dataset: SmearDataset, cache: Path, progress: bool = True) -> list[int]:
    """`duplicate_groups` of a data set, stored in a file and used again as long as the images stay the same."""
    seen = " ".join(f"{sample.fingerprint} {sample.size}" for sample in dataset.samples)
    digest = hashlib.sha256(seen.encode()).hexdigest()
    stored = _stored_groups(cache)
    if len(stored.get(digest, ())) == len(dataset.samples):
        return stored[digest]
    groups = duplicate_groups([sample.image.numpy() for sample in dataset.samples], progress)
    last = [*stored.items(), (digest, groups)][-CACHED:]
    with contextlib.suppress(OSError):  # a read-only folder: compute the groups again next time
        cache.write_text(json.dumps(dict(last)), encoding="utf-8")
    return groups


def _stored_groups(cache: Path) -> dict[str, list[int]]:
    """Digest of some images -> their groups, the latest at the end; {} if there is no cache or it is damaged."""
    try:
        stored = dict(json.loads(cache.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
    return {digest: list(groups) for digest, groups in stored.items() if isinstance(groups, list)}
