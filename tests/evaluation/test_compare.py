"""The command maskrcnn evaluate, as a user calls it."""

import json

import numpy as np
import pytest
from PIL import Image

from maskrcnn.__main__ import main

SQUARE = np.zeros((20, 30), np.uint16)
SQUARE[2:12, 2:12] = 7


@pytest.fixture
def command(monkeypatch, capsys):
    """(*arguments) -> exit code, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["maskrcnn", "evaluate", *map(str, arguments)])
        code = main()
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def folders(tmp_path):
    """a: found with IoU 0.8; b: missed."""
    for side in ("truth", "prediction"):
        (tmp_path / side).mkdir()
    predicted = SQUARE.copy()
    predicted[10:] = 0
    for name in "ab":
        Image.fromarray(SQUARE).save(tmp_path / "truth" / f"{name}.png")
    Image.fromarray(predicted).save(tmp_path / "prediction" / "a_labels.png")
    np.save(tmp_path / "prediction" / "b_labels.npy", np.zeros((20, 30), np.int32))
    return tmp_path / "truth", tmp_path / "prediction"


def test_two_folders_are_compared_file_by_file(command, folders, tmp_path):
    out = tmp_path / "new" / "figures.json"
    code, printed, errors = command("--truth", folders[0], "--prediction", folders[1], "--out", out)
    assert (code, errors) == (0, "")
    lines = printed.splitlines()
    assert lines[0] == "2 images, 2 true objects, 1 predicted"
    assert lines[2].split() == ["0.50", "1", "0", "1", "1.000", "0.500", "0.667", "0.500", "0.800", "0.533"]
    assert lines[-1].split() == ["0.95", "0", "1", "2", "0.000", "0.000", "0.000", "0.000", "-", "0.000"]
    content = json.loads(out.read_text())
    assert content["images"] == 2
    assert content["thresholds"][0] == {
        "threshold": 0.5, "tp": 1, "fp": 0, "fn": 1, "precision": 1, "recall": 0.5, "f1": 0.66667, "accuracy": 0.5,
        "mean_iou": 0.8, "panoptic_quality": 0.53333,
    }  # fmt: skip
    assert content["thresholds"][-1]["mean_iou"] is None
    second = content["per_image"][1]
    assert (second["truth"], second["prediction"]) == (str(folders[0] / "b.png"), str(folders[1] / "b_labels.npy"))
    assert second["thresholds"][0]["fn"] == 1


def test_two_files_are_compared(command, folders):
    code, printed, _ = command("--truth", folders[0] / "a.png", "--prediction", folders[0] / "b.png")
    assert code == 0
    assert printed.startswith("1 image, 1 true object, 1 predicted\n")
    assert printed.count("1.000") == 60


def test_files_that_are_not_named_as_the_others_are_told(command, folders):
    for name in ("a_overlay.png", "c.tif"):
        Image.fromarray(SQUARE).save(folders[1] / name)
    code, _, errors = command("--truth", folders[0], "--prediction", folders[1])
    assert code == 0
    assert (
        f"left out 2 files, since others in the folder are named as label maps: {folders[1] / 'a_overlay.png'}"
        in errors
    )


def test_figures_are_not_written_to_a_folder(command, folders, tmp_path):
    code, printed, errors = command("--truth", folders[0], "--prediction", folders[1], "--out", tmp_path)
    assert (code, printed) == (2, "")
    assert f"{tmp_path}: is a folder; name a file in it" in errors


def test_images_of_different_sizes_are_refused_by_name(command, folders):
    Image.fromarray(SQUARE[:, :29]).save(folders[1] / "a_labels.png")
    code, printed, errors = command("--truth", folders[0], "--prediction", folders[1])
    assert (code, printed) == (2, "")
    assert f"{folders[1] / 'a_labels.png'}: has 29 x 20 pixels, but {folders[0] / 'a.png'} 30 x 20" in errors
