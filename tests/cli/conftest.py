"""train.py, evaluate.py and predict.py as a user calls them, on a few small drawn cells."""

import runpy
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run() -> Run:
    """A script as a user calls it, but within this process: a new one imports torch for longer than tiny models train."""

    def start(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [script, *map(str, arguments)]
        with (
            pytest.MonkeyPatch.context() as patch,
            redirect_stdout(StringIO()) as out,
            redirect_stderr(StringIO()) as errors,
        ):
            patch.setattr(sys, "argv", command)
            try:
                code = runpy.run_path(str(ROOT / script))["main"]()
            except SystemExit as exit_:
                code = exit_.code
        return subprocess.CompletedProcess(command, code, out.getvalue(), errors.getvalue())

    return start


@pytest.fixture(scope="session")
def train(run) -> Run:
    """train.py with the small model, and without pre-training, which takes longer than all else here."""
    return lambda *arguments: run("train.py", "--preset", "small", "--pretrain-fraction", 0, *arguments)


@pytest.fixture
def call(run) -> Callable[..., tuple[object, str]]:
    """A script's exit code, and what it wrote to stderr."""

    def main(script: str, *arguments: object) -> tuple[object, str]:
        result = run(script, *arguments)
        return result.returncode, result.stderr

    return main


@pytest.fixture(scope="session")
def draw_smear() -> Callable[[Path, str, str, str, int], None]:
    """(folder, split, name, class, x) writes a dark disc at x on a light image of 160 x 128, whose spots occur in no other,
    and its mask."""

    def draw(folder: Path, split: str, name: str, label: str, x: int) -> None:
        rows, columns = np.mgrid[:128, :160]
        cell = (rows - 64) ** 2 + (columns - x) ** 2 < 24**2
        spots = np.random.default_rng(sum(name.encode())).integers(-20, 20, (16, 20, 1)).repeat(8, 0).repeat(8, 1)
        image = np.where(cell[..., None], (110, 60, 150), np.add((235, 215, 225), spots)).astype(np.uint8)
        for kind, pixels in (("image", image), ("mask", cell.astype(np.uint8) * 200)):
            path = folder / split / kind / label / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)

    return draw


@pytest.fixture(scope="session")
def smears(tmp_path_factory, draw_smear) -> Path:
    """Four images to train on, two for validation, of two classes."""
    folder = tmp_path_factory.mktemp("smears")
    for i, label in enumerate(("Neutrophil", "Lymphocyte")):
        for k in range(2):
            draw_smear(folder, "train", f"{label}_{k}", label, 50 + 30 * k + 10 * i)
        draw_smear(folder, "val", f"{label}_9", label, 70)
    return folder


@pytest.fixture(scope="session")
def finished(smears, tmp_path_factory, train) -> tuple[Path, str]:
    """A run of two epochs, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    result = train("--data", smears, "--out", folder, "--epochs", 2, "--lr-decay-fraction", 0.5,
                   "--override", "canonical_box_size=200")  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder, result.stdout
