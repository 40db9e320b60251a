"""Which files of a folder belong together, and of which class they are: one file per format. No file is opened here.

The format is recognised from the folders, with or without one or two outer folders, in any letter case. To add a format,
write a file with MARKERS and read_index() and add it to FORMATS.
"""

from pathlib import Path

from data.formats import class_folders, lisc
from data.formats.folders import child, folders
from data.records import DataError, DatasetIndex

FORMATS = (class_folders, lisc)  # a folder that has the markers of several is read by the first

LAYOUT_HELP = """  LISC as unzipped                                        or the layout of the tutorial
    Main Dataset/<class>/1.bmp                              train/image/<Class>/<name>.png
    Ground Truth Segmentation/<class>/                      train/mask/<Class>/<name>.png
        areaforexpert1/1_expert.bmp                         val/image/<Class>/<name>.png
    More Dataset without Ground Truth/... (optional)        val/mask/<Class>/<name>.png
  <class> is Baso, eosi, lymp, mono, neut or mixt           detect/image/<name>.png (optional)"""

HELP = f"""Expected in it:
{LAYOUT_HELP}
LISC is available from its authors, Rezatofighi and Soltanian-Zadeh (2011): get "LISC Database.zip" from
http://users.cecs.anu.edu.au/~hrezatofighi/Data/Leukocyte%20Data.htm
(free for research and education; no redistribution, no commercial use) and unzip it into this folder.
To train on synthetic smears instead: python train.py --data synthetic"""


def index_dataset(root: Path | str, needs_train: bool = True) -> DatasetIndex:
    """The records below root, always in the same order.

    Files without their counterpart are left out and listed. needs_train: whether images to train on must exist, or `val`
    alone is enough. Raises DataError, with all problems, if nothing is found or the folders are not as expected.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. {HELP}")
    if not any(root.iterdir()):
        raise DataError(f"{root}: this folder is empty. {HELP}")
    found = _recognise(root)
    if len(found) != 1:
        several = f"several data sets ({', '.join(map(str, found))}); name one of them" if found else "no known layout"
        raise DataError(f"{root}: {several}. {HELP}")
    problems: list[str] = []
    data_format = next(each for each in FORMATS if _has_markers(found[0], each.MARKERS))
    index = data_format.read_index(found[0], problems)
    if problems:
        raise DataError("\n  ".join([f"{found[0]}: the folders are not as expected", *problems]))
    if not (index.train or (index.val and not needs_train)):
        missing = f"\n  {index.skipped[0]}, and so on" if index.skipped else ""
        raise DataError(
            f"{found[0]}: the folders exist, but contain no image with a mask to train on. {missing or HELP}"
        )
    return index


def _recognise(root: Path) -> list[Path]:
    """The folders of a known format: root itself, or else those one or two levels below (some archives unzip into two)."""
    level = [root]
    for _ in range(3):
        found = [folder for folder in level if any(_has_markers(folder, each.MARKERS) for each in FORMATS)]
        if found:
            return found
        level = [below for parent in level for below in folders(parent)]
    return []


def _has_markers(folder: Path, markers: tuple[tuple[str, ...], ...]) -> bool:
    return any(child(folder, *names) for names in markers)
