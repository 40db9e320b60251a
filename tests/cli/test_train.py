"""train.py as a user calls it."""

import functools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.synthetic.dataset import write_dataset
from data.synthetic.pretraining import pretraining_set
from maskrcnn.config import LISC_CLASSES
from maskrcnn.weights import load_checkpoint

ROOT = Path(__file__).parents[2]


def test_cells_are_pasted_in_until_the_rate_falls(finished):
    lines = [json.loads(line) for line in (finished[0] / "log.jsonl").read_text().splitlines()]
    assert [line["copy_paste"] for line in lines] == [True, False]  # of two epochs; the rate falls over the last half


def test_a_run_leaves_everything_it_promises(finished):
    folder, printed = finished
    assert {path.name for path in folder.iterdir() if not path.name.startswith("evaluation-")} == {
        "evaluation.txt",
        "evaluation.json",
        "report.html",
        "config.json",
        "data.txt",
        "contact-sheet.png",
        "anchors.png",
        "log.jsonl",
        "curves.png",
        "predictions.png",
        "best.pt",
        "last.pt",
        "previous.pt",
        ".lock",
    }
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert [line["step"] for line in lines] == [2, 4]
    for line in lines:
        assert line["train"].keys() == line["val"].keys()
        assert len(line["train"]) == 5
        assert all(0 <= line[kind]["ap50"] <= 1 for kind in ("mask", "box", "mask_class_agnostic"))
        assert line["mask"]["per_class"].keys() == {"neutrophil", "lymphocyte"}  # the others have no cell here
    assert "mask AP50" in printed.splitlines()[-2]
    assert printed.splitlines()[-1].endswith(str(folder / "predictions.png"))
    for name in ("curves.png", "predictions.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 300


def test_the_best_checkpoint_is_a_whole_model(finished):
    model, saved = load_checkpoint(finished[0] / "best.pt")
    assert model.config.class_names[4] == "neutrophil"
    assert saved["history"]
    assert saved["colours"].shape == (4, 3, 6)  # of the training images
    with torch.no_grad():
        assert len(model.eval()([torch.rand(3, 64, 64)])) == 1


def test_a_run_of_a_version_with_one_learning_rate_is_not_resumed(finished, tmp_path, call):
    saved = torch.load(finished[0] / "last.pt", weights_only=True)
    del saved["arguments"]["head_lr_factor"]
    torch.save(saved, tmp_path / "last.pt")
    code, said = call("train.py", "--resume", tmp_path)
    assert code == 2
    assert "last.pt: written by another version" in said
    assert f"start a new run with --weights {tmp_path}" in said


def test_a_run_is_not_resumed_with_other_images_but_wherever_they_lie(smears, tmp_path, call, run, train, draw_smear):
    """Divided anew, images that were trained on would be validated on."""
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(smears, here)
    assert train("--data", here, "--out", tmp_path / "run", "--epochs", 1, "--folds", 2).returncode == 0
    here.rename(there)
    draw_smear(there, "train", "Neutrophil_5", "Neutrophil", 90)
    code, said = call("train.py", "--resume", tmp_path / "run", "--data", there)
    assert code == 2
    assert "the run started with other data, so it cannot be resumed" in said
    for path in there.glob("train/*/Neutrophil/Neutrophil_5.png"):
        path.unlink()
    code, said = call("train.py", "--resume", tmp_path / "run", "--lr", 1e-4)
    assert code == 2
    assert "--lr" in said
    assert run("train.py", "--resume", tmp_path / "run", "--data", there, "--epochs", 2).returncode == 0  # longer
    lines = (tmp_path / "run/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


def test_practice_comes_first_and_is_part_of_the_run(smears, tmp_path, call, train, monkeypatch):
    few = functools.partial(pretraining_set, cells=60)  # of 1200, which take longer to draw than all else takes
    monkeypatch.setattr("data.synthetic.pretraining.pretraining_set", few)
    result = train(
        "--data", smears, "--out", tmp_path / "run", "--epochs", 2, "--pretrain-fraction", 0.5, "--ema-decay", 0.5
    )
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    # Two epochs of two steps are half of the run; practice, with 20 fields, ends after the other half.
    assert (lines[0]["pretraining"], lines[0]["step"]) == (True, 4)
    assert not any(line["pretraining"] for line in lines[1:])
    assert lines[-1]["step"] == 8  # in one or two validations, by how long they take
    for arguments in (("--pretrain-fraction", 1), ("--lr-decay-fraction", 0)):
        assert call("train.py", "--data", smears, *arguments)[0] == 2


@pytest.mark.parametrize(
    ("script", "arguments", "messages"),
    [
        ("train.py", ["--data", "nowhere/LISC"], ["nowhere/LISC", "--data synthetic"]),
        ("train.py", ["--batch-size", 0], ["--batch-size", "1 or more"]),
        (
            "train.py",
            ["--resume", "nowhere", "--batch-size", 2],
            ["--batch-size", "a resumed run keeps"],
        ),  # its default
        ("train.py", ["--resume", __file__], ["give the run folder", "cli"]),
        ("train.py", ["--minutes", "inf"], ["--minutes", "above 0"]),
        ("train.py", ["--resume", "nowhere"], ["nowhere/last.pt", "no such file"]),
        ("train.py", ["--override", "min_size=big"], ["--override min_size=big", "800"]),
        ("train.py", ["--augment", "flips", "--override", "stain=0"], ["--override stain", "--augment flips"]),
        ("train.py", ["--fold", 1], ["--fold", "--folds"]),
        ("evaluate.py", ["--data", "x", "--checkpoint", "nowhere"], ["nowhere", "no such file"]),
        ("predict.py", ["x.png", "--checkpoint", "nowhere"], ["nowhere", "no such file"]),
        (
            "predict.py",
            ["x.png", "--checkpoint", "nowhere", "--score-threshold", 60],
            ["--score-threshold", "60 is not a number from 0"],
        ),
        (
            "evaluate.py",
            ["--data", "x", "--checkpoint", "y", "--score-threshold", "half"],
            ["--score-threshold", "half is not"],
        ),
    ],
)
def test_what_is_missing_is_named_with_the_remedy_before_anything_starts(
    script, arguments, messages, tmp_path, call, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, said = call(script, *arguments)
    assert code == 2
    assert all(message in said for message in messages)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "torchvision"], "give --weights"),
        (["--ema-decay", "1"], "--ema-decay"),
        (["--class-balance", "-1"], "--class-balance"),
        (["--seed", "-1"], "--seed"),
        (["--override", "class_names=('a', 'b')"], "class_names"),
    ],
)
def test_what_cannot_be_trained_says_why(smears, tmp_path, arguments, message, call):
    code, said = call("train.py", "--pretrain-fraction", 0, "--data", smears, "--out", tmp_path / "run", *arguments)
    assert code == 2
    assert message in said


def test_settings_and_weights_of_another_run_are_used_and_its_images_count_as_seen(finished, smears, tmp_path, run):
    """The other run was trained on four of the six images; this one has fold 0 to validate on, and trains on the rest."""
    folder = tmp_path / "a run"  # with a space, as the folders of LISC have
    result = run("train.py", "--data", smears, "--out", folder, "--epochs", 1, "--folds", 2, "--weights", finished[0],
                 "--override", "box_batch_size_per_image=32", "--override", "blur=0")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "0 missing" in result.stdout
    assert "images were in the training set" in result.stderr  # those to validate on, by the other run
    assert "images were in the training set" in (folder / "report.html").read_text()
    config, other = (load_checkpoint(place)[0].config for place in (folder, finished[0]))
    assert config == replace(other, box_batch_size_per_image=32)  # which is no longer that of a preset
    evaluated = run(
        "evaluate.py", "--checkpoint", folder, "--data", smears, "--split", "all", "--out", tmp_path / "all"
    )
    counted = re.search(r"warning: (\d) of the 6 images were in the training set", evaluated.stderr)
    own, other = (set(torch.load(f / "best.pt", weights_only=True)["trained_on"]) for f in (folder, finished[0]))
    assert other < own
    assert int(counted[1]) == len(own) > 3
    own_split = run("evaluate.py", "--checkpoint", folder, "--data", smears, "--folds", 0, "--out", tmp_path / "own")
    assert "2 images, 2 cells" in own_split.stdout


def test_a_run_is_never_overwritten(finished, smears, call):
    before = (finished[0] / "log.jsonl").read_text()
    code, said = call("train.py", "--data", smears, "--out", finished[0])
    assert code == 2
    assert "--resume" in said
    assert (finished[0] / "log.jsonl").read_text() == before


def test_a_replica_of_lisc_trains_end_to_end(tmp_path, call, run, train):
    """As unzipped, with its oddities: smaller masks, several cells, a mixed folder, an empty mask, repeats, no split."""
    lisc = tmp_path / "LISC"
    write_dataset(lisc / "LISC Database", images=30, layout="lisc", size=(240, 192), progress=False)
    images, masks = lisc / "LISC Database/Main Dataset", lisc / "LISC Database/Ground Truth Segmentation"
    empty = masks / "eosi/areaforexpert1/2_expert.bmp"
    Image.fromarray(np.zeros((184, 232), np.uint8)).save(empty)
    for folder, name in ((images / "neut", "{}.bmp"), (masks / "neut/areaforexpert1", "{}_expert.bmp")):
        (folder / name.format(50)).write_bytes((folder / name.format(1)).read_bytes())
    result = train("--data", lisc, "--out", tmp_path / "run", "--epochs", 1)
    assert result.returncode == 0, result.stderr
    assert f"left out: {empty}: no cell in this mask" in result.stderr
    assert "background alone predicts the class of" in result.stdout
    report = (tmp_path / "run/data.txt").read_text()
    assert "neut/1.bmp = neut/50.bmp" in report
    line = json.loads((tmp_path / "run/log.jsonl").read_text())
    assert 0 <= line["wait_fraction"] < 1
    assert set(line["mask"]["per_class"]) == set(LISC_CLASSES)
    code, said = call("train.py", "--data", lisc, "--out", tmp_path / "other", "--strict")
    assert code == 2
    assert str(empty) in said
    unlabelled = lisc / "LISC Database/More Dataset without Ground Truth"
    result = run("predict.py", "--checkpoint", tmp_path / "run", unlabelled, "--out", tmp_path / "found")
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "found").rglob("*_labels.png"))


def test_cross_validation_from_the_command_line(smears, tmp_path, call, run, train):
    shown = set()
    for fold in range(2):
        folder = tmp_path / str(fold)
        result = train("--data", smears, "--out", folder, "--epochs", 1, "--folds", 2, "--fold", fold)
        assert "3 training images, 3 validation images" in result.stdout
        shown.add((folder / "data.txt").read_text())
        # evaluate.py takes the division from the run: without it, it would see images that were trained on.
        again = run("evaluate.py", "--checkpoint", folder, "--data", smears, "--out", folder / "again")
        assert "training set;" not in again.stderr
        files = [json.loads((place / "evaluation.json").read_text()) for place in (folder, folder / "again")]
        assert files[0] == files[1]
    assert call("train.py", "--data", smears, "--folds", 2, "--fold", 2)[0] == 2


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_done(finished, smears, call):
    checkpoint = ("--checkpoint", finished[0], "--out", "/proc/run")
    commands = (
        ("train.py", "--data", smears, "--out", "/proc/run"),
        ("evaluate.py", "--data", smears, *checkpoint),
        ("predict.py", smears / "val", *checkpoint),
    )
    for command in commands:
        code, said = call(*command)
        assert code == 2
        assert "/proc/run" in said
        assert "evaluating" not in said


@pytest.mark.parametrize("script", ["train.py", "evaluate.py", "predict.py"])
def test_help_teaches_by_example(script, run):
    result = run(script, "--help")
    assert result.returncode == 0
    assert f"python {script} " in result.stdout
