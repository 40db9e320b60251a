"""YOLO's polygons: a line per cell, its class and the corners of its outline as fractions of the image.

images/train/<name>.png, labels/train/<name>.txt, or train/images/, train/labels/; names in data.yaml or classes.txt
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.formats.files import children, files_below, files_in, folders, images_below, key, normal, plain
from data.formats.per_image import Described, each_marked, index_of_files
from data.records import DatasetIndex, Shape
from data.shapes import polygon
from maskrcnn.inference.image_io import ImageError, image_size

NAME = "yolo"
LAYOUT = "images/train/<name>.png, labels/train/<name>.txt (or train/images, train/labels), data.yaml"
NAME_FILES = ("classes.txt", "obj.names", "names.txt")
DESCRIPTIONS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")  # of the data set, in its folder
YAML = (".yaml", ".yml")
LISTS = r"^(train|val)[ \t]*:.*\.txt\b"  # in a .yaml: the author's split
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf)"
OUTSIDE = 0.5  # fraction of the image by which an outline may reach over its edge


def recognises(root: Path) -> bool:
    """By folders of labels with text files in them whose lines are numbers."""
    return any(is_cell(first_line(file)) for file in _label_files(root))


def read_index(root: Path, problems: list[str]) -> DatasetIndex:
    """The records below root. An empty text file is of an image without a cell; one that has neither image nor numbers, as a
    readme, is left alone."""
    differing: list[str] = []
    notes: list[str] = []
    files, names = _label_files(root), read_names(root, differing, notes)
    if _are_boxes(files):
        problems.append(f"{files[0].parent}: the text files have only boxes; export polygons (YOLO segmentation)")
    elif differing:
        problems += differing
    elif not names:
        problems.append(f"{root}: the names of the classes are missing; expected them in data.yaml or classes.txt")
    images: dict[str, list[Path]] = {}
    for image in images_below(root):
        if "label" not in map(plain, image.relative_to(root).parts[:-1]):  # as pictures of the labels are
            images.setdefault(_place(image, root), []).append(image)

    def locate(file: Path) -> tuple[Path, Path] | None:
        found = images.get(_place(file, root), [])
        if not found and (line := first_line(file)) and not is_cell(line):
            return None
        if len(found) > 1:
            raise ValueError(f"is for {found[0]} or {found[1]}; give them different names")
        if not found:
            raise ValueError("no image of that name in the folder images beside labels")
        return found[0], file

    def describe(file: Path, image: Path) -> Described:
        return _read_shapes(file, image, names)

    index = index_of_files(root, files, locate, describe, NAME, tuple(names.values()))
    notes += [] if index.val or index.test else _unread_splits(root)
    return index._replace(notes=(*index.notes, *notes))


def read_names(root: Path, problems: list[str], notes: list[str]) -> dict[int, str]:
    """Number -> class, from a .yaml with `names` (a list or number: name), or a file with a name per line. Of several that
    differ the description of the data set counts, which is noted; without it, it is a problem."""
    found = _files_with_names(root)
    described = [file for file in found if file.parent == root and file.name.lower() in DESCRIPTIONS]
    chosen = described or list(found)
    if not chosen:
        return {}
    first, names = chosen[0], found[chosen[0]]
    differing = [file for file in found if found[file] != names]
    refused = next((file for file in differing if file in chosen), None)
    if refused:
        problems.append(f"{first} and {refused} differ in the names of the classes; keep one, as data.yaml in {root}")
    elif differing:
        notes.append(f"{differing[0]}: other names of classes than in {first}, whose names are used")
    return names


def _unread_splits(root: Path) -> list[str]:
    """A note if a .yaml names lists of images for the splits, as train.txt."""
    for file in (file for file in files_in(root) if file.suffix.lower() in YAML):
        if line := re.search(LISTS, file.read_text(encoding="utf-8-sig", errors="replace"), re.MULTILINE):
            return [
                f"{file}: a split by lists is not read ({line[0].strip()}); to keep it, move the images into images/train "
                "and images/val, and their texts into labels/train and labels/val"
            ]
    return []


def _files_with_names(root: Path) -> dict[Path, dict[int, str]]:
    found = {}
    for file in files_below(root):
        if file.suffix.lower() in YAML:
            names = _names_of_yaml(file.read_text(encoding="utf-8-sig", errors="replace"))
        elif file.name.lower() in NAME_FILES:
            lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
            names = {number: line.strip() for number, line in enumerate(lines) if line.strip()}
        else:
            continue
        if names:
            found[file] = names
    return found


def _names_of_yaml(text: str) -> dict[int, str]:
    """The ways in which `names` is written: in brackets or in lines, as a list or as number: name."""
    found = re.search(r"^names[ \t]*:(.*)", text, re.MULTILINE | re.DOTALL)
    if not found:
        return {}
    inline = re.match(r"\s*[\[{](.*?)[\]}]", found[1], re.DOTALL)
    if inline:
        entries = re.findall(r"""(?:\d+\s*:\s*)?(?:'[^']*'|"[^"]*"|[^,'"\s][^,]*)""", inline[1])
    else:
        lines = [re.sub(r"(^|\s)#.*", "", line).rstrip() for line in found[1].splitlines()]
        entries = []
        for line in filter(None, lines):
            if not re.match(r"\s*-\s|\s+['\"]?\d+['\"]?\s*:", line):
                break  # the next key
            entries.append(re.sub(r"^\s*-\s", "", line))
    names: dict[int, str] = {}
    for entry in entries:
        parts = re.match(r"""\s*(?:['"]?(\d+)['"]?\s*:\s*)?(.*)""", entry, re.DOTALL)
        assert parts is not None  # it matches anything
        names[int(parts[1]) if parts[1] else len(names)] = parts[2].strip().strip("'\"")
    return names


def _label_files(root: Path) -> list[Path]:
    """The text files in folders of labels, except those with the names of the classes."""
    labels = [folder for place in (root, *folders(root)) for folder in children(place, "labels")]
    files = [file for folder in labels for file in files_below(folder)]
    return [file for file in files if file.suffix.lower() == ".txt" and file.name.lower() not in NAME_FILES]


def first_line(file: Path) -> list[str]:
    """The words of the first line of a text that is not empty; none if all are."""
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        return next((line.split() for line in lines if line.strip()), [])


def is_cell(words: Sequence[str]) -> bool:
    """Whether a line could be that of a cell: a class and the four numbers of a box, or more."""
    return len(words) >= 5 and all(re.fullmatch(NUMBER, word) for word in words[1:])


def _are_boxes(files: Sequence[Path]) -> bool:
    """Whether each of them has a class and four numbers, or nothing."""
    lengths = (len(line) for file in files if is_cell(line := first_line(file)))  # of the first cell
    return next(lengths, 0) == 5 and all(length == 5 for length in lengths)


def _place(file: Path, root: Path) -> str:
    """Folders and name without images and labels, by which a text file and its image are the same: "train/a" of
    images/train/a.png and train/labels/a.txt."""
    parts = [normal(part) for part in file.parent.relative_to(root).parts if plain(part) not in ("image", "label")]
    return "/".join([*parts, key(file)])


def _read_shapes(file: Path, image: Path, names: dict[int, str]) -> Described:
    """Raises ValueError, naming the line."""
    try:
        height, width = image_size(image)
    except ImageError as error:
        raise ValueError(str(error)) from error

    def shape_of(line: str, entry: str) -> Shape:
        words = line.split()
        try:
            kind, coordinates = float(words[0]), np.array(words[1:], np.float64)
        except ValueError as error:
            raise ValueError(f"not a class and coordinates ({error})") from error
        if kind not in names:
            raise ValueError(f"class {words[0]} is not among the names ({', '.join(names.values())})")
        if len(coordinates) == 4:
            raise ValueError("only a box; export polygons (segmentation)")
        ring = polygon(coordinates)
        if ring.min() < -OUTSIDE or ring.max() > 1 + OUTSIDE:
            raise ValueError("coordinates are fractions of the image's width and height, from 0 to 1")
        return Shape(names[int(kind)], ((ring * (width, height),),), None, entry)

    lines = enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1)
    return Described(each_marked([(f"line {number}", line) for number, line in lines if line.strip()], shape_of))
