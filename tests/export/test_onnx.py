"""ONNX files, run by ONNX Runtime."""

import importlib.util
import json
from dataclasses import replace

import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torchvision.ops import nms, roi_align

from benchmarks.speed.torchvision_pair import smooth_images
from maskrcnn import Config, MaskRCNN
from maskrcnn.export import Exportable, export_onnx, operators
from maskrcnn.export.onnx import OPSET, Outputs
from maskrcnn.heads.paste import paste_masks

TINY = {
    "backbone": "resnet18",
    "min_size": 96,
    "max_size": 160,
    "box_score_thresh": 0.3,
    "box_nms_thresh": 0.4,
    "rpn_post_nms_top_n_test": 100,
}
NARROW = {**TINY, "box_head_dim": 64, "fpn_channels": 32, "mask_head_channels": 32}
TORCHVISION = Config.torchvision(6, **NARROW)
LISC = Config.lisc(zero_init_residual=False, **NARROW)
# Enlarged, of the model's size, reduced and limited by the longer side; none of them square.
SIZES = ((80, 64), (96, 128), (192, 400))


def detect(session, image):
    return Outputs(*map(torch.from_numpy, session.run(list(Outputs._fields), {"image": image.numpy()})))


def assert_the_same(actual, expected):
    """Boxes whose scores differ by less than float32 resolves may be in another order."""
    assert len(expected["scores"]) >= 10
    assert len(actual.scores) == len(expected["scores"]) < 100  # the limit
    torch.testing.assert_close(actual.scores, expected["scores"], atol=1e-4, rtol=0)
    distance = torch.cdist(actual.boxes, expected["boxes"]) + 1e3 * (
        actual.labels[:, None] != expected["labels"]
    )  # [D, D]
    nearest = distance.argmin(dim=1)
    assert sorted(nearest.tolist()) == list(range(len(nearest)))
    assert (actual.scores[nearest.argsort()] - expected["scores"]).abs().max() <= 1e-4
    assert actual.labels.tolist() == expected["labels"][nearest].tolist()
    torch.testing.assert_close(actual.boxes, expected["boxes"][nearest], atol=1e-2, rtol=0)
    torch.testing.assert_close(actual.masks, expected["masks"][nearest], atol=5e-3, rtol=0)


@torch.inference_mode()
def test_onnx_runtime_detects_as_the_model_does_in_images_of_any_size(scattered, tmp_path):
    """All that one file has to show is in this one test, as to write it takes most of a minute."""
    model, path = scattered(LISC), tmp_path / "m.onnx"
    export_onnx(model, path)
    session = onnxruntime.InferenceSession(path)
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("image", [3, "height", "width"])]
    for image in smooth_images(*SIZES):
        actual = detect(session, image)
        assert_the_same(actual, model([image])[0])
        pasted = paste_masks(actual.roi_masks[:, 0], actual.mask_rois, image.shape[1:])[:, None]
        torch.testing.assert_close(pasted, actual.masks, atol=1e-4, rtol=0)

    # The names of the classes and the config are in it, and so are the weights.
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["class_names"])[4] == "neutrophil"
    assert Config.from_dict(json.loads(metadata["config"])) == LISC
    assert list(path.parent.iterdir()) == [path]

    # An image without detections gives empty outputs.
    graph = onnx.load(path)
    (bias,) = (value for value in graph.graph.initializer if value.name == "model.box_head.class_logits.bias")
    bias.CopyFrom(onnx.helper.make_tensor(bias.name, onnx.TensorProto.FLOAT, [6], [100.0, 0, 0, 0, 0, 0]))
    found = detect(onnxruntime.InferenceSession(graph.SerializeToString()), torch.rand(3, 50, 70))
    shapes = [tuple(values.shape) for values in found]
    assert shapes == [(0, 4), (0,), (0,), (0, 1, 50, 70), (0, 1, 28, 28), (0, 4)]

    # The model is as it was.
    assert type(model.backbone.resnet.stem.norm) is not nn.GroupNorm
    assert model.backbone.resnet.stem.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert type(model.roi_extractor.pooler).__name__ == "RoIPooler"


VARIANTS = {
    "torchvision": TORCHVISION,
    "second version": Config.torchvision_v2(6, **NARROW),
    "small": Config.small(**NARROW),
    "paper": Config(**NARROW),
    "c4": Config.paper("R50-C4", **TINY),
    "agnostic": Config(**NARROW, class_agnostic_nms=True, pooler_sampling_ratio=0, detection_min_box_size=20),
}


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
@torch.inference_mode()
def test_what_is_exported_computes_what_the_model_does(config, scattered):
    """In PyTorch, for every variant; that ONNX's operators do the same is tested above and below."""
    model = scattered(config)
    for image in smooth_images(*SIZES[1:]):
        assert_the_same(Exportable(model)(image), model([image])[0])


def test_another_pooling_than_roi_align_is_refused_by_name(tmp_path):
    model = MaskRCNN(replace(TORCHVISION, roi_pooling="crop_and_resize"))
    with pytest.raises(ValueError, match="roi_pooling='crop_and_resize' has no counterpart in ONNX"):
        export_onnx(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_missing_is_named_with_the_remedy(monkeypatch, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "maskrcnn.export.installed.find_spec", lambda name: None if name == "onnxscript" else found(name)
    )
    with pytest.raises(ValueError, match=r"^onnxscript is not installed: pip install '\.\[export\]'$"):
        export_onnx(MaskRCNN(TORCHVISION), tmp_path / "m.onnx")


# The operators one by one.


class Calls(nn.Module):
    def __init__(self, operator, *constants):
        super().__init__()
        self.operator, self.constants = operator, constants

    def forward(self, *inputs):
        return self.operator(*inputs, *self.constants)


def run(module, inputs, dynamic_shapes):
    program = torch.onnx.export(
        module.eval(),
        inputs,
        dynamo=True,
        dynamic_shapes=(dynamic_shapes,),
        custom_translation_table=operators.translations(),
        opset_version=OPSET,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    return lambda *inputs: [
        torch.from_numpy(output)
        for output in session.run(None, {i.name: x.numpy() for i, x in zip(session.get_inputs(), inputs, strict=True)})
    ]


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_pooling_is_torchvisions_roi_align_from_the_level_of_each_box(aligned, sampling_ratio):
    generator = torch.Generator().manual_seed(3)
    first, second = torch.rand(1, 5, 20, 30, generator=generator), torch.rand(1, 5, 10, 15, generator=generator)
    corners = torch.rand(9, 4, generator=generator) * 80 - 10
    boxes = torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:].clamp(min=0.5)], dim=1)
    levels = torch.tensor([1, 0, 0, 1, 1, 0, 1, 0, 0])
    scales = (0.5, 0.25)

    class Pool(nn.Module):
        def forward(self, first, second, boxes, levels):
            return operators.pool([first, second], boxes, levels, scales, 4, sampling_ratio, aligned)

    count = torch.export.Dim("count")
    shapes = {"first": None, "second": None, "boxes": {0: count}, "levels": {0: count}}
    inputs = first, second, boxes, levels
    program = torch.onnx.export(
        Pool().eval(), inputs, dynamo=True, dynamic_shapes=shapes, opset_version=OPSET, verbose=False,
        custom_translation_table=operators.translations(),
    )  # fmt: skip
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    expected = torch.stack(
        [
            roi_align((first, second)[level], [box[None]], 4, scales[level], sampling_ratio, aligned)[0]
            for box, level in zip(boxes, levels.tolist(), strict=True)
        ]
    )
    for keep in (slice(9), slice(0), levels == 1):  # none, and a level without any
        names = zip(("first", "second", "boxes", "levels"), (first, second, boxes[keep], levels[keep]), strict=True)
        (actual,) = session.run(None, {name: value.numpy() for name, value in names})
        torch.testing.assert_close(torch.from_numpy(actual), expected[keep], atol=1e-5, rtol=0)


def test_nms_is_torchvisions_in_each_group_without_scores_at_the_threshold():
    generator = torch.Generator().manual_seed(4)
    corners = torch.rand(3, 60, 2, generator=generator) * 50
    boxes = torch.cat([corners, corners + 5 + 20 * torch.rand(3, 60, 2, generator=generator)], dim=-1)
    scores = torch.rand(3, 60, generator=generator)
    scores[2] = 0.25  # the threshold
    module = Calls(operators.nms_per_group, 0.5, 0.25)
    (actual,) = run(module, (boxes, scores), (None, None))(boxes, scores)
    expected = []
    for group in range(2):
        candidates = torch.where(scores[group] > 0.25)[0]
        expected += [[group, int(candidates[i])] for i in nms(boxes[group][candidates], scores[group][candidates], 0.5)]
    assert actual.tolist() == expected
    assert module(boxes, scores).tolist() == expected
    assert len(expected) < int((scores[:2] > 0.25).sum())


@pytest.mark.parametrize(("antialias", "size_divisible"), [(False, 32), (True, 64)])
def test_images_are_resized_and_padded_as_the_model_does(antialias, size_divisible):
    module = Calls(operators.preprocess, 80, 133, [0.5, 0.4, 0.3], [0.2, 0.3, 0.2], size_divisible, antialias)
    sides = {1: torch.export.Dim("height"), 2: torch.export.Dim("width")}
    resize = run(module, (torch.rand(3, 50, 60),), (sides,))
    for image in smooth_images((48, 64), (80, 96), (480, 640), (64, 320), (300, 170)):
        pixels, size = resize(image)
        expected_pixels, expected_size = module(image)
        assert size.tolist() == expected_size.tolist()
        torch.testing.assert_close(pixels, expected_pixels, atol=1e-4, rtol=0)
        assert not pixels[..., int(size[0]) :, :].any()
        assert not pixels[..., int(size[1]) :].any()
