"""The whole model against torchvision's Mask R-CNN with the same weights, stage by stage.

`pytest -rP tests/test_against_torchvision.py` prints the largest difference of each kind.
"""

import pytest
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN as TorchvisionMaskRCNN

from benchmarks.speed.torchvision_pair import both, ellipse_targets, smooth_images
from maskrcnn import MaskRCNN
from maskrcnn.roi import RoIs
from maskrcnn.weights import load


def record(model: nn.Module, **modules: nn.Module) -> dict[str, object]:
    """Fill the dict that is returned with the outputs of the modules, at the next forward pass."""
    outputs: dict[str, object] = {}
    for name, module in modules.items():
        module.register_forward_hook(lambda _module, _inputs, output, name=name: outputs.__setitem__(name, output))
    return outputs


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest difference, as a fraction of the largest value."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


def absolute(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max()) if ours.numel() else 0.0


def farthest(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """How far a box of either side is at most from the nearest one of the other: boxes whose scores differ by less than
    float32 resolves may be in another order."""
    distance = torch.cdist(ours.double(), theirs.double())
    return max(float(distance.min(dim=0).values.max()), float(distance.min(dim=1).values.max()))


def report(title: str, differences: dict[str, tuple[float, float]]) -> None:
    """Print every largest difference beside the one allowed, then assert."""
    for name, (difference, allowed) in differences.items():
        print(f"{title}: {name:<28} {difference:.1e}  (allowed {allowed:.0e})")
    for name, (difference, allowed) in differences.items():
        assert difference <= allowed, name


@pytest.mark.parametrize(("num_classes", "min_size", "max_size"), [(91, 256, 427), (6, 320, 533)])
@torch.inference_mode()
def test_every_stage_of_detection_agrees(num_classes, min_size, max_size):
    theirs, ours = both(num_classes, min_size, max_size)
    images = smooth_images((240, 320), (288, 224), (176, 368))
    recorded = record(
        theirs,
        backbone=theirs.backbone,
        head=theirs.rpn.head,
        rpn=theirs.rpn,
        roi_heads=theirs.roi_heads,
        masks=theirs.roi_heads.mask_predictor,
    )
    expected = theirs(images)
    stages = dict(ours.stages(images))

    features = zip(stages["features"].names, stages["features"].maps, recorded["backbone"].values(), strict=True)
    differences = {name: (relative(a, b), 1e-4) for name, a, b in features}

    objectness = torch.cat([level.permute(0, 2, 3, 1).flatten(1) for level in recorded["head"][0]], dim=1)
    differences["objectness"] = (relative(stages["rpn"].objectness, objectness), 1e-4)

    proposals = recorded["rpn"][0]
    assert [len(boxes) for boxes in stages["proposals"].boxes] == [len(boxes) for boxes in proposals]
    pairs = zip(stages["proposals"].boxes, proposals, strict=True)
    differences["proposals"] = (max(farthest(a, b) for a, b in pairs) / max_size, 1e-4)

    results = stages["results"]
    assert [len(r["scores"]) for r in results] == [len(r["scores"]) for r in expected]
    assert sum(len(r["scores"]) for r in expected) >= 30  # else the rest would say little
    assert len(torch.cat([r["labels"] for r in expected]).unique()) >= 3
    for ours_i, theirs_i in zip(results, expected, strict=True):
        assert ours_i["labels"].tolist() == theirs_i["labels"].tolist()
        assert ours_i["masks"].shape == theirs_i["masks"].shape
    differences["boxes, pixels"] = (max(absolute(a["boxes"], b["boxes"]) for a, b in zip(results, expected)), 1e-2)
    differences["scores"] = (max(absolute(a["scores"], b["scores"]) for a, b in zip(results, expected)), 1e-4)

    labels = torch.cat([r["labels"] for r in expected])
    logits = recorded["masks"][torch.arange(len(labels)), labels]  # theirs has a mask of background at channel 0
    differences["mask logits, 28 x 28"] = (absolute(stages["mask_head"].select_class(), logits), 1e-3)
    report(f"{num_classes} classes at {min_size} px", differences)


class FixedSampler:
    """Samples the same anchors for both sides, whatever form they hand them over in."""

    def ours(self, matched):
        return self._sample(matched >= 0, matched == -1)

    def theirs(self, labels_of_images):
        masks = []
        for labels in labels_of_images:
            sampled = self._sample(labels >= 1, labels == 0)
            masks.append([torch.zeros_like(labels).index_fill_(0, index, 1) for index in sampled])
        return [m[0] for m in masks], [m[1] for m in masks]

    def _sample(self, is_positive, is_negative, count=256):
        order = torch.randperm(len(is_positive), generator=torch.Generator().manual_seed(4))
        positive = order[is_positive[order]][: count // 2]
        return positive, order[is_negative[order]][: count - len(positive)]


def use_the_same_rois(theirs: TorchvisionMaskRCNN, ours: MaskRCNN) -> None:
    """Train ours on the RoIs that theirs has sampled: proposals of nearly equal scores may be in another order."""
    select, sampled = theirs.roi_heads.select_training_samples, []

    def select_and_keep(proposals, targets):
        boxes, matched, labels, deltas = select(proposals, targets)
        sampled.append(RoIs(boxes, labels, matched))
        return boxes, matched, labels, deltas

    theirs.roi_heads.select_training_samples = select_and_keep
    ours.roi_sampler = lambda proposals, gt_boxes, gt_labels: sampled[-1]


@pytest.mark.parametrize("num_classes", [91, 6])
def test_the_five_losses_and_their_gradients_agree(num_classes):
    theirs, ours = both(num_classes, min_size=256, max_size=427)
    theirs.train()
    ours.train()
    theirs.rpn.fg_bg_sampler = FixedSampler().theirs
    ours.rpn_targets.sampler = FixedSampler().ours
    use_the_same_rois(theirs, ours)
    sizes = [(240, 320), (288, 224)]
    images, targets = smooth_images(*sizes), ellipse_targets(sizes, num_classes)

    expected = theirs(images, targets)
    actual = ours(images, targets)
    assert actual.keys() == expected.keys()
    assert all(loss > 0 for loss in expected.values())
    differences = {name: (absolute(actual[name].detach(), expected[name].detach()), 1e-4) for name in expected}

    sum(expected.values()).backward()
    sum(actual.values()).backward()
    theirs_of_ours = MaskRCNN(ours.config)  # carries torchvision's gradients under our names
    gradients = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    load(theirs_of_ours, gradients)
    ours_grads = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    assert len(ours_grads) == len(gradients)
    loaded = {name: p.data for name, p in theirs_of_ours.named_parameters()}
    differences["gradients"] = (
        max(float((g - loaded[n]).norm() / loaded[n].norm()) for n, g in ours_grads.items()),
        1e-3,
    )
    report(f"{num_classes} classes", differences)
