"""Weights that others have trained, in the commands: begin with them, part by part, and predict with them."""

import pytest
import torch
from torchvision.models import resnet18
from torchvision.models.detection import MaskRCNN as TorchvisionMaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from maskrcnn.weights import load_checkpoint, read_weights


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file of torchvision's Mask R-CNN, with a ResNet-18."""
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None)
    path = tmp_path_factory.mktemp("published") / "model.pth"
    torch.save(TorchvisionMaskRCNN(backbone, num_classes=4).state_dict(), path)
    return path


def test_training_begins_with_them_and_moves_what_it_is_told_to(published, smears, tmp_path, run):
    result = run(
        "train.py", "--data", smears, "--weights", published, "--schedule", "heads:1,5+:1", "--out", tmp_path / "run",
        "--override", "min_size=96", "--override", "max_size=160", "--ema-decay", 0,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "torchvision's maskrcnn_resnet18_fpn: " in result.stdout
    assert "6 skipped, 6 missing, 0 unexpected" in result.stdout  # the last layers, of other classes
    before = read_weights(published).state
    model, saved = load_checkpoint(tmp_path / "run/last.pt")
    assert model.config.norm == "frozen_batchnorm"
    assert model.config.backbone == "resnet18"
    assert len(saved["history"]) == saved["history"][-1]["epoch"] == 2
    resnet = model.backbone.resnet
    changed = [
        any(not value.equal(before[f"backbone.resnet.{stage}.{name}"]) for name, value in part.named_parameters())
        for stage, part in resnet.named_children()
    ]
    assert changed == [False, False, False, False, True]  # of stem, res2 .. res5


def test_the_papers_models_are_presets_that_need_weights(smears, tmp_path, call):
    code, said = call("train.py", "--data", smears, "--preset", "R50-C4", "--out", tmp_path / "run")
    assert code == 2
    assert "give --weights with its statistics, such as imagenet" in said
    code, said = call("train.py", "--data", "nowhere", "--trainable", "heads", "--out", tmp_path / "run")
    assert code == 2
    assert "--trainable leaves layers of the ResNet as they are, which are random: give --weights" in said
    assert not (tmp_path / "run").exists()


def test_norms_that_would_stay_random_for_ever_are_refused(smears, tmp_path, call):
    """The third stage of a ResNet-34 has four blocks more than that of a ResNet-18."""
    path = tmp_path / "resnet18.pth"
    torch.save(resnet18(weights=None).state_dict(), path)
    code, said = call(
        "train.py", "--data", smears, "--weights", path, "--override", "backbone=resnet34", "--out", tmp_path / "run"
    )
    assert code == 2
    assert "lacks 16 norms of this model, such as backbone.resnet.res2.2.norm1, which are frozen" in said


def test_parts_of_detectors_are_called_what_they_are(published, tmp_path, call):
    state = torch.load(published, weights_only=True)
    for name, words in (
        ("faster", "torchvision's Faster R-CNN, without a mask head"),
        ("half", "a part of torchvision's"),
    ):
        left = ".mask_" if name == "faster" else ".box_predictor."
        torch.save({key: value for key, value in state.items() if left not in key}, tmp_path / f"{name}.pth")
        code, said = call("predict.py", "--checkpoint", tmp_path / f"{name}.pth", "x.png")
        assert code == 2
        assert f"{words}" in said
        assert "cannot detect" in said


def test_they_predict_as_they_are(published, smears, tmp_path, call, capsys):
    image = smears / "val/image/Neutrophil/Neutrophil_9.png"
    code, errors = call("predict.py", "--checkpoint", published, image, "--out", tmp_path / "out")
    assert code == 0, errors
    header = (tmp_path / "out/differential.csv").read_text(encoding="utf-8-sig").splitlines()[0]
    assert header.startswith("file,cells,1,2,3,")


def test_a_schedule_has_epochs_of_its_own(smears, tmp_path, call):
    code, said = call("train.py", "--data", smears, "--schedule", "heads:1", "--epochs", 3, "--out", tmp_path / "run")
    assert code == 2
    assert "argument --schedule: says the epochs itself" in said
    code, said = call("train.py", "--data", smears, "--schedule", "heads", "--out", tmp_path / "run")
    assert code == 2
    assert "such as heads:20" in said
