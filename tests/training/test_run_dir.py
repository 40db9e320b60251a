import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from maskrcnn import Config, MaskRCNN
from maskrcnn.training.run_dir import claimed, new_run_dir, write_config, write_log


def line(epoch, ap):
    measured = {"ap": ap, "ap50": ap, "ap75": ap, "per_class": {}}
    return {
        "epoch": epoch, "pretraining": False, "step": 10 * epoch, "wait_fraction": 0.01, "minutes": epoch / 2,
        "train": {"loss_mask": 0.5, "loss_classifier": 0.25}, "val": {"loss_mask": 0.6, "loss_classifier": 0.3},
        "mask": measured, "box": measured, "mask_class_agnostic": measured,
    }  # fmt: skip


def test_runs_of_one_data_set_are_numbered_and_their_folders_made_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for expected in ("runs/LISC", "runs/LISC-2", "runs/LISC-3"):
        folder = new_run_dir(None, "data/LISC")
        assert str(folder) == expected
        assert folder.is_dir()


def test_runs_that_start_together_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: new_run_dir(None, "LISC"), range(40)))
    assert len(set(folders)) == 40


def test_a_folder_with_a_run_is_not_taken_and_the_remedy_can_be_pasted(tmp_path):
    folder = tmp_path / "a run"
    assert new_run_dir(folder, "x") == folder
    assert new_run_dir(folder, "x") == folder
    for name in ("log.jsonl", "last.pt"):  # the latter alone: stopped before its first validation
        (folder / name).touch()
        with pytest.raises(ValueError, match=f"--resume '{folder}'"):
            new_run_dir(folder, "x")
        (folder / name).unlink()


def test_a_folder_in_which_nothing_was_written_does_not_stay(tmp_path):
    out = tmp_path / "runs/of today/first"
    with claimed(out, "x", None) as folder:
        assert folder == out
        assert out.is_dir()
    assert list(tmp_path.iterdir()) == []
    with claimed(out, "x", None):
        (out / "data.txt").touch()
    with claimed(None, "x", out):
        pass
    assert (out / "data.txt").exists()


CLAIM = """
import sys, time
from pathlib import Path
from maskrcnn.training.run_dir import claimed
try:
    with claimed(None, "x", Path(sys.argv[1])):
        print("mine", flush=True)
        time.sleep(60)
except ValueError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_folder_in_use_is_refused_until_that_process_ends_however_it_does(tmp_path):
    command = [sys.executable, "-c", CLAIM, tmp_path]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "mine\n"
        second = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=100)
        assert second.stdout.startswith(f"{tmp_path}: another process trains in this folder")
        first.kill()
    with claimed(None, "x", tmp_path):
        pass


def test_the_log_is_the_history_however_often_it_is_written(tmp_path):
    history = [line(1, 0.25), line(2, 0.5)]
    for upto in (1, 2, 2):  # the last once more, as after a crash between log and checkpoint
        text = write_log(tmp_path, history[:upto])
    logged = [json.loads(entry) for entry in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert logged == history
    with Image.open(tmp_path / "curves.png") as curves:
        assert curves.size == (1100, 420)
    assert text.startswith("epoch   2    1.0 min  loss 0.750 (val 0.900)  mask AP 0.500")


def test_the_config_says_how_the_run_began(tmp_path):
    config = Config.small(fpn_channels=32, box_head_dim=16, mask_head_channels=16)
    write_config(tmp_path, {"seed": 3}, MaskRCNN(config))
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["arguments"] == {"seed": 3}
    assert Config.from_dict(written["model"]) == config
