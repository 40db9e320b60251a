"""evaluate.py as a user calls it."""

import json
from pathlib import Path


def test_evaluating_a_run_writes_the_report_that_training_wrote(finished, smears, tmp_path, run):
    result = run("evaluate.py", "--checkpoint", finished[0], "--data", smears, "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    mine, trained = (json.loads((folder / "evaluation.json").read_text()) for folder in (tmp_path, finished[0]))
    assert mine == trained
    assert mine["images"] == 2
    assert str(tmp_path / "report.html") in result.stdout
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 2
    assert "http" not in page.replace("http-equiv", "")  # it opens without a network
    everything = run(
        "evaluate.py", "--checkpoint", finished[0], "--data", smears, "--split", "all", "--out", tmp_path / "all"
    )
    assert "6 images, 6 cells" in everything.stdout
    assert "warning: 4 of the 6 images were in the training set" in everything.stderr
    assert "training set;" not in result.stderr
    assert all(Path(row["file"]).is_relative_to(smears) for row in mine["failures"])
