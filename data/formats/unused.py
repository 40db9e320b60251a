"""The files of a folder that its data set consists of neither as images nor as annotations."""

import re
from pathlib import Path

from data.formats.files import files_below, is_hidden, is_image, walk
from data.records import DatasetIndex, Skipped
from maskrcnn.inference.image_io import IMAGE_EXTENSIONS

READ = IMAGE_EXTENSIONS | {".json", ".geojson", ".txt", ".zip", ".roi", ".npy"}
UNREAD_IMAGES = frozenset(
    {".heic", ".heif", ".avif", ".svs", ".czi", ".nd2", ".lif", ".dng", ".raw", ".psd", ".xcf", ".pdf"}
)
DESCRIPTIONS = r"readme|licen[cs]e|changelog|citation|.*\.(md|ya?ml|log|py)$|classes\.|obj\.names|names\.txt"
# Hidden folders of systems and programs, whose pictures are not the user's own.
OF_PROGRAMS = r"__macosx|\.(git|hg|svn|dvc|venv|idea|vscode|ipynb_checkpoints|cache|thumb.*|trash.*|spotlight.*)$"
HIDDEN = "hidden files and folders are not read; rename it without the dot"


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
    beside = {(path.parent, path.suffix.lower()) for path in known}
    unused = []
    for (folder, ending), files in others.items():
        reason = f"not read as {index.format}" if ending in READ else "this kind of file is not read"
        if ending in UNREAD_IMAGES:
            reason = "this kind of image is not read; save it as PNG"
        if len(files) > 1:
            other = "other " if (folder, ending) in beside else ""
            reason = f"{len(files)} {other}files {f'*{ending}' if ending else 'without ending'}: {reason}"
        unused.append(Skipped(files[0] if len(files) == 1 else folder, reason, is_error=False))
    return [*unused, *_hidden_images(root)]


def _hidden_images(root: Path) -> list[Skipped]:
    """The images whose names begin with a dot, and the folders of that kind that have images in them."""
    found = []
    for place, hidden, names in walk(root):
        found += [Skipped(file, HIDDEN, is_error=False) for name in names if _is_hidden_image(file := place / name)]
        for folder in (place / name for name in hidden):
            if not re.match(OF_PROGRAMS, folder.name, re.IGNORECASE) and (
                count := sum(map(is_image, folder.rglob("*")))
            ):
                found.append(Skipped(folder, f"images in it: {count}; {HIDDEN}", is_error=False))
    return found


def _is_hidden_image(file: Path) -> bool:
    """Not macOS's descriptions of files, ._a.png."""
    return is_hidden(file) and is_image(file) and not file.name.startswith("._")
