"""Which classes a data set has: LISC's five, or any others, as its folders and files name them or as --classes says."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from data.records import DataError, DatasetIndex, ImageRecord
from maskrcnn.config import LISC_CLASSES

SINGLE = "cell"  # the class of a data set that names none
SINGLE_NOTE = f"no classes are named, so every cell is a {SINGLE}"
SIMILAR = 0.8  # ratio of difflib above which a name is a misspelling of another


class ClassChoice(NamedTuple):
    """What --classes says: names in their order, and what is renamed to them."""

    names: tuple[str, ...]
    renamed: dict[str, str]  # name in the data, as it is and in small letters -> name here
    numbered: tuple[str, ...]  # class k of masks that number the classes, from 1 on; two of them may be merged
    is_told: bool = True  # False: these are the classes of a model, and the data may lack some

    def __call__(self, label: str) -> str | None:
        """The class of a label of the data; None: it is dropped."""
        return self.renamed.get(label) or self.renamed.get(label.lower())


def parse_classes(text: str) -> ClassChoice:
    """ "a,b,old=b,other=b": the classes are a and b, in this order; old and other become b; all else is dropped. Raises
    ValueError."""
    renamed: dict[str, str] = {}
    for part in text.split(","):
        old, _, new = (piece.strip() for piece in part.partition("="))
        if not old or ("=" in part and not new):
            raise ValueError(f"--classes {text}: expected names separated by commas, old=new to rename, got {part!r}")
        if old in renamed:
            raise ValueError(f"--classes {text}: {old} is named twice")
        renamed[old] = new or old
    numbered = tuple(renamed.values())
    return ClassChoice(tuple(dict.fromkeys(numbered)), _in_any_case(renamed), numbered)


def _in_any_case(renamed: dict[str, str]) -> dict[str, str]:
    """With the new names themselves, and all in small letters, where these are not names of their own."""
    exact = renamed | {name: name for name in renamed.values() if name not in renamed}
    return {name.lower(): new for name, new in reversed(exact.items())} | exact


def classes_of_model(names: Sequence[str], text: str | None) -> ClassChoice:
    """What in the data is which class of a model; text: --classes, None if they have the same names. Raises ValueError for
    a class that the model does not know."""
    own = tuple(names)
    choice = parse_classes(text) if text else ClassChoice(own, _in_any_case({name: name for name in own}), own)
    if unknown := set(choice.names) - set(names):
        raise ValueError(f"--classes {text}: the model has no class {min(unknown)}; it has {', '.join(names)}")
    return choice._replace(names=own, is_told=False)


def standard_class(name: str) -> str | None:
    """The one of LISC's classes that a name means, in any letter case, in the plural or shortened to four letters or more:
    "Baso", "eosi", "Lymphocytes"; None if it means none of them."""
    plain = "".join(letter for letter in name.lower() if letter.isalnum()).rstrip("s")
    return next((label for label in LISC_CLASSES if len(plain) >= 4 and label.startswith(plain)), None)


def without_single(index: DatasetIndex) -> DatasetIndex:
    """The data set with the class of its cells left to the masks, where files and folders name none."""

    def unnamed(records: Sequence[ImageRecord]) -> list[ImageRecord]:
        return [
            record._replace(masks=tuple(m._replace(label=None if m.label == SINGLE else m.label) for m in record.masks))
            for record in records
        ]

    val = None if index.val is None else unnamed(index.val)
    notes = tuple(note for note in index.notes if note != SINGLE_NOTE)
    return index._replace(train=unnamed(index.train), val=val, class_names=(), notes=notes)


def choose_classes(index: DatasetIndex, choice: ClassChoice | None) -> tuple[DatasetIndex, tuple[str, ...], list[str]]:
    """The data set with the names of its classes, these names in order, and notes on what was dropped.

    Without a choice: LISC's five if every class of the data is one of them, else the data's own, in the order in which the
    data set lists them or, if it does not, alphabetically. Raises DataError if nothing is left.
    """
    records = [*index.train, *(index.val or [])]
    found = Counter(label for record in records for label in record.labels if label is not None)
    notes: list[str] = []
    if choice is None:
        mapping = _own_names(index, found, notes)
        names: tuple[str, ...] = LISC_CLASSES
        if not set(mapping.values()) <= set(LISC_CLASSES):
            listed = [mapping[name] for name in index.class_names if name in found]
            names = tuple(dict.fromkeys([*listed, *sorted(mapping.values(), key=str.lower)]))
    else:
        names = choice.names
        mapping = {label: name for label in found if (name := choice(label) or choice(standard_class(label) or ""))}
    dropped = {label: count for label, count in found.items() if label not in mapping}
    notes += [f"{count} annotations of the class {label} are not used (--classes)" for label, count in dropped.items()]
    if choice and found:
        _check_spelling(index, choice, mapping, dropped)
    renamed = index._replace(
        train=_renamed(index.train, mapping), val=None if index.val is None else _renamed(index.val, mapping)
    )
    return renamed, names, notes


def _own_names(index: DatasetIndex, found: Iterable[str], notes: list[str]) -> dict[str, str]:
    """Label -> class: LISC's where it is one of them, else itself. Labels that differ in nothing but letter case are one
    class."""
    spellings: dict[str, list[str]] = {}
    for label in [*(name for name in index.class_names if name in found), *sorted(found)]:
        others = spellings.setdefault(_spelled_alike(label), [])
        others += [] if label in others else [label]
    for first, *others in spellings.values():
        if others and not standard_class(first):
            notes.append(
                f"the classes {first} and {', '.join(others)} differ in letter case alone and are one: {first}"
            )
    return {label: standard_class(label) or spellings[_spelled_alike(label)][0] for label in found}


def _spelled_alike(label: str) -> str:
    """The same for names that differ in letter case or, as file systems write them, in Unicode form."""
    return unicodedata.normalize("NFC", label).lower()


def _check_spelling(index: DatasetIndex, choice: ClassChoice, mapping: dict[str, str], dropped: Iterable[str]) -> None:
    """Raise DataError if no class is left, or if one that --classes names is only there under a similar name."""
    names, there = choice.names, ", ".join(sorted({*mapping, *dropped}))
    if not mapping:
        remedy = "; if the numbers in the masks are classes, add --mask-kind class-indices" if there == SINGLE else ""
        raise DataError(
            f"{index.root}: --classes names {', '.join(names)}, and the data has {there}; none is left{remedy}"
        )
    for name in (name for name in names if choice.is_told and name not in mapping.values()):
        similar = {label.lower(): label for label in dropped}
        if close := get_close_matches(name.lower(), similar, n=1, cutoff=SIMILAR):
            meant = f"did you mean {similar[close[0]]}? It has {there}"
            raise DataError(f"{index.root}: --classes names {name}, which the data does not have; {meant}")


def _renamed(records: Sequence[ImageRecord], mapping: dict[str, str]) -> list[ImageRecord]:
    """Records with other names of classes. What has no new name is dropped, and an image with nothing left stays as one
    without cells if its annotation lists shapes, and goes if it is a mask."""
    kept = []
    for record in records:
        masks = tuple(
            file._replace(label=file.label and mapping[file.label])
            for file in record.masks
            if file.label is None or file.label in mapping
        )
        shapes = record.shapes
        if shapes is not None:
            shapes = tuple(s._replace(label=mapping[s.label]) for s in shapes if s.label in mapping)
        if masks or shapes is not None or not record.masks:
            kept.append(record._replace(masks=masks, shapes=shapes))
    return kept
