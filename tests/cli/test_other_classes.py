"""From data with classes of their own to a table of cells: train.py, evaluate.py and predict.py as a user calls them."""

import csv
import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def blasts(tmp_path_factory, draw_smear):
    """Two classes that are none of LISC's, a class that is not wanted, and fields without a cell."""
    folder = tmp_path_factory.mktemp("blasts")
    for k in range(2):
        draw_smear(folder, "train", f"b{k}", "Blast", 50 + 30 * k)
        draw_smear(folder, "train", f"s{k}", "smudge cell", 60 + 30 * k)
        draw_smear(folder, "train", f"d{k}", "Debris", 70)
    draw_smear(folder, "val", "b9", "Blast", 70)
    draw_smear(folder, "val", "s9", "smudge cell", 90)
    for side, name in (("train", "none1"), ("val", "none2")):
        draw_smear(folder, side, name, "Blast", 70)
        Image.fromarray(np.zeros((128, 160), np.uint8)).save(folder / side / "mask" / "Blast" / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def trained(blasts, tmp_path_factory, train):
    out = tmp_path_factory.mktemp("runs") / "run"
    result = train("--data", blasts, "--out", out, "--epochs", 1, "--classes", "smudge cell,Blast")
    assert result.returncode == 0, result.stderr
    return out, result.stdout


def test_the_run_says_how_the_data_were_read(trained):
    out, printed = trained
    assert "read as class-folders; masks: binary (8)" in printed
    assert "2 annotations of the class Debris are not used (--classes)" in printed
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert "smudge cell,Blast" in json.dumps(config)
    report = (out / "data.txt").read_text(encoding="utf-8").splitlines()
    assert report[0].split() == ["images", "smudge", "cell", "Blast"]
    assert report[1].split() == ["training", "5", "2", "2"]
    assert "images without a cell: 2" in report


def test_evaluation_and_prediction_have_these_classes(trained, blasts, tmp_path, call):
    code, errors = call("evaluate.py", "--checkpoint", trained[0], "--data", blasts, "--out", tmp_path / "report")
    assert code == 0, errors
    result = json.loads((tmp_path / "report/evaluation.json").read_text(encoding="utf-8"))
    assert result["classes"] == ["smudge cell", "Blast"]
    assert result["images"] == 3
    assert result["images_without_a_cell"]["images"] == 1
    assert "images without a cell: 1" in (tmp_path / "report/evaluation.txt").read_text(encoding="utf-8")
    images = blasts / "val/image/Blast"
    call("predict.py", images, "--checkpoint", trained[0], "--out", tmp_path / "cells", "--score-threshold", 0.0)
    with open(tmp_path / "cells/differential.csv", encoding="utf-8") as file:
        assert {"smudge cell", "Blast", "smudge cell_percent", "Blast_percent"} <= set(next(csv.reader(file)))


def test_a_model_is_evaluated_on_other_names_of_its_classes(trained, blasts, tmp_path, call, capsys):
    options = ("--checkpoint", trained[0], "--data", blasts, "--out", tmp_path / "report")
    code, _ = call("evaluate.py", *options, "--classes", "Debris=Blast,smudge cell", "--split", "train")
    assert code == 0
    result = json.loads((tmp_path / "report/evaluation.json").read_text(encoding="utf-8"))
    assert (result["images"], result["classes"]) == (7, ["smudge cell", "Blast"])
    code, errors = call("evaluate.py", *options, "--classes", "Debris")
    assert code == 2
    assert "the model has no class Debris; it has smudge cell, Blast" in errors
