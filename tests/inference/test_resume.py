"""What an earlier call has left in --out: refused, replaced, or gone on with, also after the plug was pulled."""

import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskrcnn.inference import predictor

TABLES = ("cells.csv", "differential.csv", "differential_folders.csv", "differential_total.csv", "coco.json")


@pytest.fixture
def smears(tmp_path, photograph):
    for k, name in enumerate(("a", "b", "c")):
        photograph(tmp_path / f"smears/{name}.png", k)
    return tmp_path / "smears"


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in (*TABLES, "predictions.jsonl")}


def test_a_run_that_was_killed_goes_on_to_the_same_tables(smears, tmp_path, predict, killed):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run(killed(smears, "--out", tmp_path / "killed"), env=environment)
    assert result.returncode == -signal.SIGKILL
    rows = (tmp_path / "killed/cells.csv").read_text(encoding="utf-8-sig").splitlines()
    assert [row.split(",")[0].rpartition("/")[2] for row in rows] == ["file", "a.png", "a.png"]
    assert not json.loads((tmp_path / "killed/predictions.json").read_text())["finished"]
    code, said, errors = predict(smears, "--out", tmp_path / "killed", "--skip-existing")
    assert code == 0, errors
    assert "an earlier call has done 1 of 3 images" in said
    assert "6 cells in 3 images" in said
    assert predict(smears, "--out", tmp_path / "whole")[0] == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert json.loads((tmp_path / "killed/predictions.json").read_text())["finished"]


def test_what_was_half_written_is_dropped(smears, tmp_path, predict):
    """A row without its end, rows of an image that is not finished, and a record that is cut off."""
    out = tmp_path / "out"
    assert predict(smears, "--out", out)[0] == 0
    whole = contents(out)
    records = whole["predictions.jsonl"].splitlines(keepends=True)
    (out / "predictions.jsonl").write_bytes(records[0] + records[1][:200])
    (out / "cells.csv").write_bytes(whole["cells.csv"][:-30])
    (out / "differential.csv").write_bytes(whole["differential.csv"] + b"half a na")
    assert predict(smears, "--out", out, "--skip-existing")[0] == 0
    assert contents(out) == whole


def test_an_image_without_room_for_its_rows_has_none(smears, tmp_path, predict, monkeypatch):
    """The others have theirs, and the image is done later."""
    fsync, calls, table = os.fsync, [], tmp_path / "out/differential.csv"

    def full(file):
        if table.exists() and os.path.samestat(os.fstat(file), table.stat()):
            calls.append(file)
            if len(calls) == 2:  # that of the second image
                raise OSError(28, "No space left on device")
        fsync(file)

    monkeypatch.setattr("os.fsync", full)
    code, _, errors = predict(smears, "--out", tmp_path / "out")
    assert code == 1
    assert "b.png: [Errno 28] No space left on device" in errors
    for name, each in (("cells.csv", 2), ("differential.csv", 1)):
        rows = (tmp_path / "out" / name).read_text(encoding="utf-8-sig").splitlines()[1:]
        assert [row.split(",")[0].rpartition("/")[2] for row in rows] == ["a.png"] * each + ["c.png"] * each
    assert json.loads((tmp_path / "out/predictions.json").read_text())["failed"]
    code, said, _ = predict(smears, "--out", tmp_path / "out", "--skip-existing")
    assert code == 0
    assert "6 cells in 3 images" in said


def test_results_of_an_earlier_call_are_refused_with_the_ways_on(smears, tmp_path, predict):
    out = tmp_path / "out"
    assert predict(smears, "--out", out)[0] == 0
    before = contents(out)
    code, _, errors = predict(smears / "a.png", "--out", out)
    assert code == 2
    assert all(word in errors for word in (str(out), "--overwrite", "--skip-existing", "another --out"))
    assert contents(out) == before
    code, _, errors = predict(smears / "a.png", "--out", out, "--overwrite", "--skip-existing")
    assert code == 2
    assert "not allowed with" in errors


def test_pictures_that_would_be_overwritten_are_refused_without_tables_too(smears, tmp_path, predict):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/b_overlay.png").write_bytes(b"of somebody")
    code, _, errors = predict(smears, "--out", tmp_path / "out")
    assert code == 2
    assert "b_overlay.png" in errors
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b_overlay.png"]


def test_overwriting_leaves_nothing_of_the_earlier_results_but_what_is_not_ours(smears, tmp_path, predict):
    out = tmp_path / "out"
    assert predict(smears, "--out", out, "--formats", "overlay,labels,geojson,coco-results")[0] == 0
    (out / "notes.txt").write_text("mine")
    assert predict(smears / "a.png", "--out", out, "--overwrite", "--formats", "overlay")[0] == 0
    assert {path.name for path in out.iterdir()} == {
        *("a_overlay.png", "notes.txt", "predictions.json", "predictions.jsonl"),
        *(name for name in TABLES if name.endswith(".csv")),
    }


def test_overwriting_removes_the_results_of_a_run_that_was_killed_while_it_wrote(smears, tmp_path, predict):
    out = tmp_path / "out"
    assert predict(smears, "--out", out)[0] == 0
    records = (out / "predictions.jsonl").read_bytes()
    (out / "predictions.jsonl").write_bytes(records[:-20])
    assert predict(smears / "c.png", "--out", out, "--overwrite")[0] == 0
    assert {path.name[0] for path in out.glob("*_overlay.png")} == {"c"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--score-threshold", 0.8), ("made with --score-threshold 0.5, not with --score-threshold 0.8",)),
        (("--keep-nested",), ("made without --keep-nested, not with --keep-nested;",)),
        (("--diameter", "auto"), ("made without --diameter, not with --diameter auto;",)),
        (("--formats", "labels"), ("made with --formats overlay,splash,labels,coco, not with --formats labels;",)),
    ],
)
def test_results_that_were_made_otherwise_are_not_gone_on_with(options, words, smears, tmp_path, predict):
    assert predict(smears / "a.png", "--out", tmp_path / "out")[0] == 0
    before = contents(tmp_path / "out")
    code, _, errors = predict(smears, "--out", tmp_path / "out", "--skip-existing", *options)
    assert code == 2
    assert all(word in errors for word in words)
    assert contents(tmp_path / "out") == before


def test_results_of_an_older_version_can_only_be_replaced(smears, tmp_path, predict):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/cells.csv").write_text("file,cell\n")
    code, _, errors = predict(smears, "--out", tmp_path / "out", "--skip-existing")
    assert code == 2
    assert "--overwrite" in errors
    assert predict(smears, "--out", tmp_path / "out", "--overwrite")[0] == 0


def test_another_image_of_the_same_name_does_not_take_its_place(smears, tmp_path, predict, photograph):
    assert predict(smears / "a.png", "--out", tmp_path / "out")[0] == 0
    other = photograph(tmp_path / "other/a.png", 9)
    code, _, errors = predict(other, "--out", tmp_path / "out", "--skip-existing")
    assert code == 2
    assert f"results of {smears / 'a.png'}" in errors


def test_an_image_that_has_changed_is_not_gone_on_with(smears, tmp_path, predict, photograph):
    assert predict(smears, "--out", tmp_path / "out")[0] == 0
    (smears / "a.png").touch()  # the same content
    assert predict(smears, "--out", tmp_path / "out", "--skip-existing")[0] == 0
    before = contents(tmp_path / "out")
    photograph(smears / "a.png", 7)
    code, _, errors = predict(smears, "--out", tmp_path / "out", "--skip-existing")
    assert code == 2
    assert "a.png: has changed since it was predicted on" in errors
    assert contents(tmp_path / "out") == before


def test_images_that_are_gone_stay_in_the_tables_and_that_is_told(smears, tmp_path, predict):
    assert predict(smears, "--out", tmp_path / "out")[0] == 0
    (smears / "b.png").unlink()
    code, said, _ = predict(smears, "--out", tmp_path / "out", "--skip-existing")
    assert code == 0
    assert "the tables also have 1 image of an earlier call" in said
    assert "6 cells in 3 images" in said


@pytest.mark.parametrize("lost", ["out/b_preview.png", "corrected/images/b.png"])
def test_deleted_files_are_written_again(lost, smears, tmp_path, predict):
    options = (smears, "--out", tmp_path / "out", "--annotations", tmp_path / "corrected")
    assert predict(*options)[0] == 0
    tables, picture = contents(tmp_path / "out"), (tmp_path / lost).read_bytes()
    (tmp_path / lost).unlink()
    code, said, _ = predict(*options, "--skip-existing")
    assert code == 0
    assert f"{smears / 'b.png'}: files of its results are gone" in said
    assert "an earlier call has done 2 of 3 images" in said
    assert "6 cells in 3 images" in said
    assert (tmp_path / lost).read_bytes() == picture
    rows = (sorted(content.splitlines()) for content in (tables["cells.csv"], contents(tmp_path / "out")["cells.csv"]))
    assert next(rows) == next(rows)


def test_a_data_set_to_correct_needs_a_folder_of_its_own(smears, tmp_path, predict):
    code, _, errors = predict(smears, "--out", tmp_path / "out", "--annotations", tmp_path / "out")
    assert code == 2
    assert "--annotations" in errors
    assert not (tmp_path / "out").exists()


def test_going_on_adds_the_new_images_of_a_folder(smears, tmp_path, predict, photograph):
    assert (
        predict(smears, "--out", tmp_path / "out", "--skip-existing")[0] == 0
    )  # nothing is there: a call like any other
    before = (tmp_path / "out/a_overlay.png").stat().st_mtime_ns
    photograph(smears / "d.png", 5)
    code, said, _ = predict(smears, "--out", tmp_path / "out", "--skip-existing")
    assert code == 0
    assert "8 cells in 4 images" in said
    assert (tmp_path / "out/a_overlay.png").stat().st_mtime_ns == before
    assert len(json.loads((tmp_path / "out/coco.json").read_text())["images"]) == 4
    with Image.open(tmp_path / "out/d_labels.png") as labels:
        assert np.unique(np.asarray(labels)).tolist() == [0, 1, 2]


def test_what_was_used_is_written_down(smears, tmp_path, predict):
    from maskrcnn import __version__

    (smears / "bad.png").write_bytes((smears / "a.png").read_bytes()[:100])
    assert predict(smears, "--out", tmp_path / "out", "--score-threshold", 0.8, "--pixel-size", 0.1)[0] == 1
    used = json.loads((tmp_path / "out/predictions.json").read_text())
    assert (used["maskrcnn"], used["images"], used["cells"]["basophil"]) == (__version__, 3, 3)
    assert used["arguments"]["score_threshold"] == 0.8
    assert used["arguments"]["pixel_size"] == 0.1
    assert used["checkpoint"].endswith("best.pt")
    assert "bad.png" in used["failed"][0]
    assert sum(used["cells"].values()) == 3  # the other cell of each image has a score of 0.75


@pytest.fixture
def at_second(monkeypatch):
    """Makes the model raise an error at its second image."""

    def install(error: BaseException) -> None:
        usual, seen = predictor.predict, []

        def failing(*options, **named):
            seen.append(1)
            if len(seen) == 2:
                raise error
            return usual(*options, **named)

        monkeypatch.setattr("maskrcnn.inference.predictor.predict", failing)

    return install


def test_a_run_that_was_stopped_by_hand_has_all_tables_of_what_is_done(smears, tmp_path, predict, at_second):
    at_second(KeyboardInterrupt())
    code, said, errors = predict(smears, "--out", tmp_path / "out")
    assert code == 130
    assert "2 cells in 1 image:" in said
    assert "stopped after 1 of 3 images; --skip-existing goes on" in errors
    assert all((tmp_path / "out" / name).exists() for name in TABLES)
    assert not json.loads((tmp_path / "out/predictions.json").read_text())["finished"]
    assert predict(smears, "--out", tmp_path / "out", "--skip-existing")[0] == 0
    assert json.loads((tmp_path / "out/predictions.json").read_text())["images"] == 3


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), MemoryError()])
def test_an_image_that_does_not_fit_into_memory_is_named_and_the_others_are_done(
    error, smears, tmp_path, predict, at_second
):
    at_second(error)
    code, said, errors = predict(smears, "--out", tmp_path / "out")
    assert code == 1
    assert "4 cells in 2 images" in said
    assert f"b.png: {str(error) or 'MemoryError'}" in errors


def test_without_room_for_the_summaries_the_way_on_is_told(smears, tmp_path, predict, monkeypatch):
    def full(writer):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("maskrcnn.inference.export.writer.PredictionWriter.finish", full)
    code, _, errors = predict(smears, "--out", tmp_path / "out")
    assert code == 1
    assert "No space left on device" in errors
    assert "--skip-existing" in errors
