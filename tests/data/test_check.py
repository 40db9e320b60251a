"""The report on a folder, as printed by the command."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import synthetic

ROOT = Path(__file__).parents[2]


def run(module: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import runpy; runpy.run_module({module!r}, run_name='__main__')"
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


@pytest.fixture
def lisc(tmp_path) -> Path:
    synthetic.make(tmp_path / "LISC", images=25, layout="lisc", size=(240, 192), progress=False)
    return tmp_path / "LISC"


def test_the_report_says_what_is_there_and_the_sheet_shows_it(lisc, tmp_path):
    truth = lisc / "Ground Truth Segmentation"
    (lisc / "Main Dataset/mono/2.bmp").write_bytes((lisc / "Main Dataset/neut/1.bmp").read_bytes())
    mask = truth / "mono/areaforexpert1/2_expert.bmp"
    pixels = np.full((184, 232), 175, np.uint8)
    pixels[:, 100:] = 0
    pixels[100, 200:203] = 175  # three pixels: a slip of the pen
    Image.fromarray(pixels).save(mask)
    (truth / "Baso/areaforexpert1/1_expert.bmp").write_bytes(b"")
    result = run("data.lisc", lisc, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    text = result.stdout
    assert "240 x 192" in text
    assert "left out: 1\n" in text.split("files")[0]  # fragments
    assert "mono/2.bmp" in text
    assert "neut/1.bmp" in text
    assert "under different classes" in text
    assert "Baso/areaforexpert1/1_expert.bmp: the file is empty" in text
    with Image.open(tmp_path / "contact-sheet.png") as sheet:
        assert sheet.width > 1000
    assert run("data.lisc", lisc, "--strict", cwd=tmp_path).returncode == 2


def test_the_counts_are_those_of_the_folders(lisc, tmp_path):
    lines = run("data.lisc", lisc, cwd=tmp_path).stdout.splitlines()
    rows = [[int(word) for word in line.split()[1:]] for line in lines[1:3]]
    images, *cells = np.sum(rows, axis=0)
    assert images == len(list((lisc / "Main Dataset").rglob("*.bmp")))
    assert lines[0].split() == ["images", "basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil"]
    assert min(cells) >= 4


@pytest.mark.parametrize("module", ["data.lisc", "data.leakage", "data.augment"])
def test_a_missing_folder_is_named(module, tmp_path):
    result = run(module, "nowhere", cwd=tmp_path)
    assert result.returncode == 2
    assert "nowhere" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("module", "option"), [("data.lisc", "--sheet"), ("data.augment", "--out")])
def test_a_picture_that_cannot_be_written_is_named(module, option, lisc, tmp_path):
    result = run(module, lisc, option, "nowhere/page.png", cwd=tmp_path)
    assert result.returncode == 2
    assert "nowhere/page.png" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_control_and_the_page_of_augmentations_run_from_the_command_line(lisc, tmp_path):
    assert "background alone names the class of" in run("data.leakage", lisc, cwd=tmp_path).stdout
    result = run("data.augment", lisc, "--image", 3, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    with Image.open(tmp_path / "augmentations.png") as page:
        assert page.width > 1000
