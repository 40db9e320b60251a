"""Which files of a folder belong together, and of which class they are: one file per format. No image is opened here.

The format is recognised by looking, in the folder itself or one or two levels below it. To add a format, write a file with
NAME, LAYOUT, recognises() and read_index() and add it to FORMATS.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from data.formats import (
    class_folders,
    coco,
    geojson,
    imagej,
    label_maps,
    labelme,
    lisc,
    object_masks,
    via,
    yolo,
)
from data.formats.files import files_below, folders
from data.records import DataError, DatasetIndex, Skipped
from maskrcnn.inference.image_io import IMAGE_EXTENSIONS

# What says more comes first: a folder that several recognise is read by the first of them.
FORMATS: tuple[ModuleType, ...] = (
    coco, via, labelme, geojson, yolo, imagej, class_folders, lisc, object_masks, label_maps
)  # fmt: skip
FORMAT_NAMES = tuple(each.NAME for each in FORMATS)
LEVELS = 3  # of folders in which a data set is looked for: some archives unzip into two outer ones
READ = IMAGE_EXTENSIONS | {".json", ".geojson", ".txt", ".zip", ".roi", ".npy"}
UNREAD_IMAGES = frozenset(
    {".heic", ".heif", ".avif", ".svs", ".czi", ".nd2", ".lif", ".dng", ".raw", ".psd", ".xcf", ".pdf"}
)
DESCRIPTIONS = r"readme|licen[cs]e|changelog|citation|.*\.(md|ya?ml|zip|log|py)$|classes\.|obj\.names|names\.txt"
SHOWN = 8  # entries of a folder that could not be recognised

FORMAT_HELP = "\n".join(f"  {each.NAME:14s}{each.LAYOUT}" for each in FORMATS)

HELP = f"""It was looked at for one of
{FORMAT_HELP}
data/README.md has more about each, and --format NAME says which of them it is.
To train on synthetic smears instead: python train.py --data synthetic"""
LISC_HELP = """
LISC is available from its authors, Rezatofighi and Soltanian-Zadeh (2011): get "LISC Database.zip" from
http://users.cecs.anu.edu.au/~hrezatofighi/Data/Leukocyte%20Data.htm
(free for research and education; no redistribution, no commercial use) and unzip it into this folder."""


def help_for(root: Path) -> str:
    """What was expected in a folder; and where LISC comes from, if it is named after it."""
    return HELP + (LISC_HELP if "lisc" in root.name.lower() else "")


def index_dataset(root: Path | str, needs_train: bool = True, format_name: str | None = None) -> DatasetIndex:
    """The records below root, always in the same order.

    Files without their counterpart are left out and listed. needs_train: whether images to train on must exist, or `val`
    alone is enough. format_name: one of FORMAT_NAMES; None: the one that is recognised. Raises DataError, with all problems,
    if nothing is found or the folders are not as expected.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. {help_for(root)}")
    if not any(root.iterdir()):
        raise DataError(f"{root}: this folder is empty. {help_for(root)}")
    folder, chosen = _recognise(root, format_name)
    problems: list[str] = []
    index: DatasetIndex = chosen.read_index(folder, problems)
    if problems:
        raise DataError("\n  ".join([f"{folder}: not as expected for the format {chosen.NAME}", *problems]))
    if not (index.train or ((index.val or index.test) and not needs_train)):
        other = f", only {len(index.val)} to validate on" if index.val else ""
        missing = "".join(f"\n  {skipped}" for skipped in index.skipped[:SHOWN])
        raise DataError(f"{folder}: read as {chosen.NAME}, has no annotated image to train on{other}. {missing}")
    return index._replace(skipped=[*index.skipped, *unused_files(root, index)])


def unused_files(root: Path, index: DatasetIndex) -> list[Skipped]:
    """The files below root that the data set consists of neither as images or annotations, nor as files that are left out
    for a reason: those of one folder and ending together."""
    known = {skipped.path for skipped in index.skipped}
    for record in [*index.train, *(index.val or []), *index.unlabelled, *index.test]:
        known |= {record.image, record.annotation, *(file.path for file in record.masks)}
    below = {path for path in known if path.is_dir()}
    others: dict[tuple[Path, str], list[Path]] = {}
    for file in files_below(root):
        if file not in known and not below & set(file.parents) and not re.match(DESCRIPTIONS, file.name, re.IGNORECASE):
            others.setdefault((file.parent, file.suffix.lower()), []).append(file)
    unused = []
    for (folder, ending), files in others.items():
        reason = f"not read as {index.format}" if ending in READ else "this kind of file is not read"
        if ending in UNREAD_IMAGES:
            reason = "this kind of image is not read; save it as PNG"
        path = files[0] if len(files) == 1 else folder / f"*{ending}"
        unused.append(Skipped(path, reason if len(files) == 1 else f"{len(files)} files: {reason}", is_error=False))
    return unused


def _is_in(each: ModuleType, folder: Path, broken: list[DataError]) -> bool:
    """Whether a folder is a data set of a format. A file that cannot be read is one only if nothing else is found."""
    try:
        return bool(each.recognises(folder))
    except DataError as error:
        broken.append(error)
        return False


def _recognise(root: Path, format_name: str | None) -> tuple[Path, ModuleType]:
    """The folder of the data set, root itself or else one below, and its format. Raises DataError."""
    level: Sequence[Path] = [root]
    wanted = [each for each in FORMATS if format_name in (None, each.NAME)]
    broken: list[DataError] = []
    for _ in range(LEVELS):
        found = [(folder, each) for folder in level for each in wanted if _is_in(each, folder, broken)]
        places = list(dict.fromkeys(folder for folder, _ in found))
        if len(places) > 1:
            raise DataError(f"{root}: several data sets ({', '.join(map(str, places))}); name one of them")
        if found:
            return found[0]
        level = [below for parent in level for below in folders(parent)]
    if broken:
        raise broken[0]
    if format_name:
        return root, wanted[0]  # its own message says what is missing
    files = files_below(root)
    seen = ", ".join(str(file.relative_to(root)) for file in files[:SHOWN]) + (", ..." if len(files) > SHOWN else "")
    saw = f"it has {len(files)} files ({seen})" if files else "there is no file in it"
    raise DataError(f"{root}: no known layout; {saw}. {help_for(root)}")
