"""Which files of a folder belong together, and of which class they are: one file per format. No image is opened here.

The format is recognised by looking, in the folder itself or one or two levels below it. To add a format, write a file with
NAME, LAYOUT, recognises() and read_index() and add it to FORMATS.
"""

from collections.abc import Sequence
from contextlib import suppress
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
from data.formats.files import children, files_below, folders
from data.formats.remarks import remarks, without_lonely_split
from data.formats.unread import hint
from data.formats.unused import unused_files
from data.records import DataError, DatasetIndex

# What says more comes first: a folder that several recognise is read by the first of them.
FORMATS: tuple[ModuleType, ...] = (
    coco, via, labelme, geojson, yolo, imagej, class_folders, lisc, object_masks, label_maps
)  # fmt: skip
FORMAT_NAMES = tuple(each.NAME for each in FORMATS)
LEVELS = 3  # of folders in which a data set is looked for: some archives unzip into two outer ones
ARCHIVES = frozenset({".zip", ".rar", ".7z", ".tar", ".gz", ".tgz"})
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
    if root.is_file():
        raise DataError(f"{root}: this is a file. {_folder_instead(root)}")
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. {help_for(root)}")
    if not any(root.iterdir()):
        raise DataError(f"{root}: this folder is empty. {help_for(root)}")
    folder, chosen = _recognise(root, format_name)
    problems: list[str] = []
    index: DatasetIndex = without_lonely_split(chosen.read_index(folder, problems))
    notes = remarks(index, problems)
    if problems:
        raise DataError("\n  ".join([f"{folder}: not as expected for the format {chosen.NAME}", *problems]))
    if not (index.train or ((index.val or index.test) and not needs_train)):
        missing = [*map(str, index.skipped[:SHOWN]), *notes]
        if format_name:
            missing.append(f"{chosen.NAME} is {chosen.LAYOUT}; {_seen(root)}")
        raise DataError("\n  ".join([f"{folder}: read as {chosen.NAME}, {_nothing_to_train_on(index)}", *missing]))
    return index._replace(skipped=[*index.skipped, *unused_files(root, index)], notes=(*index.notes, *notes))


def _folder_instead(file: Path) -> str:
    if file.suffix.lower() in ARCHIVES:
        return "Unzip it, and give the folder with what was in it"
    return f"Give the folder with the images and their annotations, as {file.parent}"


def _nothing_to_train_on(index: DatasetIndex) -> str:
    others = {"validate": len(index.val or ()), "test": len(index.test)}
    only = " and ".join(f"{count} to {what} on" for what, count in others.items() if count)
    return "has no annotated image to train on" + (
        f", only {only}, as the name of their folder or file says" if only else ""
    )


def _seen(root: Path) -> str:
    """The first files of a folder."""
    files = files_below(root)
    seen = ", ".join(str(file.relative_to(root)) for file in files[:SHOWN]) + (", ..." if len(files) > SHOWN else "")
    return f"it has {len(files)} files ({seen})" if files else "there is no file in it"


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
            names = ", ".join(map(str, places[:SHOWN])) + (", ..." if len(places) > SHOWN else "")
            raise DataError(f"{root}: several data sets ({names}); name one of them{_how_to_join(root, places)}")
        if found:
            return found[0]
        level = [below for parent in level for below in folders(parent)]
    if broken:
        raise broken[0]
    if format_name:
        with suppress(DataError):  # if no format fits, what is missing is said of root
            root = _recognise(root, None)[0]
        return root, wanted[0]
    known = hint(files_below(root))
    raise DataError(f"{root}: no known layout; {_seen(root)}. {known + '. ' if known else ''}{help_for(root)}")


def _how_to_join(root: Path, places: Sequence[Path]) -> str:
    """What to do if each of several folders, as of patients or classes, has a folder of images and one of masks."""
    pairs = [(children(place, *label_maps.IMAGES), children(place, *label_maps.MASKS)) for place in places]
    if not all(len(images) == len(masks) == 1 for images, masks in pairs):
        return ""
    place, ((images,), (masks,)) = places[0], pairs[0]
    outer = "" if place.parent == root else f"{place.parent.name}/"  # a split: else there were no place in it
    pairs_of_names = ((images.name, "images"), (masks.name, "masks"))
    moves = ", ".join(f"{outer}{place.name}/{old} to {outer}{new}/{place.name}" for old, new in pairs_of_names)
    return f", or make one of them: move {moves}, and so on"
