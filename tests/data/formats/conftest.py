"""Copies of layouts made of empty files, since indexing opens none of them; black images, and what is read of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.classes import choose_classes
from data.dataset import SmearDataset, read_dataset
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


@pytest.fixture
def save_image():
    """(path, size) -> None: a black image, of 64 x 48 pixels without a size."""

    def save(path: Path, size=(64, 48)) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(path)

    return save


@pytest.fixture
def read():
    """root -> the training images; files left out by index and reader are in `skipped`."""

    def read_train(root: Path) -> SmearDataset:
        index, names, _ = choose_classes(index_dataset(root), None)
        dataset = read_dataset(index.train, names, progress=False)
        dataset.skipped = [*index.skipped, *dataset.skipped]
        return dataset

    return read_train


@pytest.fixture
def cells():
    """(dataset, number of the image) -> the masks of its cells."""

    def masks(dataset: SmearDataset, index: int = 0) -> np.ndarray:
        return dataset[index][1]["masks"].numpy().astype(bool)

    return masks
