"""The folders of the 2019 tutorial, and of most people's own images: a split, images and masks, a folder per class.

train|val / image|mask / <Class> / <name>.*
detect / image / *                              optional, without masks
"""

from pathlib import Path

from data.formats.folders import child, pair, unlabelled
from data.records import DatasetIndex, Skipped

MARKERS = (("train", "image"), ("val", "image"))  # folders by which the format is recognised


def read_index(root: Path, problems: list[str]) -> DatasetIndex:
    """The records below root. Folders that are not as expected are added to problems."""
    skipped: list[Skipped] = []
    sides = {name: child(root, name) for name in ("train", "val")}
    records = {
        name: pair(child(side, "image") or side / "image", child(side, "mask") or side / "mask", problems, skipped)
        for name, side in sides.items()
        if side
    }
    without_masks = unlabelled(child(root, "detect", "image"))
    return DatasetIndex(root, records.get("train", []), records.get("val"), without_masks, skipped)
