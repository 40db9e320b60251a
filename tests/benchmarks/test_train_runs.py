import json
import subprocess

import pytest

from benchmarks.experiments import train_runs
from benchmarks.experiments.ablations import last, row


@pytest.fixture
def started(monkeypatch):
    """The command lines, which are noted and not run."""
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command[2:]))
    return commands


def test_a_run_is_started_once_resumed_if_interrupted_and_kept_if_finished(tmp_path, started):
    out = tmp_path / "run"
    train_runs.train(out, "--epochs", 2)
    (out / "last.pt").touch()
    train_runs.train(out, "--epochs", 2)
    assert started == [["--out", str(out), "--epochs", "2"], ["--resume", str(out)]]
    (out / "report.html").touch()
    train_runs.train(out, "--epochs", 2)
    assert len(started) == 2
    with pytest.raises(ValueError, match="other arguments"):
        train_runs.train(out, "--epochs", 3)


def test_a_line_of_the_table_is_mean_and_each_fold_without_the_rare_class(tmp_path):
    results = []
    for fold, (a, b) in enumerate(((0.5, 0.7), (0.7, 0.9))):
        run = tmp_path / str(fold)
        run.mkdir()
        entry = {
            "epoch": 9,
            "mask": {"per_class": {"a": a, "b": b, "rare": 0.0}},
            "mask_class_agnostic": {"ap": a, "ap75": b},
        }
        (run / "log.jsonl").write_text("{}\n" + json.dumps(entry) + "\n")
        results.append(last(run, ["rare"]))
    assert row("name", results).split() == [
        "name", *("0.700", "(0.600,", "0.800)"), *("0.600", "(0.500,", "0.700)"), *("0.800", "(0.700,", "0.900)"),
        *("9", "(9,", "9)"),
    ]  # fmt: skip
