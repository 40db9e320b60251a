"""Which files to predict on: those that are named, and the photographs in folders, without the masks, label maps and results
that lie among them; and where the results of each go."""

import re
from collections import Counter
from collections.abc import Sequence, Set
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from maskrcnn.inference.arguments import some
from maskrcnn.inference.image_io import IMAGE_EXTENSIONS, ImageError

RESULTS = r"_(overlay|splash|preview|outlines|flows|probs?|cp_output)$"  # ours and cellpose's
FIGURES = ("colours", "contact-sheet")
MASKS = r"[-_ ](cp[-_ ])?(masks?|labels?|seg)$|_expert\d*$"
MASK_FOLDERS = (
    r"(cp)?(masks?|labels?|annotations?|gt|segmentations?|areaforexpert\d)|groundtruth.*"  # without punctuation
)
COLOURFUL = ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")  # modes of photographs of stained cells
FLAT = 0.9  # fraction of neighbours with the same value, from which on an image shows areas, not a photograph
MAX_GREYS = 64  # a photograph of 8 bits has more, a mask or label map has hardly as many
LEVELS = 4  # of names for results, see `outputs`
OF_RESULTS, OF_MASKS, OF_OUT = "pictures of results", "masks or label maps", "files in the output folder"


class Input(NamedTuple):
    """An image to predict on."""

    file: Path
    output: Path  # of its results, below the output folder and without their endings


class Inputs(NamedTuple):
    """The images, and what to tell about the files in their folders that are none."""

    images: list[Input]
    left_out: list[str]


def find_images(inputs: Sequence[Path], written: Sequence[Path]) -> Inputs:
    """All images that are named or are in the folders, each once. written: the folders that results are written to. Hidden
    files are no images. Raises ImageError."""
    found: dict[Path, tuple[Path, Path]] = {}
    left_out: dict[str, list[Path]] = {}
    for path in inputs:
        if not path.exists():
            raise ImageError(path, "no such file or folder")
        files = _in_folder(path, written, left_out) if path.is_dir() else [path]
        for file in files:
            found.setdefault(file.resolve(), (file, path if path.is_dir() else path.parent))
    notes = [_note(kind, files) for kind, files in left_out.items()]
    return Inputs([Input(file, output) for file, output in outputs(list(found.values()))], notes)


def _in_folder(folder: Path, written: Sequence[Path], left_out: dict[str, list[Path]]) -> list[Path]:
    """Its photographs; the others are added to left_out. Raises ImageError."""
    here = folder.resolve()
    if any(place.resolve() == here for place in written):
        raise ImageError(folder, "results cannot be written to the folder of the images itself; choose another")
    inside = [place.resolve() for place in written if here in place.resolve().parents]
    files = sorted(file for file in folder.rglob("*") if is_image(file))
    names = {file.stem.lower() for file in files if not _mask_word(file, folder)}
    photographs = []
    for file in files:
        is_written = any(place in file.resolve().parents for place in inside)
        if kind := OF_OUT if is_written else kind_of(file, folder, names):
            left_out.setdefault(kind, []).append(file)
        else:
            photographs.append(file)
    if not files:
        raise ImageError(folder, f"no image in this folder (endings: {', '.join(sorted(IMAGE_EXTENSIONS))})")
    if not photographs:
        kinds = ", ".join(_note(kind, some) for kind, some in left_out.items())
        raise ImageError(folder, f"no photograph in this folder: {kinds}")
    return photographs


def is_image(file: Path) -> bool:
    """By the ending."""
    return file.suffix.lower() in IMAGE_EXTENSIONS and not file.name.startswith(".") and file.is_file()


def kind_of(file: Path, folder: Path, names: Set[str]) -> str:
    """What a file below a folder is if it is no photograph, else "". names: those of the files that are not named as masks
    are, without endings, in small letters.

    A name alone makes no mask, as there are photographs of the labels of slides: there has to be an image that it is the
    mask of, or areas of one value. Only files that no camera writes in colour are opened otherwise.
    """
    stem = file.stem.lower()
    if re.search(RESULTS, stem) or stem in FIGURES:
        return OF_RESULTS
    is_named = _mask_word(file, folder)
    if is_named and {stem, re.sub(MASKS, "", stem)} & names:
        return OF_MASKS
    return OF_MASKS if _shows_areas(file, even_in_colour=is_named) else ""


def _mask_word(file: Path, folder: Path) -> bool:
    """Whether its name or that of a folder between is one of masks."""
    folders = (re.sub(r"[^a-z0-9]", "", part.lower()) for part in file.relative_to(folder).parts[:-1])
    return bool(re.search(MASKS, file.stem.lower())) or any(re.fullmatch(MASK_FOLDERS, part) for part in folders)


def _shows_areas(file: Path, even_in_colour: bool) -> bool:
    """Whether an image has the same value in most neighbours, as masks and label maps have, and no photograph."""
    try:
        with Image.open(file) as image:
            if image.mode in COLOURFUL and not even_in_colour:
                return False
            pixels = np.asarray(image)
    except Exception:  # damaged, or too large: whoever predicts on it will say so
        return False
    same = pixels[:, 1:] == pixels[:, :-1]
    if pixels.ndim == 3:
        same = same.all(axis=-1)
    is_deep = pixels.dtype.itemsize > 1
    return bool(same.size and same.mean() >= FLAT and (is_deep or len(np.unique(pixels)) <= MAX_GREYS))


def _note(kind: str, files: Sequence[Path]) -> str:
    return f"{len(files)} {kind} ({some(files, most=2)})"


def outputs(found: Sequence[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Files, each with the path of its results: its own below the folder that it was found in, without its ending. If two
    would be the same, with their endings (a.png_overlay.png, a.bmp_overlay.png) or, of two folders, below these. found:
    files, each with its folder. Raises ImageError."""
    levels = dict.fromkeys((file for file, _ in found), 0)
    while True:
        paths = {file: _output(file, folder, levels[file]) for file, folder in found}
        count = Counter(paths.values())
        twice = [file for file, path in paths.items() if count[path] > 1]
        if not twice:
            return list(paths.items())
        if all(levels[file] == LEVELS - 1 for file in twice):
            other = next(file for file in twice if file != twice[0] and paths[file] == paths[twice[0]])
            name = paths[other]
            reason = f"would be written as {name}_*, as {twice[0]} would; predict them with two values of --out"
            raise ImageError(other, reason)
        levels |= {file: min(levels[file] + 1, LEVELS - 1) for file in twice}


def _output(file: Path, folder: Path, level: int) -> Path:
    path = file.relative_to(folder)
    path = path if level % 2 else path.with_suffix("")
    return path if level < 2 else Path(folder.resolve().name) / path
