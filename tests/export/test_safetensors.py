"""Checkpoints as safetensors: what is written is what is read, bit by bit."""

import importlib.util
import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from maskrcnn import Config, MaskRCNN
from maskrcnn.export import export_safetensors
from maskrcnn.inference.colours import ColourRange
from maskrcnn.inference.scale import TrainingScale
from maskrcnn.weights import load_checkpoint, read_weights, trained_on

CONFIG = Config.small(box_head_dim=8, mask_head_channels=8, fpn_channels=32, class_names=("Zelle", "细胞"))
EXTRA = {
    "scale": TrainingScale(1.5, True, (120, 160), (20.0, 30.0, 40.0)).entries(),
    "colours": torch.rand(4, 3, 6),
    "trained_on": ["a1", "b2"],
    "history": [{"epoch": 1, "val": {"mask_ap": 0.5, "nothing": None}}],
}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MaskRCNN(CONFIG)


@pytest.fixture
def file(model, tmp_path):
    of_resuming = {"optimizer": {"state": {0: torch.zeros(1)}}, "step": 3, "arguments": {}}
    export_safetensors(model, {**EXTRA, **of_resuming}, tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def test_the_round_trip_keeps_every_bit_of_the_weights_and_the_config(model, file):
    read, _ = load_checkpoint(file)
    assert read.config == CONFIG
    expected = model.state_dict()
    assert read.state_dict().keys() == expected.keys()
    assert all(value.equal(expected[name]) for name, value in read.state_dict().items())


def test_other_programs_read_the_weights(model, file):
    weight = load_file(file)["backbone.resnet.stem.conv.weight"]
    assert weight.equal(model.backbone.resnet.stem.conv.weight)


def test_what_predict_reads_beside_the_weights_survives_and_what_resuming_reads_does_not(file):
    _, extra = load_checkpoint(file)
    assert extra.keys() == EXTRA.keys()
    assert extra["colours"].equal(EXTRA["colours"])
    assert extra["history"] == EXTRA["history"]
    assert TrainingScale.of_checkpoint(extra) == TrainingScale(1.5, True, (120, 160), (20.0, 30.0, 40.0))
    assert ColourRange.of_checkpoint(extra).quantiles.shape == (4, 3, 6)
    assert trained_on(file) == ["a1", "b2"]


def test_an_entry_that_json_has_not_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="of the entries odd one is neither a tensor nor plain values"):
        export_safetensors(model, {"odd": object()}, tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [0, 7, 100, 3000, -1])
def test_a_file_that_is_cut_off_is_named(file, length):
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"m\.safetensors: not a readable safetensors file; was it cut off"):
        load_checkpoint(file)


@pytest.mark.parametrize("config", ["{", "3", '[["a"]]'])
def test_metadata_that_are_no_config_are_refused(tmp_path, config):
    save_file({"a": torch.zeros(1)}, tmp_path / "m.safetensors", {"config": config})
    with pytest.raises(ValueError, match=r"m\.safetensors: its metadata are not those of a checkpoint"):
        load_checkpoint(tmp_path / "m.safetensors")


def test_metadata_of_another_version_are_named(tmp_path):
    metadata = {"config": json.dumps({"no_such_field": 1})}
    save_file({"a": torch.zeros(1)}, tmp_path / "m.safetensors", metadata)
    with pytest.raises(ValueError, match=r"another version of this model.*no_such_field"):
        load_checkpoint(tmp_path / "m.safetensors")


def test_the_weights_of_another_program_are_read_by_name(tmp_path):
    save_file({"fc.weight": torch.ones(2, 2)}, tmp_path / "m.safetensors")
    assert read_weights(tmp_path / "m.safetensors").state["fc.weight"].equal(torch.ones(2, 2))


def test_a_missing_package_is_named_with_the_remedy(model, file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ValueError, match=r"m\.safetensors: .*safetensors is needed: pip install '\.\[export\]'"):
        load_checkpoint(file)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "maskrcnn.export.installed.find_spec", lambda name: None if name == "safetensors" else found(name)
    )
    with pytest.raises(ValueError, match=r"^safetensors is not installed: pip install '\.\[export\]'$"):
        export_safetensors(model, {}, tmp_path / "n.safetensors")
