"""predict.py as a user calls it."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from maskrcnn.inference import detect


def test_predicting_a_folder_with_a_bad_file_does_the_others_and_says_so(finished, smears, tmp_path, run):
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "good.png").write_bytes((smears / "val/image/Neutrophil/Neutrophil_9.png").read_bytes())
    (folder / "cut_off.png").write_bytes((folder / "good.png").read_bytes()[:100])
    result = run("predict.py", folder, "--checkpoint", finished[0], "--out", tmp_path / "out", "--score-threshold", 0.0)
    assert result.returncode == 1
    assert "cut_off.png" in result.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(f"good_{kind}.png" for kind in ("overlay", "splash", "labels", "preview")),
        *("cells.csv", "differential.csv", "differential_folders.csv", "differential_total.csv", "coco.json"),
        *("predictions.json", "predictions.jsonl"),
    }
    with (
        Image.open(tmp_path / "out/good_overlay.png") as overlay,
        Image.open(tmp_path / "out/good_labels.png") as labels,
    ):
        assert overlay.size == labels.size == (160, 128)
        assert np.asarray(labels).dtype == np.uint16


def test_images_in_other_colours_than_those_of_training_are_named(finished, smears, tmp_path, run):
    """The scores cannot tell."""
    folder = tmp_path / "new"
    folder.mkdir()
    image = Image.open(smears / "val/image/Neutrophil/Neutrophil_9.png")
    image.save(folder / "as_it_is.png")
    arguments = (folder, "--checkpoint", finished[0], "--out", tmp_path / "out")
    assert "colours" not in run("predict.py", *arguments).stderr
    assert not (tmp_path / "out/colours.png").exists()
    blue, green, red = image.split()
    Image.merge("RGB", (red, blue, green)).point(lambda grey: grey // 2).save(folder / "strange.png")
    result = run("predict.py", *arguments, "--overwrite")
    assert result.returncode == 0
    assert "1 of 2 images have other colours than the 4 training images" in result.stderr
    assert str(tmp_path / "out/colours.png") in result.stderr
    assert (tmp_path / "out/colours.png").exists()
    lines = (tmp_path / "out/differential.csv").read_text().splitlines()
    distances = [line.split(",")[-1] for line in lines]
    assert distances[0] == "colour_distance"
    assert float(distances[1]) < 5 < 50 < float(distances[2])


def test_images_in_other_colours_are_shown_to_the_model_in_those_of_training(
    finished, smears, tmp_path, call, monkeypatch
):
    """Through predict.py and evaluate.py, unless --colours keep says otherwise."""
    usual, mask = (smears / f"val/{kind}/Neutrophil/Neutrophil_9.png" for kind in ("image", "mask"))
    for folder, path in (("val/image", usual), ("val/mask", mask), ("train/image", usual), ("train/mask", mask)):
        (tmp_path / folder / "Neutrophil").mkdir(parents=True)
        Image.open(path).save(tmp_path / folder / "Neutrophil" / "a.png")
    strange = tmp_path / "val/image/Neutrophil/a.png"
    Image.open(usual).point(lambda grey: grey // 2).save(strange)
    arguments = ("--checkpoint", finished[0], "--out", tmp_path / "out")
    seen = []

    def record(model, image, *options, change=lambda image: image, **named):
        shown = change(image if image.is_floating_point() else image / 255)
        seen.append(shown.mean().item())
        return detect.predict(model, image, *options, change=change, **named)

    for module in ("maskrcnn.inference.predictor", "maskrcnn.evaluation.evaluate"):
        monkeypatch.setattr(f"{module}.predict", record)
    for option in ("adapt", "keep"):
        code, printed = call("predict.py", strange, *arguments, "--colours", option, "--overwrite")
        assert code == 0
        assert ("the model saw them with the white balance of training" in printed) == (option == "adapt")
        code, errors = call("evaluate.py", "--data", tmp_path, *arguments, "--colours", option)
        assert code == 0, errors
        report = (tmp_path / "out/report.html").read_text(encoding="utf-8")
        assert f"--colours {option}: images in colours far from those of training" in report
    bright = np.asarray(Image.open(usual)).mean() / 255
    assert seen == pytest.approx([bright, bright, bright / 2, bright / 2], abs=0.03)


def test_an_image_named_twice_counts_once_and_what_was_written_is_no_input(finished, smears, tmp_path, run):
    folder = tmp_path / "new"
    folder.mkdir()
    for name in ("a.png", ".hidden.png"):
        (folder / name).write_bytes((smears / "val/image/Neutrophil/Neutrophil_9.png").read_bytes())
    for _ in range(2):
        arguments = (folder, folder / "a.png", "--checkpoint", finished[0], "--out", folder / "out", "--overwrite")
        result = run("predict.py", *arguments)
        assert result.returncode == 0, result.stderr
        assert " in 1 image:" in result.stdout
    lines = (folder / "out/differential.csv").read_text(encoding="utf-8-sig").splitlines()
    assert [line.split(",")[0] for line in lines] == ["file", str(folder / "a.png")]


def test_predictions_may_be_written_above_the_images_but_not_among_them(finished, smears, tmp_path, call, run):
    images = tmp_path / "experiment/images"
    images.mkdir(parents=True)
    (images / "a.png").write_bytes((smears / "val/image/Neutrophil/Neutrophil_9.png").read_bytes())
    result = run("predict.py", images, "--checkpoint", finished[0], "--out", images.parent)
    assert result.returncode == 0, result.stderr
    assert (images.parent / "a_overlay.png").exists()
    code, said = call("predict.py", images, "--checkpoint", finished[0], "--out", images)
    assert code == 2
    assert "choose another" in said
    assert [path.name for path in images.iterdir()] == ["a.png"]


def test_all_eight_ways_from_the_command_line(finished, smears, tmp_path, run):
    result = run(
        "predict.py", smears / "val", "--checkpoint", finished[0], "--out", tmp_path, "--tta", "--score-threshold", 0.2
    )
    assert result.returncode == 0, result.stderr
    assert len(list(tmp_path.rglob("*_splash.png"))) == 2
    assert "left out 2 masks or label maps" in result.stderr  # in the same folder
    result = run("evaluate.py", "--data", smears, "--checkpoint", finished[0], "--out", tmp_path / "report", "--tta")
    assert result.returncode == 0, result.stderr
    assert "test-time augmentation" in (tmp_path / "report/report.html").read_text()


def test_names_that_are_not_utf8_are_read_and_written_escaped(finished, smears, tmp_path, call):
    """As an old Windows archive leaves them when it is unpacked on Linux."""
    folder = tmp_path / "new"
    folder.mkdir()
    name = os.path.join(os.fsencode(folder), b"caf\xe9.png")
    try:
        shutil.copy(smears / "val/image/Neutrophil/Neutrophil_9.png", name)
    except OSError:
        pytest.skip("this file system takes names in UTF-8 alone")
    out = tmp_path / "out"
    code, errors = call("predict.py", folder, "--checkpoint", finished[0], "--out", out, "--score-threshold", 0.0)
    assert code == 0, errors
    for file in ("cells.csv", "differential.csv"):
        assert r"caf\xe9.png" in (out / file).read_text(encoding="utf-8")
    assert os.path.exists(os.path.join(os.fsencode(out), b"caf\xe9_overlay.png"))
