"""Which classes a data set has: LISC's five, or any others, as its folders and files name them or as --classes says."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from data.records import DataError, DatasetIndex, ImageRecord
from maskrcnn.config import LISC_CLASSES

SINGLE = "cell"  # the class of a data set that names none
SINGLE_NOTE = f"no classes are named, so every cell is a {SINGLE}"


class ClassChoice(NamedTuple):
    """What --classes says: names in their order, and what is renamed to them."""

    names: tuple[str, ...]
    renamed: dict[str, str]  # name in the data, in small letters -> name here

    def __call__(self, label: str) -> str | None:
        """The class of a label of the data; None: it is dropped."""
        return self.renamed.get(label.lower())


def parse_classes(text: str) -> ClassChoice:
    """ "a,b,old=b,other=b": the classes are a and b, in this order; old and other become b; all else is dropped. Raises
    ValueError."""
    names: list[str] = []
    renamed: dict[str, str] = {}
    for part in text.split(","):
        old, _, new = (piece.strip() for piece in part.partition("="))
        name = new or old
        if not old or ("=" in part and not new):
            raise ValueError(f"--classes {text}: expected names separated by commas, old=new to rename, got {part!r}")
        if old.lower() in renamed:
            raise ValueError(f"--classes {text}: {old} is named twice")
        renamed[old.lower()] = name
        names += [] if name in names else [name]
    for name in names:
        renamed.setdefault(name.lower(), name)
    return ClassChoice(tuple(names), renamed)


def classes_of_model(names: Sequence[str], text: str | None) -> ClassChoice:
    """What in the data is which class of a model; text: --classes, None if they have the same names. Raises ValueError for
    a class that the model does not know."""
    renamed = {name.lower(): name for name in names}
    choice = parse_classes(text) if text else ClassChoice(tuple(names), renamed)
    if unknown := set(choice.names) - set(names):
        raise ValueError(f"--classes {text}: the model has no class {min(unknown)}; it has {', '.join(names)}")
    return ClassChoice(tuple(names), choice.renamed)


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
    names: tuple[str, ...]
    if choice is None:
        standard = {label: standard_class(label) for label in found}
        if all(standard.values()):
            names, mapping = LISC_CLASSES, {label: str(name) for label, name in standard.items()}
        else:
            mapping = {label: standard or label for label, standard in standard.items()}
            listed = [mapping[name] for name in index.class_names if name in found]
            names = tuple(dict.fromkeys([*listed, *sorted(mapping.values(), key=str.lower)]))
    else:
        names = choice.names
        mapping = {label: name for label in found if (name := choice(label) or choice(standard_class(label) or ""))}
    dropped = {label: count for label, count in found.items() if label not in mapping}
    notes = [f"{count} annotations of the class {label} are not used (--classes)" for label, count in dropped.items()]
    if found and not mapping:
        raise DataError(
            f"{index.root}: --classes names {', '.join(names)}, and the data has {', '.join(sorted(found))}; none is left"
        )
    renamed = index._replace(
        train=_renamed(index.train, mapping), val=None if index.val is None else _renamed(index.val, mapping)
    )
    return renamed, names, notes


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
