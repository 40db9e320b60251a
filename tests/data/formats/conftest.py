"""Copies of both layouts made of empty files: indexing opens none of them."""

from pathlib import Path

import pytest

from data.formats import index_dataset
from data.records import DataError
from maskrcnn.config import LISC_CLASSES

# LISC's folders and how many images the tests put into each.
COUNTS = {"Baso": 10, "eosi": 5, "lymp": 15, "mono": 2, "neut": 1}


def touch_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.fixture
def touch():
    """path -> the same path, an empty file now."""
    return touch_file


@pytest.fixture
def counts() -> dict[str, int]:
    """Class or None (several classes) -> number of images that make_lisc writes."""
    return dict(zip(LISC_CLASSES, COUNTS.values())) | {None: 5}


@pytest.fixture
def make_lisc():
    """(root, ...) -> root with LISC's folders."""

    def make(root: Path, expert_first=False, change_case=str) -> Path:
        for name, count in {**COUNTS, "mixt": 5}.items():
            for i in range(1, count + 1):
                touch_file(root / change_case("Main Dataset") / change_case(name) / f"{i}.bmp")
                order = ("areaforexpert1", name) if expert_first else (name, "areaforexpert1")
                masks = root / change_case("Ground Truth Segmentation")
                touch_file(masks.joinpath(*map(change_case, order)) / f"{i}_expert.bmp")
        for i in (1, 2, 10):
            touch_file(root / change_case("More Dataset without Ground Truth") / "alll" / f"{i}.bmp")
        return root

    return make


@pytest.fixture
def make_tutorial():
    """root -> root with the tutorial's folders: per class two training images and one for validation."""

    def make(root: Path) -> Path:
        for side, numbers in (("train", (1, 2)), ("val", (3,))):
            for name in LISC_CLASSES:
                for i in numbers:
                    touch_file(root / side / "image" / name.title() / f"{name.title()}_{i:02d}.jpg")
                    touch_file(root / side / "mask" / name.title() / f"{name.title()}_{i:02d}.png")
        return root

    return make


@pytest.fixture
def message():
    """root -> the message of the DataError that indexing it raises."""

    def index(root: Path) -> str:
        with pytest.raises(DataError) as error:
            index_dataset(root)
        return str(error.value)

    return index
