"""maskrcnn export, as a user calls it."""

import sys

import pytest
import torch
from PIL import Image

from maskrcnn import Config, MaskRCNN, __version__
from maskrcnn.__main__ import main
from maskrcnn.weights import load_checkpoint, save_checkpoint

TINY = {"backbone": "resnet18", "fpn_channels": 32, "box_head_dim": 8, "mask_head_channels": 32, "min_size": 64}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two run folders: of the torchvision preset, and of the default one."""
    folder = tmp_path_factory.mktemp("runs")
    configs = {"plain": Config.torchvision(3, **TINY), "lisc": Config.lisc(zero_init_residual=False, **TINY)}
    for name, config in configs.items():
        (folder / name).mkdir()
        save_checkpoint(folder / name / "best.pt", MaskRCNN(config), trained_on=["a"])
    return folder


@pytest.fixture
def call(monkeypatch, capsys):
    def start(*arguments):
        monkeypatch.setattr(sys, "argv", ["maskrcnn", *map(str, arguments)])
        try:
            code = main()
        except SystemExit as exit_:
            code = exit_.code
        return code, *capsys.readouterr()

    return start


def test_safetensors_lie_beside_the_checkpoint_and_predict_reads_them(runs, call, tmp_path):
    code, said, errors = call("export", runs / "lisc", "--to", "safetensors")
    assert (code, errors) == (0, "")
    written = runs / "lisc/best.safetensors"
    assert str(written) in said
    expected, read = (load_checkpoint(runs / "lisc" / name) for name in ("best.pt", "best.safetensors"))
    assert all(value.equal(read[0].state_dict()[name]) for name, value in expected[0].state_dict().items())
    assert read[1] == expected[1] == {"trained_on": ["a"], "version": __version__}
    assert written.stat().st_mode == (runs / "lisc/best.pt").stat().st_mode  # readable by those who may read the other
    Image.new("RGB", (90, 70), "white").save(tmp_path / "a.png")
    code, _, errors = call("predict", tmp_path / "a.png", "--checkpoint", written, "--out", tmp_path / "cells")
    assert code == 0, errors
    assert (tmp_path / "cells/cells.csv").exists()


def test_three_files_for_torchvision(runs, call):
    code, said, errors = call("export", runs / "plain", "--to", "torchvision")
    assert (code, errors) == (0, "")
    for suffix in (".pth", ".json", ".py"):
        assert str(runs / f"plain/best_torchvision{suffix}") in said
        assert (runs / f"plain/best_torchvision{suffix}").is_file()


def test_a_model_that_torchvision_has_not_is_refused_and_nothing_written(runs, call, tmp_path):
    code, _, errors = call("export", runs / "lisc/best.pt", "--to", "torchvision", "--out", tmp_path / "m.pth")
    assert code == 2
    assert errors.startswith("maskrcnn export: torchvision's Mask R-CNN has no counterpart of antialias=True, ")
    assert "masks_from_p1=True" in errors
    assert list(tmp_path.iterdir()) == []


def test_onnx_goes_where_out_says(runs, call, tmp_path, monkeypatch):
    """What is in the file: see test_onnx.py."""
    written = []
    monkeypatch.setattr("maskrcnn.export.command.export_onnx", lambda model, path: written.append((model, path)))
    code, said, _ = call("export", runs / "plain", "--to", "onnx", "--out", tmp_path / "new/m.onnx")
    assert code == 0
    ((model, path),) = written
    assert path == tmp_path / "new/m.onnx"
    assert not model.training
    assert "image [3, height, width] in 0..1 -> boxes, labels, scores, masks, roi_masks, mask_rois" in said


def test_files_that_are_there_stay_unless_overwrite_says_otherwise(runs, call, tmp_path):
    (tmp_path / "m.json").write_text("mine")
    arguments = ("export", runs / "plain", "--to", "torchvision", "--out", tmp_path / "m.pth")
    code, _, errors = call(*arguments)
    assert code == 2
    assert f"{tmp_path / 'm.json'}: exists already" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]
    assert call(*arguments, "--overwrite")[0] == 0
    assert torch.load(tmp_path / "m.pth", weights_only=True)
    assert (tmp_path / "m.json").read_text() != "mine"


@pytest.mark.parametrize(("out", "why"), [("m.pt", "ends in .onnx"), (".", "ends in .onnx")])
def test_out_must_name_a_file_of_the_kind(runs, call, tmp_path, out, why):
    code, _, errors = call("export", runs / "plain", "--to", "onnx", "--out", tmp_path / out)
    assert code == 2
    assert why in errors


def test_a_checkpoint_that_is_not_there_is_named(call, tmp_path):
    code, _, errors = call("export", tmp_path / "no.pt", "--to", "safetensors")
    assert code == 2
    assert f"{tmp_path / 'no.pt'}: no such file" in errors


def test_the_help_says_what_the_outputs_are_and_gives_examples(call):
    code, said, _ = call("export", "--help")
    assert code == 0
    for text in ("mask_rois", "--preset torchvision", "predict.py --checkpoint best.safetensors", "examples:"):
        assert text in said
