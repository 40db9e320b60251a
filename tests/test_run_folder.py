import json

import pytest

from maskrcnn import Config, MaskRCNN, run_folder


def line(epoch, ap):
    measured = {"ap": ap, "ap50": ap, "ap75": ap, "per_class": {}}
    return {
        "epoch": epoch, "practice": False, "step": 10 * epoch, "waiting": 0.01, "minutes": epoch / 2,
        "train": {"loss_mask": 0.5, "loss_classifier": 0.25}, "val": {"loss_mask": 0.6, "loss_classifier": 0.3},
        "mask": measured, "box": measured, "mask_any_class": measured,
    }  # fmt: skip


def test_runs_of_one_data_set_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for expected in ("runs/LISC", "runs/LISC-2", "runs/LISC-3"):
        folder = run_folder.choose(None, "data/LISC")
        assert str(folder) == expected
        folder.mkdir(parents=True)


def test_a_folder_with_a_run_is_not_taken_and_the_remedy_can_be_pasted(tmp_path):
    folder = tmp_path / "a run"
    assert run_folder.choose(folder, "x") == folder
    folder.mkdir()
    assert run_folder.choose(folder, "x") == folder
    for name in ("log.jsonl", "last.pt"):  # the latter alone: stopped before its first validation
        (folder / name).touch()
        with pytest.raises(ValueError, match=f"--resume '{folder}'"):
            run_folder.choose(folder, "x")
        (folder / name).unlink()


def test_looking_whether_a_folder_can_be_written_leaves_no_trace(tmp_path):
    run_folder.writable(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="choose another --out"):
        run_folder.writable(tmp_path / "file" / "b")


def test_the_log_is_the_history_however_often_it_is_written(tmp_path):
    history = [line(1, 0.25), line(2, 0.5)]
    for upto in (1, 2, 2):  # the last once more, as after a crash between log and checkpoint
        text = run_folder.log_epoch(tmp_path, history[:upto])
    logged = [json.loads(entry) for entry in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert logged == history
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert text.startswith("epoch   2    1.0 min  loss 0.750 (validation 0.900)  mask AP 0.500")


def test_the_config_says_how_the_run_began(tmp_path):
    config = Config.lisc(fpn_channels=32, box_head_width=16, mask_head_width=16)
    run_folder.write_config(tmp_path / "run", {"seed": 3}, MaskRCNN(config))
    written = json.loads((tmp_path / "run/config.json").read_text())
    assert written["arguments"] == {"seed": 3}
    assert Config.from_dict(written["model"]) == config
