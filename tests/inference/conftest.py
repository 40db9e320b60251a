"""Found objects that need no model, and the command `maskrcnn predict` with them."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskrcnn import Config, MaskRCNN
from maskrcnn.inference import predict as command
from maskrcnn.inference.export import Found
from maskrcnn.inference.objects import Objects
from maskrcnn.regions import Patch, region_of
from maskrcnn.weights import save_checkpoint

NAMES = ("a", "b", "c")
# In place of the model: two cells, one of them elsewhere in each image, and something inside the other.
PREDICT = """
import numpy as np
import torch

from maskrcnn.inference.objects import Objects
from maskrcnn.regions import Patch


def predict(model, image, *options, **named):
    x = int(image.sum()) % 30
    rows, columns = np.mgrid[:25, :25]
    disc = np.where((rows - 12) ** 2 + (columns - 12) ** 2 <= 144, np.float32(0.9), np.float32(0.1))
    boxes = torch.tensor([[x, 10.0, x + 25, 35], [40, 30, 60, 60], [45, 40, 55, 50]])
    squares = [np.full(size, 0.8, np.float32) for size in ((30, 20), (10, 10))]
    patches = [Patch(10, x, disc), Patch(30, 40, squares[0]), Patch(40, 45, squares[1])]
    return Objects(tuple(image.shape[-2:]), boxes, torch.tensor([1, 5, 3]), torch.tensor([0.9, 0.75, 0.7]), patches)
"""


@pytest.fixture
def found_of() -> Callable[..., Found]:
    """Rectangles (x1, y1, x2, y2, label, score), or masks (mask, label, score), in an image of random pixels."""

    def make(*given, size=(30, 40), names=NAMES) -> Found:
        patches, rows = [], []
        for *place, label, score in given:
            if len(place) == 4:
                x1, y1, x2, y2 = place
                patches.append(Patch(y1, x1, np.full((y2 - y1, x2 - x1), 0.9, np.float32)))
            else:
                region = region_of(place[0])
                patches.append(Patch(region.top, region.left, region.mask.astype(np.float32)))
            top, left = patches[-1].top, patches[-1].left
            height, width = patches[-1].values.shape
            rows.append((left, top, left + width, top + height, label, score))
        table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
        objects = Objects(size, table[:, :4], table[:, 4].long(), table[:, 5], patches)
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        return Found(image, objects, names)

    return make


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """Of a small model that nobody trained, with LISC's five classes."""
    path = tmp_path_factory.mktemp("model") / "best.pt"
    torch.manual_seed(0)
    config = Config.small(min_size=64, max_size=96, fpn_channels=32, box_head_dim=16, mask_head_channels=32)
    save_checkpoint(path, MaskRCNN(config))
    return path


@pytest.fixture
def photograph() -> Callable[..., Path]:
    """(path, number) writes a picture of 90 x 70 pixels, another one for each number."""

    def write(path: Path, number: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (70, 90, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def predict(checkpoint, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """`maskrcnn predict` with the cells of PREDICT: its exit code, and what it printed to stdout and stderr."""
    names: dict[str, Callable] = {}
    exec(PREDICT, names)
    monkeypatch.setattr("maskrcnn.inference.predictor.predict", names["predict"])

    def call(*arguments: object) -> tuple[int, str, str]:
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        try:
            code = command.run(
                parser.parse_args([*map(str, ("--checkpoint", checkpoint, *arguments))]), "maskrcnn predict"
            )
        except SystemExit as exit_:
            code = exit_.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def killed(checkpoint, tmp_path) -> Callable[..., list[str]]:
    """A program that predicts as `predict` does and is killed when it comes to its second image."""
    code = """
import argparse, os, signal, sys
from maskrcnn.inference import predict as command
from maskrcnn.inference import predictor

seen = []

def killing(*options, **named):
    seen.append(1)
    if len(seen) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return predict(*options, **named)

predictor.predict = killing
parser = argparse.ArgumentParser()
command.add_arguments(parser)
sys.exit(command.run(parser.parse_args(), "maskrcnn predict"))
"""
    path = tmp_path / "killed.py"
    path.write_text(PREDICT + code)
    return lambda *arguments: [str(word) for word in (sys.executable, path, "--checkpoint", checkpoint, *arguments)]
