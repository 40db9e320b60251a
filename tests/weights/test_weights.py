import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import resnet50
from torchvision.models.detection import maskrcnn_resnet50_fpn

from maskrcnn import Config, MaskRCNN, __version__
from maskrcnn.weights import LoadReport, load, load_checkpoint, save_checkpoint, translate

CLASSES = 4  # with background


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=CLASSES).eval()
    for parameter in model.parameters():  # biases and norms start at 0 and 1, so that mixing them up would not show
        if parameter.dim() == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.0)
    return model


@pytest.fixture(scope="module")
def config():
    return Config.torchvision(CLASSES)


@pytest.fixture(scope="module")
def model(config):
    return MaskRCNN(config).eval()


@pytest.fixture(scope="module")
def small():
    """A model of few numbers, for what is about files and names."""
    return Config.small(box_head_dim=8, mask_head_channels=8, fpn_channels=32)


def forget(model):
    with torch.no_grad():
        for value in model.state_dict().values():
            value.zero_()


def published_before_2022(name):
    """The names of the file maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth."""
    name = re.sub(r"(backbone\.fpn\.\w+_blocks\.\d)\.0\.", r"\1.", name)
    name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
    return re.sub(r"roi_heads\.mask_head\.(\d)\.0\.", lambda m: f"roi_heads.mask_head.mask_fcn{int(m[1]) + 1}.", name)


@pytest.mark.parametrize("name", ["new", "old"])
def test_every_name_of_torchvisions_mask_rcnn_is_read(theirs, model, name):
    forget(model)
    state = theirs.state_dict()
    if name == "old":
        state = {published_before_2022(name): value for name, value in state.items()}
        assert "backbone.fpn.inner_blocks.0.weight" in state
        assert "rpn.head.conv.weight" in state
        assert "roi_heads.mask_head.mask_fcn1.weight" in state
    report = load(model, state)
    assert sorted(report.loaded) == sorted(name for name in model.state_dict() if "num_batches" not in name)
    assert not report.missing
    assert not report.unexpected
    assert not report.skipped
    mask_logits = theirs.roi_heads.mask_predictor.mask_fcn_logits
    assert model.mask_head.mask_logits.weight.equal(mask_logits.weight[1:])  # without the mask of background


@torch.inference_mode()
def test_every_module_computes_what_torchvisions_does(theirs, model):
    forget(model)
    load(model, theirs.state_dict())
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(1, 3, 64, 64, generator=generator)
    maps = theirs.backbone(pixels)
    for actual, expected in zip(model.backbone(pixels).maps, maps.values(), strict=True):
        assert (actual - expected).abs().max() <= 1e-4 * expected.abs().max()
    maps = [torch.randn(1, 256, 4, 4, generator=generator)]
    objectness, deltas = theirs.rpn.head(maps)
    rpn = model.rpn_head(maps)
    torch.testing.assert_close(rpn.objectness.view(4, 4, 3), objectness[0][0].permute(1, 2, 0), atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(rpn.deltas.view(4, 4, 12), deltas[0][0].permute(1, 2, 0), atol=1e-3, rtol=1e-4)
    rois = torch.randn(2, 256, 7, 7, generator=generator)
    logits, deltas = theirs.roi_heads.box_predictor(theirs.roi_heads.box_head(rois))
    box = model.box_head(rois)
    torch.testing.assert_close(box.class_logits, logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(box.box_deltas.flatten(1), deltas, atol=1e-4, rtol=1e-4)
    masks = theirs.roi_heads.mask_predictor(theirs.roi_heads.mask_head(rois))
    actual = model.mask_head(rois, torch.tensor([1, 2])).mask_logits
    torch.testing.assert_close(actual, masks[:, 1:], atol=1e-3, rtol=1e-3)


def test_a_published_classifier_fills_the_resnet_alone(model):
    classifier = resnet50(weights=None).state_dict()
    forget(model)
    report = load(model, classifier)
    assert sorted(report.loaded) == sorted(name for name in model.state_dict() if name.startswith("backbone.resnet."))
    assert model.backbone.resnet.res5[2].conv3.weight.equal(classifier["layer4.2.conv3.weight"])
    assert model.backbone.resnet.stem.norm.running_var.equal(classifier["bn1.running_var"])
    assert not report.skipped
    assert not report.unexpected
    assert "backbone.fpn.lateral.0.0.weight" in report.missing
    assert report.random_parts == ["rpn_head", "box_head", "mask_head"]


def test_another_number_of_classes_leaves_the_last_layers_alone(theirs, model):
    load(model, theirs.state_dict())
    before = model.box_head.class_logits.weight.clone()
    state = theirs.state_dict()
    for name in ("box_predictor.cls_score", "box_predictor.bbox_pred", "mask_predictor.mask_fcn_logits"):
        for kind in ("weight", "bias"):
            value = state[f"roi_heads.{name}.{kind}"]
            state[f"roi_heads.{name}.{kind}"] = torch.cat([value, value]) * 0
    state["rpn.head.cls_logits.bias"] = torch.tensor([7.0, 8.0, 9.0])
    report = load(model, state)
    assert model.rpn_head.objectness.bias.tolist() == [7, 8, 9]
    assert model.box_head.class_logits.weight.equal(before)
    assert report.skipped["box_head.class_logits.weight"] == "shape [8, 1024], here [4, 1024]"
    assert len(report.skipped) == 6
    assert len(report.missing) == 6


def test_names_of_our_own_are_left_as_they_are():
    with torch.device("meta"):
        names = list(MaskRCNN(Config.small()).state_dict())
    assert [translate(name, torch.zeros(3))[0] for name in names] == names
    assert len(translate("mask_head.mask_logits.weight", torch.zeros(3))[1]) == 3  # has no mask of background to drop


def test_no_two_published_names_become_one(theirs):
    new_names = [translate(name, value)[0] for name, value in theirs.state_dict().items()]
    assert len(set(new_names)) == len(new_names)


def test_what_means_nothing_here_is_reported():
    with torch.device("meta"):
        model = MaskRCNN(Config.small())
    state = {
        "rpn.head.cls_logits.bias": torch.zeros(3, device="meta"),
        "roi_heads.keypoint_head.0.bias": torch.zeros(3),
    }
    assert load(model, state).unexpected == ["roi_heads.keypoint_head.0.bias"]


def test_a_report_prints_counts_and_reasons():
    report = LoadReport("a model", ["a", "b"], {"c": "shape [1], here [2]"}, ["d"], ["e"], {"f": "background, x"})
    assert str(report).splitlines() == [
        "a model: 2 loaded, 1 skipped, 1 missing, 1 unexpected",
        "  d stays random, the file has nothing for it",
        "  skipped c: shape [1], here [2]",
        "  unexpected e",
        "  warning: a model is of another architecture: what is unexpected has no place in this model",
        "  loaded f of background, x; its other classes are new",
    ]


def test_of_many_names_a_report_prints_some_and_how_many_more_there_are():
    missing = ["a.bias", *(f"a.{k}.weight" for k in range(9)), *(f"b.{k}" for k in range(50))]
    lines = str(LoadReport("a model", ["a.weight"], {}, missing, [], {}, "its eps is another")).splitlines()
    assert lines[1] == "  b stays random, the file has nothing for it"
    assert lines[2] == "  missing a.bias"
    assert lines[-2:] == ["  missing 2 more", "  warning: its eps is another"]
    assert len(lines) == 12


def test_norms_with_another_eps_are_told(theirs, model):
    """A model that torchvision has trained from random weights has 1e-5, a published one 0."""
    assert "norms have an eps of 1e-05, and those of this model 0.0" in load(model, theirs.state_dict()).remark
    exact = MaskRCNN(replace(model.config, norm_eps=1e-5))
    assert load(exact, theirs.state_dict()).remark == ""


def test_weights_of_another_width_are_skipped_and_not_copied_class_by_class(small):
    old, new = MaskRCNN(replace(small, class_names=("a", "b"))), MaskRCNN(replace(small, box_head_dim=16))
    report = load(new, {"config": old.config.to_dict(), "model": old.state_dict()})
    assert report.skipped["box_head.class_logits.weight"] == "shape [3, 8], here [6, 16]"
    assert "box_head.class_logits.bias" not in report.skipped


@pytest.mark.parametrize("agnostic", [False, True])
def test_a_checkpoint_of_other_classes_gives_those_that_both_have(small, tmp_path, agnostic):
    """Class k has row k of class_logits, rows 4 k to 4 k + 3 of box_deltas and row k - 1 of mask_logits; 0 is background."""
    options = {"class_agnostic_boxes": agnostic, "class_agnostic_masks": agnostic}
    old = MaskRCNN(replace(small, class_names=("a", "b", "c"), **options))
    save_checkpoint(tmp_path / "best.pt", old)
    new = MaskRCNN(replace(small, class_names=("x", "c", "a"), **options))
    fresh = {name: value.clone() for name, value in new.state_dict().items()}
    report = load(new, tmp_path / "best.pt")
    loaded, theirs = new.state_dict(), old.state_dict()
    assert not report.missing
    assert not report.skipped
    for kind in ("weight", "bias"):
        logits = loaded[f"box_head.class_logits.{kind}"]
        assert torch.equal(logits[[0, 3, 2]], theirs[f"box_head.class_logits.{kind}"][[0, 1, 3]])
        assert torch.equal(logits[1], fresh[f"box_head.class_logits.{kind}"][1])
        deltas, masks = (loaded[f"{name}.{kind}"] for name in ("box_head.box_deltas", "mask_head.mask_logits"))
        their_deltas, their_masks = (theirs[f"{n}.{kind}"] for n in ("box_head.box_deltas", "mask_head.mask_logits"))
        if agnostic:
            assert torch.equal(deltas, their_deltas)
            assert torch.equal(masks, their_masks)
        else:
            assert torch.equal(deltas[8:12], their_deltas[12:16])
            assert torch.equal(deltas[4:8], fresh[f"box_head.box_deltas.{kind}"][4:8])
            assert torch.equal(masks[[1, 2]], their_masks[[2, 0]])
    assert report.by_class["box_head.class_logits.bias"] == "background, c, a"
    assert len(report.by_class) == (2 if agnostic else 6)


def test_a_checkpoint_with_more_classes_gives_those_that_both_have(small, tmp_path):
    old, new = (MaskRCNN(replace(small, class_names=names)) for names in (("a", "b", "c"), ("b",)))
    save_checkpoint(tmp_path / "best.pt", old)
    load(new, tmp_path / "best.pt")
    assert torch.equal(new.box_head.class_logits.weight, old.box_head.class_logits.weight[[0, 2]])


def test_a_checkpoint_gives_the_model_back_and_what_was_saved_with_it(small, tmp_path):
    model = MaskRCNN(small)  # at random, so that no other model is like it
    save_checkpoint(tmp_path / "best.pt", model, epoch=3, optimizer={"lr": 0.1})
    restored, extra = load_checkpoint(tmp_path / "best.pt")
    assert restored.config == small
    assert all(value.equal(model.state_dict()[name]) for name, value in restored.state_dict().items())
    assert extra == {"epoch": 3, "optimizer": {"lr": 0.1}, "version": __version__}
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]


def test_the_weights_of_a_checkpoint_fill_a_model_that_exists_already(model, tmp_path):
    torch.save({"config": {}, "model": {"rpn_head.deltas.bias": torch.arange(12.0)}}, tmp_path / "best.pt")
    assert load(model, tmp_path / "best.pt").loaded == ["rpn_head.deltas.bias"]
    assert model.rpn_head.deltas.bias.tolist() == list(range(12))


def test_a_crash_while_saving_leaves_the_old_checkpoint_whole(small, tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    path.write_bytes(b"the checkpoint before")

    def crash(_object, partial):
        Path(partial).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", crash)
    with torch.device("meta"), pytest.raises(OSError, match="No space"):
        save_checkpoint(path, MaskRCNN(small), epoch=2)
    assert path.read_bytes() == b"the checkpoint before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_bit_that_flipped_is_noticed_or_changes_nothing(small, tmp_path):
    """torch.load itself reads most such files without a word."""
    path = tmp_path / "best.pt"
    torch.manual_seed(0)
    save_checkpoint(path, MaskRCNN(small), step=7)
    before, content = load_checkpoint(path), path.read_bytes()
    assert before[1]["version"] == __version__
    random, noticed = np.random.default_rng(0), 0
    places = [*random.integers(len(content), size=20), *range(0, 200, 10), *range(len(content) - 200, len(content), 10)]
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        try:
            model, saved = load_checkpoint(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017
            noticed += 1
            continue
        assert saved["step"] == 7
        assert all(map(torch.equal, model.state_dict().values(), before[0].state_dict().values()))
    assert noticed > 20


def test_a_file_that_does_not_exist_is_named(small, tmp_path):
    with torch.device("meta"):
        model = MaskRCNN(small)
    for read in (load_checkpoint, lambda path: load(model, path)):
        with pytest.raises(ValueError, match=r"gone\.pt: no such file"):
            read(tmp_path / "gone.pt")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a checkpoint at all, but text",
        b"\x89PNG\r\n\x1a\n" + bytes(64),
        bytes(64),
        b"\x80\x02half",
        b"PK\x03\x04half",
    ],
    ids=["empty", "text", "png", "zeros", "half a pickle", "half a zip"],
)
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "broken.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.pt: not a readable PyTorch checkpoint"):
        load_checkpoint(path)


def test_a_program_in_place_of_weights_is_named_and_not_run(tmp_path):
    module = torch.nn.Linear(2, 2)
    torch.save(module, tmp_path / "whole.pt")
    with pytest.raises(
        ValueError, match=r"needs code to be read \(torch\.nn\.modules\.linear\.Linear\), and none is run"
    ):
        load_checkpoint(tmp_path / "whole.pt")
    torch.jit.save(torch.jit.trace(module, torch.zeros(1, 2)), tmp_path / "script.pt")
    with pytest.raises(ValueError, match=r"it is a program of TorchScript: write the state_dict\(\)"):
        load_checkpoint(tmp_path / "script.pt")
    (tmp_path / "best.onnx").write_bytes(b"\x08\x0a\x12\x07pytorch")
    with pytest.raises(ValueError, match=r"an ONNX file is a program .*: give the best\.pt"):
        load_checkpoint(tmp_path / "best.onnx")
    (tmp_path / "lfs.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(ValueError, match="it is text: a web page in place of a download, or a pointer of git-lfs"):
        load_checkpoint(tmp_path / "lfs.pth")


def test_a_checkpoint_that_was_cut_off_is_named(tmp_path):
    path = tmp_path / "best.pt"
    torch.save({"config": {}, "model": {"weight": torch.zeros(10_000)}}, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"best\.pt: not a readable PyTorch checkpoint; was it cut off"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3), "holds a Tensor, not a dict of weights"),
        (
            {"rpn_head.conv.weight": torch.zeros(1)},
            "not a checkpoint of train.py, which has the entries config and model",
        ),
        ({"config": "yolo.yaml", "model": {}}, "holds no weights .it is empty.; give a checkpoint of train.py"),
        ({"config": {"learning_rate": 1}, "model": {}}, "another version .*unknown learning_rate"),
        ({"config": {"norm": "groupnorm"}, "model": {}}, "another version .*Missing key"),
        ({"config": {"norm": "layernorm"}, "model": {}}, "another version .*'layernorm' is not known"),
    ],
)
def test_a_file_of_something_else_says_what_it_is_not(tmp_path, content, message):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(ValueError, match=rf"(?s)other\.pt: .*{message}"):
        load_checkpoint(path)


def test_a_checkpoint_without_hundreds_of_weights_is_refused_in_a_line(tmp_path):
    torch.save({"config": Config.small().to_dict(), "model": {}}, tmp_path / "old.pt")
    with pytest.raises(ValueError, match=r"old\.pt") as error:
        load_checkpoint(tmp_path / "old.pt")
    assert len(str(error.value)) < 600


def test_a_state_dict_of_which_nothing_fits_is_refused():
    with torch.device("meta"):
        model = MaskRCNN(Config.small())
    with pytest.raises(ValueError, match=r"no name in it fits this model \(it has encoder.a, \.\.\.\)"):
        load(model, {"encoder.a": torch.zeros(1)})
