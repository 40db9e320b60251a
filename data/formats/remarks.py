"""What is said of a data set as a whole: splits whose names are doubtful, images without annotation."""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from data.formats.files import SIDE_OF, folders, images_below, is_image, is_plain_side, key, plain, side_of
from data.records import DatasetIndex, ImageRecord

OTHER_WORDS = {"dev": "val", "eval": "val", "evaluation": "val", "holdout": "test"}  # not everyone means that
ALIKE = 0.8  # as difflib measures it: "vaild" and "valid" are alike, "rest" and "test" are not


def without_lonely_split(index: DatasetIndex) -> DatasetIndex:
    """The data set without its one split for validation or testing if nothing else is named after a split, and the word only
    occurs in a name: blood_test.json."""
    if bool(index.val) == bool(index.test) or "train" in map(side_of, _names(index.train, index.root)):
        return index
    alone = [*(index.val or []), *index.test]
    names = [name for name in _names(alone, index.root) if side_of(name)]
    if not names or any(map(is_plain_side, names)):
        return index
    note = f"{names[0]} is taken for no split, nothing else being named after one; else name it {side_of(names[0])}"
    of_test = DatasetIndex.of_splits(index.root, {"test": list(index.test)}, [], [], index.format).notes
    notes = (*(known for known in index.notes if known not in of_test), note)
    return index._replace(train=[*index.train, *alone], val=None, test=(), notes=notes)


def _names(records: Sequence[ImageRecord], root: Path) -> list[str]:
    """Of the folders and annotation files that tell the splits of records."""
    names: dict[str, None] = {}
    for record in records:
        for file in (record.image, record.annotation):
            names |= dict.fromkeys(file.relative_to(root).parts[:-1])
        names |= {record.source.stem: None} if record.source else {}
    return list(names)


def remarks(index: DatasetIndex, problems: list[str]) -> list[str]:
    """Notes on folders that may be meant as splits, and on images without annotation. It is a problem if such a folder would
    be trained on."""
    notes = []
    of_no_split = [record for record in index.train if "train" not in map(side_of, _names([record], index.root))]
    trained_on = _parents(of_no_split)
    used = _parents([*index.train, *(index.val or []), *index.test])
    for folder, meant in _doubtful_splits(index.root):
        remark = f"{folder}: the name of no split; if {meant} is meant, rename it to that"
        if folder in trained_on:
            problems.append(f"{remark}; if it is to be trained on, move it into the folder train")
        elif folder not in used:
            notes.append(f"{remark}; it is not used")
    annotated = [*index.train, *(index.val or []), *index.test]
    for file, word in _doubtful_files(of_no_split, annotated):
        problems.append(
            f"{file}: the name of no split; if {OTHER_WORDS[word]} is meant, write that for {word}; if it is to be trained "
            f"on, give it a name without {word}"
        )
    without = [item for item in index.skipped if is_image(item.path) and not item.is_error]
    if without and any(record.shapes is not None for record in annotated):
        notes.append(f"of {len(annotated) + len(without)} images {len(without)} have no annotation and are not used")
    return notes


def _parents(records: Sequence[ImageRecord]) -> set[Path]:
    """All folders, of any level, that images are in."""
    return {parent for record in records for parent in record.image.parents}


def _doubtful_files(of_no_split: Sequence[ImageRecord], annotated: Sequence[ImageRecord]) -> Iterator[tuple[Path, str]]:
    """Annotation files of many images, beside one that is named after a split, whose names have a word that may mean
    another, and that word."""
    if not any(side_of(file.stem) for file in _lists(annotated)):
        return
    for file in _lists(of_no_split):
        words = re.findall("[a-z]+", file.stem.lower())
        if word := next((word for word in words if word in OTHER_WORDS), None):
            yield file, word


def _lists(records: Sequence[ImageRecord]) -> list[Path]:
    """The annotation files that are not named after their image, as a.zip and a_RoiSet.zip are."""
    files = (record.source for record in records if record.source and key(record.image) not in key(record.source))
    return list(dict.fromkeys(files))


def _doubtful_splits(root: Path) -> list[tuple[Path, str]]:
    """Folders of images beside one that is named after a split, whose own names are nearly those of a split, and what they
    may mean."""
    found = []
    for place in (root, *folders(root)):
        below = folders(place)
        if not any(plain(folder.name) in SIDE_OF for folder in below):
            continue
        for folder in below:
            name = plain(folder.name)
            alike = get_close_matches(name, SIDE_OF, n=1, cutoff=ALIKE)
            meant = OTHER_WORDS.get(name) or (alike[0] if alike else "")
            if meant and side_of(folder.name) is None and images_below(folder):
                found.append((folder, meant))
    return found
