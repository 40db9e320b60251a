"""A data set for people to correct and for train.py to read: copies of the images, and COCO's JSON of their cells.

images/<name>, annotations/instances.json
"""

import hashlib
import itertools
import re
import shutil
from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import Any

from PIL import Image

from maskrcnn.inference.export.coco import write_annotations
from maskrcnn.inference.export.finished import FinishedImage
from maskrcnn.inference.export.pictures import Pixels
from maskrcnn.inference.image_io import orientation, readable

DIGEST = "annotations_sha256"  # the entry of predictions.json that tells whether anybody has corrected them since


def annotations_of(folder: Path) -> Path:
    """The file of the annotations."""
    return folder / "annotations" / "instances.json"


def digest(folder: Path) -> str:
    """Of the annotations, "" without any."""
    path = annotations_of(folder)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def check_uncorrected(folder: Path, earlier: dict[str, Any], is_again: bool) -> None:
    """Raise ValueError if writing to a folder would undo somebody's work. earlier: the settings of the results that are
    replaced or gone on with, if is_again."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    advice = "choose a new or an empty folder for --annotations"
    if not folder.is_dir():
        raise ValueError(f"{folder}: a file; {advice}")
    is_ours = is_again and earlier.get("arguments", {}).get("annotations") == str(folder.resolve())
    if not is_ours:
        raise ValueError(f"{folder}: already exists; {advice}")
    if digest(folder) not in ("", earlier.get(DIGEST)):
        raise ValueError(f"{annotations_of(folder)}: was changed since, and corrections would be lost; {advice}")


def copy_name(file: Path, output: Path, taken: Set[str]) -> str:
    """The name for a copy, in one folder, whatever the folders of the images are. taken: the names that others have, in
    small letters."""
    suffix = file.suffix if orientation(file) == 1 else ".png"
    name = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", readable(output))
    stem = name[: -len(suffix)] if name.lower().endswith(suffix.lower()) else name
    tries = (f"{stem}{f'_{count}' * (count > 1)}{suffix}" for count in itertools.count(1))
    return next(each for each in tries if each.lower() not in taken)


def copy_image(file: Path, pixels: Pixels, target: Path) -> None:
    """The file as it is, or upright where only its tags say how it is to be turned, which other programs ignore."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if orientation(file) == 1:
        shutil.copyfile(file, target)
    else:
        Image.fromarray(pixels).save(target)


def write(folder: Path, images: Iterable[FinishedImage], class_names: Sequence[str]) -> str:
    """Write the annotations and return their digest."""
    path = annotations_of(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_annotations(path, images, class_names)
    return digest(folder)
