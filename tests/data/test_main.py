"""The commands python -m data check | background-control | augmentations | synthesize."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from data.__main__ import main
from data.synthetic.dataset import write_dataset

ROOT = Path(__file__).parents[2]
READERS = ("check", "background-control", "augmentations")


class Result(NamedTuple):
    code: int
    stdout: str
    stderr: str

    def assert_fails(self, *expected: object) -> None:
        assert self.code == 2
        assert all(str(text) in self.stderr for text in expected)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """arguments -> Result of the command, run in tmp_path. An error without a message would be raised here."""

    def run_main(*arguments: object) -> Result:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["data", *map(str, arguments)])
        try:
            code = main()
        except SystemExit as exit_:  # of argparse
            code = int(exit_.code or 0)
        return Result(code, *capsys.readouterr())

    return run_main


@pytest.fixture(scope="module")
def lisc(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "LISC"
    write_dataset(root, images=25, layout="lisc", size=(240, 192), progress=False)
    return root


def test_check_reports_the_content_of_a_folder_and_draws_a_contact_sheet(lisc, tmp_path):
    """In a process of its own: the door itself, and no progress bar in a pipe."""
    command = [sys.executable, "-W", "error", "-m", "data", "check", lisc]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0
    assert not result.stderr
    lines = result.stdout.splitlines()
    rows = [[int(word) for word in line.split()[1:]] for line in lines[1:3]]
    images, *cells = np.sum(rows, axis=0)
    assert images == len(list((lisc / "Main Dataset").rglob("*.bmp")))
    assert lines[0].split() == ["images", "basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil"]
    assert min(cells) >= 4
    assert lines[-1] == "contact sheet: contact-sheet.png"
    with Image.open(tmp_path / "contact-sheet.png") as sheet:
        assert sheet.width > 1000


def test_check_of_nuclei(run, lisc, tmp_path):
    result = run("check", lisc, "--compartment", "nucleus", "--contact-sheet", "nuclei.png")
    assert result.code == 0, result.stderr
    assert "no nucleus in this mask" in result.stdout
    assert result.stdout.splitlines()[1].split()[2] == "0"  # no basophils
    assert (tmp_path / "nuclei.png").is_file()


def test_convert_keeps_the_test_split_with_the_classes_of_training(run, tmp_path):
    for k, (side, label) in enumerate((("train", "b"), ("train", "a"), ("val", "a"), ("test", "b"))):
        for kind in ("image", "mask"):
            pixels = np.random.default_rng(k).integers(0, 256, (48, 64, 3), np.uint8)
            if kind == "mask":
                pixels = np.zeros((48, 64), np.uint8)
                pixels[10:30, 10 : 20 + k] = 255
            path = tmp_path / "set" / side / kind / label / f"{k}.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(pixels).save(path)
    result = run("convert", tmp_path / "set", tmp_path / "out", "--to", "coco")
    assert result.code == 0, result.stderr
    assert "4 images with 4 cells" in result.stdout
    for side, label in (("train", "a"), ("val", "a"), ("test", "b")):
        content = json.loads((tmp_path / f"out/annotations/instances_{side}.json").read_text())
        names = {category["id"]: category["name"] for category in content["categories"]}
        assert names == {1: "a", 2: "b"}
        assert label in {names[annotation["category_id"]] for annotation in content["annotations"]}
    inside = run("convert", tmp_path / "set", tmp_path / "set/out", "--to", "coco")
    inside.assert_fails("set/out: is inside of", "would be read as part of it")
    again = run("check", tmp_path / "out")
    assert "read as coco" in again.stdout
    assert "the test split (1 image) is left alone" in again.stdout


def test_strict_makes_a_bad_file_an_error(run, tmp_path):
    write_dataset(tmp_path / "LISC", images=25, layout="lisc", size=(240, 192), progress=False)
    bad = tmp_path / "LISC/Ground Truth Segmentation/Baso/areaforexpert1/1_expert.bmp"
    bad.write_bytes(b"")
    result = run("check", "LISC")
    assert result.code == 0, result.stderr
    assert "Baso/areaforexpert1/1_expert.bmp: the file is empty" in result.stdout
    run("check", "LISC", "--strict").assert_fails("data check: ", "1 file cannot be used", bad.name)


@pytest.mark.parametrize("command", READERS)
def test_a_missing_folder_is_named(run, command):
    run(command, "nowhere").assert_fails(f"data {command}: nowhere: no such folder")


@pytest.mark.parametrize(("command", "option"), [("check", "--contact-sheet"), ("augmentations", "--out")])
def test_a_figure_that_cannot_be_written_is_named(run, command, option, lisc, tmp_path, monkeypatch):
    monkeypatch.setattr("data.__main__.open_as_told", lambda *_: pytest.fail("read before that was found"))
    result = run(command, lisc, option, "nowhere/page.png")
    result.assert_fails(f"data {command}: ", "nowhere/page.png")
    (tmp_path / "pictures").mkdir()
    run(command, lisc, option, "pictures").assert_fails("pictures: is a folder; give the name of the figure")


def test_a_set_that_is_too_small_to_be_divided_can_be_looked_at(run, tmp_path):
    for label in ("a", "b"):
        for kind, pixels in (
            ("image", np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)),
            ("mask", None),
        ):
            path = tmp_path / "set" / kind / label / f"{label}.png"
            path.parent.mkdir(parents=True)
            mask = np.pad(np.full((20, 20), 255, np.uint8), ((10, 18), (10, 34)))
            Image.fromarray(mask if pixels is None else np.roll(pixels, 9 * ord(label))).save(path)
    result = run("check", "set")
    assert result.code == 0, result.stderr
    assert "of 2 images 2 are to train on and 0 to validate on" in result.stdout
    assert (tmp_path / "contact-sheet.png").is_file()


def test_background_control_and_augmentations(run, lisc, tmp_path):
    result = run("background-control", lisc)
    assert result.code == 0, result.stderr
    assert result.stdout.startswith("background alone predicts the class of")
    result = run("augmentations", lisc, "--image", 3)
    assert result.code == 0, result.stderr
    assert result.stdout.endswith(": augmentations.png\n")
    with Image.open(tmp_path / "augmentations.png") as page:
        assert page.width > 1000


def test_synthesize_writes_a_data_set_once(run, tmp_path):
    result = run("synthesize", tmp_path / "set", "--images", 2, "--seed", 3)
    assert result.code == 0, result.stderr
    assert result.stdout == f"2 images in {tmp_path / 'set'}\n"
    with Image.open(tmp_path / "set/Main Dataset/Baso/1.bmp") as image:
        assert image.size == (720, 576)
    write_dataset(tmp_path / "same", images=2, seed=3, layout="lisc", progress=False)
    name = "Main Dataset/Baso/1.bmp"
    assert (tmp_path / "set" / name).read_bytes() == (tmp_path / "same" / name).read_bytes()
    run("synthesize", tmp_path / "set").assert_fails("data synthesize: ", "already exists")


def test_synthesize_names_a_folder_that_cannot_be_written_to(run, tmp_path):
    (tmp_path / "file").touch()
    result = run("synthesize", tmp_path / "file" / "set", "--images", 1)
    result.assert_fails("data synthesize: ", tmp_path / "file")


@pytest.mark.parametrize(("old", "new"), [("--sheet", "--contact-sheet"), ("--target", "--compartment")])
def test_an_old_option_names_the_new_one(run, old, new):
    run("check", "somewhere", old, "nucleus").assert_fails(f"{old} is now called {new}")


@pytest.mark.parametrize(
    ("command", "example"),
    [
        ((), "python -m data background-control data/LISC"),
        (("check",), "python -m data check data/LISC"),
        (("background-control",), "python -m data background-control data/LISC"),
        (("augmentations",), "python -m data augmentations data/LISC --image 3"),
        (("synthesize",), "python -m data synthesize lisc --images 250 --seed 1"),
    ],
)
def test_help_has_examples(run, command, example):
    result = run(*command, "--help")
    assert result.code == 0
    assert example in result.stdout
    assert "--sheet" not in result.stdout.replace("--contact-sheet", "")


def test_a_command_is_required(run):
    run().assert_fails("COMMAND")
    run("clean").assert_fails("clean", "augmentations")
