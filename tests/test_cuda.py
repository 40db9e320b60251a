"""On a GPU every operator, and the whole model, gives what it gives on the CPU. Runs where there is one."""

import copy
import dataclasses

import pytest
import torch
from torch import Tensor

from benchmarks.speed.operators import clustered_boxes, random_boxes
from benchmarks.speed.torchvision_pair import ellipse_targets, smooth_images
from maskrcnn import Config, MaskRCNN
from maskrcnn.heads import mask_targets, paste_masks
from maskrcnn.inference.device import autocast
from maskrcnn.matching import match
from maskrcnn.roi import roi_align
from maskrcnn.rpn import batched_nms, nms

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """TF32 has the mantissa of half precision; the CPU does not."""
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("sampling_ratio", [2, 0])
def test_roi_align_and_its_gradient(sampling_ratio):
    features, boxes = torch.randn(1, 8, 36, 45), random_boxes(64, 180, 144, 8, 120, CPU)
    results = []
    for device in (CPU, CUDA):
        input = features.to(device).requires_grad_()
        output = roi_align(input, [boxes.to(device)], 7, 0.25, sampling_ratio, aligned=True)
        output.square().sum().backward()
        results.append((output.cpu(), input.grad.cpu()))
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 1000, 6000])
def test_nms_keeps_the_same_boxes(count):
    for boxes in (random_boxes(count, 720, 576, 16, 128, CPU), clustered_boxes(count, 20, 720, 576, CPU)):
        scores, groups = torch.rand(count), torch.randint(3, (count,))
        assert torch.equal(nms(boxes, scores, 0.7), nms(boxes.cuda(), scores.cuda(), 0.7).cpu())
        on_gpu = batched_nms(boxes.cuda(), scores.cuda(), groups.cuda(), 0.5, 100)
        assert torch.equal(batched_nms(boxes, scores, groups, 0.5, 100), on_gpu.cpu())


def test_matching_mask_targets_and_pasting():
    iou = torch.rand(7, 500)
    assert torch.equal(
        match(iou, 0.7, 0.3, allow_low_quality_matches=True),
        match(iou.cuda(), 0.7, 0.3, allow_low_quality_matches=True).cpu(),
    )
    boxes, masks = random_boxes(9, 60, 48, 8, 40, CPU), torch.rand(9, 28, 28)
    torch.testing.assert_close(
        paste_masks(masks, boxes, (48, 60)), paste_masks(masks.cuda(), boxes.cuda(), (48, 60)).cpu()
    )
    arguments = [boxes], [torch.arange(9) % 2], [(torch.rand(2, 48, 60) > 0.5).float()]
    on_gpu = mask_targets(*([t.cuda() for t in argument] for argument in arguments), 28, True)
    torch.testing.assert_close(mask_targets(*arguments, 28, True).masks, on_gpu.masks.cpu())


def both_models() -> tuple[MaskRCNN, MaskRCNN]:
    torch.manual_seed(0)
    config = dataclasses.replace(Config.small(), min_size=128, max_size=192)
    model = MaskRCNN(config).eval()
    return model, copy.deepcopy(model).cuda()


def on(device: torch.device, targets: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    return [{name: value.to(device) for name, value in target.items()} for target in targets]


def test_every_stage_up_to_the_proposals():
    ours, theirs = both_models()
    images = smooth_images((128, 160), (112, 160))
    stages = zip(ours.stages(images), theirs.stages([image.cuda() for image in images]))
    with torch.no_grad():
        for (name, expected), (_, actual) in stages:
            if name == "features":
                for a, b in zip(expected.maps, actual.maps):
                    torch.testing.assert_close(a, b.cpu(), rtol=1e-3, atol=1e-3)
            if name == "rpn":
                torch.testing.assert_close(expected.objectness, actual.objectness.cpu(), rtol=1e-3, atol=1e-3)
                torch.testing.assert_close(expected.deltas, actual.deltas.cpu(), rtol=1e-3, atol=1e-3)
            if name == "anchors":
                torch.testing.assert_close(expected.boxes, actual.boxes.cpu())
                break


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_a_training_step_learns_and_detection_gives_results_of_the_right_form(precision):
    _, model = both_models()
    sizes = [(128, 160), (112, 160)]
    images, targets = [i.cuda() for i in smooth_images(*sizes)], on(CUDA, ellipse_targets(sizes, 6))
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=3e-4, fused=True)
    totals = []
    for _ in range(20):
        with autocast(CUDA, precision):
            total = torch.stack(list(model(images, targets).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.7 * totals[0]
    with torch.inference_mode(), autocast(CUDA, precision):
        results = model.eval()(images)
    for result, (height, width) in zip(results, sizes):
        assert {value.device.type for value in result.values()} == {"cuda"}
        assert result["masks"].shape == (len(result["boxes"]), 1, height, width)
