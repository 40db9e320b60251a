"""The folder of the results: whether it can be written, and what an earlier call left in it."""

import contextlib
import tempfile
from collections.abc import Iterable
from pathlib import Path

from maskrcnn.inference.export.finished import RECORDS, FinishedImages
from maskrcnn.inference.export.pictures import ENDINGS

SETTINGS = "predictions.json"
TABLES = ("cells.csv", "differential.csv", "differential_folders.csv", "differential_total.csv")
COCO = ("coco.json", "coco_polygons.json", "coco_results.json")
OURS = (RECORDS, SETTINGS, *TABLES, *COCO)  # one of them tells that a folder holds results
WAYS = "give another --out, --overwrite to replace them, or --skip-existing to go on with them"


def check_writable(folder: Path, option: str = "--out") -> None:
    """Raise ValueError, naming it and the option that gives it, for a folder that cannot be created or written to. Leaves
    nothing behind."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise ValueError(f"{folder}: cannot be created, since {existing} is a file; choose another {option}")
    try:
        with tempfile.TemporaryDirectory(dir=existing):
            pass
    except OSError as error:  # trying is the only way to know: root may write everywhere, except where nobody may
        raise ValueError(f"{folder}: cannot write to {existing} ({error.strerror}); choose another {option}") from error


def check_unused(out: Path, outputs: Iterable[Path]) -> None:
    """Raise ValueError, naming the ways on, if an earlier call has written to out, or would be overwritten there."""
    names = [Path(name) for name in OURS]
    names += [output.with_name(output.name + ending) for output in outputs for ending in ENDINGS]
    if found := next((out / name for name in names if (out / name).exists()), None):
        raise ValueError(f"{out}: holds results of an earlier call, such as {found.name}; {WAYS}")


def remove_results(out: Path) -> None:
    """What an earlier call has written to out: the files of its images and its tables, and nothing else."""
    with contextlib.suppress(OSError, ValueError):  # of an earlier version, or damaged
        for image in FinishedImages(out / RECORDS):
            output = out / image["output"]
            for ending in ENDINGS:
                output.with_name(output.name + ending).unlink(missing_ok=True)
    for name in (*OURS, "colours.png"):
        (out / name).unlink(missing_ok=True)
