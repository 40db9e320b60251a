"""Weights of other programs and from other places: read as what they are, or refused by name."""

import hashlib
from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.models import resnet18, resnet34, resnet50, resnet101
from torchvision.models.detection import maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2

from maskrcnn import Config, MaskRCNN
from maskrcnn.weights import (
    download,
    load,
    load_checkpoint,
    preset_for,
    read_weights,
    save_checkpoint,
    source_of,
    trained_on,
)
from maskrcnn.weights.coco import COCO_CLASSES, COCO_NAMES

SIZE = {"min_size": 256, "max_size": 320}


def scatter(model: nn.Module) -> nn.Module:
    """Random norms, as training leaves them, and last layers that find something."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            kind = name.rpartition(".")[2]
            if value.dim() == 1 and kind in ("weight", "bias", "running_mean"):
                low, high = {"weight": (0.7, 1.2), "bias": (-0.1, 0.1), "running_mean": (-0.2, 0.2)}[kind]
                value.copy_(torch.rand(value.shape, generator=generator) * (high - low) + low)
                if "bn3" in name and kind == "weight":
                    value.mul_(0.3)
        for name, factor in (("rpn.head.cls_logits", 20), ("roi_heads.box_predictor.cls_score", 40)):
            if f"{name}.weight" in model.state_dict():
                model.get_parameter(f"{name}.weight").mul_(factor)
    return model.eval()


@pytest.fixture(scope="module")
def second():
    """torchvision's second version, with COCO's outputs."""
    torch.manual_seed(0)
    return scatter(maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=91, **SIZE))


@pytest.fixture(scope="module")
def first():
    torch.manual_seed(0)
    return scatter(maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=4, **SIZE))


@pytest.fixture(scope="module")
def image():
    coarse = torch.rand(1, 3, 12, 15, generator=torch.Generator().manual_seed(2))
    return nn.functional.interpolate(coarse, size=(192, 240), mode="bicubic")[0].clamp(0, 1)


@torch.inference_mode()
def test_the_second_version_detects_as_torchvisions(second, image):
    """Numbers that COCO never gave to an object have no output here, so they must not win there."""
    unused = sorted(set(range(1, 91)) - set(COCO_NAMES))
    second.roi_heads.box_predictor.cls_score.bias[unused] = -100
    model, extra = load_checkpoint(second.state_dict())
    assert extra == {}
    assert model.config.class_names == COCO_CLASSES
    model = MaskRCNN(replace(model.config, **SIZE)).eval()
    report = load(model, second.state_dict())
    assert [report.missing, report.unexpected, report.skipped] == [[], [], {}]
    assert report.kind == "torchvision's maskrcnn_resnet50_fpn_v2"
    logits = []
    hook = second.roi_heads.mask_predictor.register_forward_hook(lambda _m, _i, output: logits.append(output))
    expected, stages = second([image])[0], dict(model.stages([image]))
    hook.remove()
    found = stages["results"][0]
    assert len(found["scores"]) == len(expected["scores"]) > 20
    names = [COCO_NAMES[label] for label in expected["labels"].tolist()]
    assert [COCO_CLASSES[label - 1] for label in found["labels"].tolist()] == names
    assert (found["scores"] - expected["scores"]).abs().max() < 1e-4
    assert (found["boxes"] - expected["boxes"]).abs().max() < 1e-2
    theirs = logits[0][torch.arange(len(names)), expected["labels"]]  # pasted into the image they are rounded there
    assert (stages["mask_head"].select_class() - theirs).abs().max() < 1e-3


def test_a_detector_of_a_few_classes_is_built_from_its_shapes(first, tmp_path):
    torch.save(first.state_dict(), tmp_path / "model.pth")
    model, _ = load_checkpoint(tmp_path / "model.pth")
    assert model.config == Config.torchvision(4, norm_eps=1e-5)  # with usual norms, as it was not published
    frozen = {name: value for name, value in first.state_dict().items() if "num_batches" not in name}
    assert load_checkpoint(frozen)[0].config == Config.torchvision(4)
    assert model.box_head.box_deltas.weight.equal(first.roi_heads.box_predictor.bbox_pred.weight)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {f"_orig_mod.module.{name}": value for name, value in state.items()},
        lambda state: {"state_dict": {f"model.{name}": value for name, value in state.items()}, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"state": {}}, "epoch": 3},
        lambda state: {"n_averaged": torch.tensor(7), **{f"module.{name}": value for name, value in state.items()}},
    ],
    ids=["DataParallel", "compile", "Lightning", "references", "average"],
)
def test_wrappers_are_read_through(first, wrap):
    weights = read_weights(wrap(first.state_dict()))
    assert weights.kind == "torchvision's maskrcnn_resnet50_fpn"
    assert weights.state.keys() == read_weights(first.state_dict()).state.keys()


@pytest.mark.parametrize("build", [resnet18, resnet34, resnet50, resnet101])
@torch.inference_mode()
def test_classifiers_give_the_same_features(build):
    name = build.__name__
    torch.manual_seed(0)
    theirs = scatter(build(weights=None))
    state = {name: value for name, value in theirs.state_dict().items() if "num_batches" not in name}  # as old files
    config = Config(backbone=name, fpn_channels=32, box_head_dim=8, mask_head_channels=8)
    ours = MaskRCNN(config).eval()
    report = load(ours, state)
    assert report.kind == f"torchvision's {name}"
    assert sorted(report.loaded) == sorted(name for name in ours.state_dict() if name.startswith("backbone.resnet."))
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    expected = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
    for k, c in enumerate(ours.backbone.resnet(x), start=1):
        expected = getattr(theirs, f"layer{k}")(expected)
        assert (c - expected).abs().max() <= 1e-4 * expected.abs().max()
    with pytest.raises(ValueError, match=f"it is torchvision's {name} and cannot detect"):
        load_checkpoint(state)


def test_another_architecture_of_the_same_names_is_told(second):
    report = load(MaskRCNN(Config.torchvision(91)), second.state_dict())
    assert len(report.unexpected) > 50
    assert "warning: torchvision's maskrcnn_resnet50_fpn_v2 is of another architecture" in str(report)


def test_weights_that_are_not_finite_are_refused(first, tmp_path):
    state = {name: value.clone() for name, value in first.state_dict().items()}
    state["backbone.body.conv1.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"conv1\.weight has values that are not finite"):
        load_checkpoint(state)
    model = MaskRCNN(Config.small(box_head_dim=8, mask_head_channels=8, fpn_channels=32))
    with torch.no_grad():
        model.rpn_head.deltas.bias[0] = float("inf")
    save_checkpoint(tmp_path / "best.pt", model)
    with pytest.raises(ValueError, match=r"best\.pt: rpn_head\.deltas\.bias has values that are not finite"):
        load_checkpoint(tmp_path / "best.pt")


def test_the_preset_is_the_one_that_the_weights_fit_and_a_detector_has_a_config_of_its_own(first, second, tmp_path):
    for model, norm, classes in ((first, "frozen_batchnorm", 3), (second, "batchnorm", 80)):
        preset, config = preset_for(model.state_dict())
        assert (preset, config.norm, len(config.class_names)) == ("weights", norm, classes)
    assert preset_for("imagenet") == preset_for(resnet18(weights=None).state_dict()) == ("torchvision", None)
    options = {"box_head_dim": 8, "mask_head_channels": 32, "fpn_channels": 32}
    for preset, backbone in (("small", "resnet18"), ("lisc", "resnet34")):
        path = tmp_path / f"{preset}.pt"
        config = Config.lisc(backbone=backbone, **options)
        save_checkpoint(path, MaskRCNN(config), trained_on=["x"])
        assert preset_for(path) == (preset, config)
        assert trained_on(path) == ["x"]


@pytest.fixture
def published(monkeypatch, tmp_path):
    """A file that is published, in a world without a network; and the addresses that were asked for."""
    folder, content = tmp_path / "hub/checkpoints", b"weights"
    name = f"model-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    monkeypatch.setitem(download.DETECTORS, "coco", name)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    asked = []

    def fetch(url, path, hash_prefix):
        asked.append(url)
        assert name == f"model-{hash_prefix}.pth"
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", fetch)
    return folder / name, content, asked


def test_published_files_are_taken_from_the_cache(published):
    path, content, asked = published
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert download.published_file("coco") == path
    assert asked == []
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"not the published file, probably cut off; delete it"):
        download.published_file("coco")


def test_without_a_network_the_error_says_what_to_fetch_and_where_to_put_it(published):
    path, _, asked = published
    with pytest.raises(ValueError, match="no route to host") as error:
        load_checkpoint("coco")
    assert asked == [f"https://download.pytorch.org/models/{path.name}"]
    assert all(word in str(error.value) for word in (asked[0], path.name, str(path.parent)))


def test_names_of_published_files_hold_their_digests():
    files = [*download.IMAGENET.values(), *download.DETECTORS.values()]
    assert all(len(name.removesuffix(".pth").rpartition("-")[2]) == 8 for name in files)
    assert download.IMAGENET.keys() == {"resnet18", "resnet34", "resnet50", "resnet101"}


def test_a_file_may_bear_the_name_of_published_weights(tmp_path):
    assert source_of("coco") == "coco"
    assert not isinstance(source_of("./coco"), str)
