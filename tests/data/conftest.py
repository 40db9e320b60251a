"""Settings of the property tests, a small LISC, and files that cannot be used."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from data.opening import CACHE
from data.synthetic.dataset import write_dataset

# The same examples in every run, however slow the machine.
settings.register_profile("deterministic", deadline=None, derandomize=True, database=None)
settings.load_profile("deterministic")


@pytest.fixture(scope="session")
def lisc(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lisc")
    write_dataset(folder / "LISC Database", images=40, layout="lisc", size=(240, 192), progress=False)
    return folder


@pytest.fixture
def copy(lisc, tmp_path) -> Path:
    shutil.copytree(lisc / "LISC Database", tmp_path / "copy")
    (tmp_path / "copy" / CACHE).unlink(missing_ok=True)
    return tmp_path / "copy"


@pytest.fixture
def bad_files(tmp_path):
    """{kind: path}: damaged copies of whole.png, an image of 120 x 96 pixels of noise in the same folder."""
    pixels = np.random.default_rng(0).integers(0, 256, (96, 120, 3), dtype=np.uint8)
    whole, bmp, jpeg = (tmp_path / f"whole.{ending}" for ending in ("png", "bmp", "jpg"))
    for path in (whole, bmp, jpeg):
        Image.fromarray(pixels).save(path)
    files = {
        "zero bytes": ("zero.png", b""),
        "truncated PNG": ("cut.png", whole.read_bytes()[:20_000]),
        "truncated BMP": ("cut.bmp", bmp.read_bytes()[:-5_000]),
        "truncated JPEG": ("cut.jpg", jpeg.read_bytes()[:-3_000]),
        "damaged PNG": ("damaged.png", whole.read_bytes()[:400] + b"garbage" + whole.read_bytes()[407:]),
        "text": ("text.bmp", b"not an image"),
    }
    for name, content in files.values():
        (tmp_path / name).write_bytes(content)
    found = {kind: tmp_path / name for kind, (name, _) in files.items()}
    deep = {
        "16-bit PNG": ("deep.png", np.full((96, 120), 4000, np.uint16)),
        "16-bit TIFF": ("deep.tif", np.full((96, 120), 4000, np.uint16)),
        "32-bit TIFF": ("deeper.tif", np.full((96, 120), 4000, np.int32)),
        "float TIFF": ("float.tif", np.zeros((96, 120), np.float32)),
    }
    for kind, (name, greys) in deep.items():
        found[kind] = tmp_path / name
        Image.fromarray(greys).save(found[kind])
    found["missing"] = tmp_path / "missing.png"
    return found
