import math

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator as TorchvisionAnchorGenerator
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.detection.rpn import RPNHead as TorchvisionRPNHead
from torchvision.ops import box_iou

from maskrcnn.matching import IGNORED, NEGATIVE, BalancedSampler
from maskrcnn.rpn import AnchorGenerator, Anchors, RPNPrediction, RPNTargetAssigner, RPNTargets, rpn_loss

SIZE = (64, 96)
GT = [torch.tensor([[10.0, 12.0, 34.0, 40.0], [50.5, 5.25, 70.0, 20.0], [2.0, 50.0, 7.0, 54.0]]), torch.zeros(0, 4)]


@pytest.fixture(scope="module")
def anchors():
    maps = [torch.zeros(2, 1, 64 // s, 96 // s) for s in (4, 8, 16)]
    return AnchorGenerator([[16], [24], [40]], [0.5, 1.0, 2.0])(maps, SIZE)


def assigner(count=256, positive_fraction=0.5):
    return RPNTargetAssigner(0.7, 0.3, BalancedSampler(count, positive_fraction))


def random_prediction(anchors, images=2):
    generator = torch.Generator().manual_seed(0)
    return RPNPrediction(
        torch.randn(images, len(anchors.boxes), generator=generator).requires_grad_(),
        torch.randn(images, len(anchors.boxes), 4, generator=generator).requires_grad_(),
    )


def test_losses_agree_with_torchvision_when_every_anchor_is_sampled(anchors):
    n = len(anchors.boxes)
    limits = {"training": 10, "testing": 10}
    generator, head = TorchvisionAnchorGenerator(), TorchvisionRPNHead(4, 3)
    rpn = RegionProposalNetwork(generator, head, 0.7, 0.3, 2 * n, 0.5, limits, limits, 0.7)
    prediction = random_prediction(anchors)
    labels, matched = rpn.assign_targets_to_anchors([anchors.boxes] * 2, [{"boxes": gt} for gt in GT])
    deltas = rpn.box_coder.encode(matched, [anchors.boxes] * 2)
    expected = rpn.compute_loss(
        prediction.objectness.flatten()[:, None], prediction.deltas.flatten(0, 1), labels, deltas
    )
    losses = rpn_loss(prediction, assigner(2 * n)(anchors, GT), beta=1 / 9)
    torch.testing.assert_close(losses.objectness, expected[0])
    torch.testing.assert_close(losses.deltas, expected[1])


def test_losses_by_hand():
    prediction = RPNPrediction(torch.tensor([[0.0, 2.0], [-1.0, 5.0]]), torch.zeros(2, 2, 4))
    # Sampled: of both images together, number 1 as an object and number 2 as background.
    targets = RPNTargets(torch.tensor([1]), torch.tensor([2]), torch.tensor([[1.0, 0.1, 0.0, 0.0]]))
    losses = rpn_loss(prediction, targets, beta=0.5)
    # Cross-entropy: log(1 + e^-2) and log(1 + e^-1), divided by both.
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 2
    assert losses.objectness.item() == pytest.approx(expected, rel=1e-5)
    # Smooth L1: 1 - 0.5 / 2 in the linear part, 0.1^2 / 2 / 0.5 in the quadratic, divided by both sampled, not by 1.
    assert losses.deltas.item() == pytest.approx((0.75 + 0.01) / 2, rel=1e-5)


def test_every_object_has_an_anchor_however_small_it_is(anchors):
    matched = assigner().match(anchors, GT[0])
    best = box_iou(GT[0], anchors.boxes).max(dim=1).values
    assert best.min() < 0.3  # the third object, of 5 x 4 px: no anchor would do for it
    assert set(matched[matched >= 0].tolist()) == {0, 1, 2}


def test_ties_are_kept():
    # Two anchors, left and right, overlap the object by 10 x 20 px: 200 / (400 + 400 - 200) = 1/3, between the thresholds.
    # The third overlaps it by 5 x 20 px: 100 / 700.
    anchors = Anchors(torch.tensor([[10.0, 0.0, 30.0, 20.0], [-10.0, 0.0, 10.0, 20.0], [15.0, 0.0, 35.0, 20.0]]), (3,))
    gt = torch.tensor([[0.0, 0.0, 20.0, 20.0]])
    assert assigner().match(anchors, gt).tolist() == [0, 0, NEGATIVE]


def test_anchors_between_the_thresholds_add_no_gradient(anchors):
    matched = assigner().match(anchors, GT[0])
    assert (matched == IGNORED).any()
    prediction = random_prediction(anchors)
    losses = rpn_loss(prediction, assigner(10_000)(anchors, GT), beta=1 / 9)
    (losses.objectness + losses.deltas).backward()
    assert not prediction.objectness.grad[0, matched == IGNORED].any()
    assert (prediction.objectness.grad[0, matched != IGNORED] != 0).all()


def test_only_positive_anchors_have_gradient_on_their_deltas(anchors):
    prediction = random_prediction(anchors)
    matched = assigner().match(anchors, GT[0])
    rpn_loss(prediction, assigner(10_000)(anchors, GT), beta=1 / 9).deltas.backward()
    assert (prediction.deltas.grad[0].abs().sum(1) > 0).equal(matched >= 0)
    assert not prediction.deltas.grad[1].any()  # the image without objects


def test_targets_move_each_positive_anchor_onto_its_object(anchors):
    targets = assigner(10_000)(anchors, [GT[1], GT[0]])  # the objects are in the second image
    assert len(targets.deltas) == len(targets.positive) > 3
    assert (targets.positive >= len(anchors.boxes)).all()  # counted after the anchors of the first image
    reference = anchors.boxes[targets.positive - len(anchors.boxes)]
    size = reference[:, 2:] - reference[:, :2]
    centre = reference[:, :2] + size / 2 + targets.deltas[:, :2] * size
    half = size * targets.deltas[:, 2:].exp() / 2
    moved = torch.cat([centre - half, centre + half], dim=1)
    best = GT[0][box_iou(GT[0], reference).argmax(dim=0)]
    torch.testing.assert_close(moved, best, atol=1e-3, rtol=0)


def test_each_image_has_its_own_sample(anchors):
    targets = assigner(32)(anchors, [GT[0], GT[0]])
    image = torch.cat([targets.positive, targets.negative]) // len(anchors.boxes)
    assert image.bincount().tolist() == [32, 32]


def test_a_perfect_prediction_costs_nothing(anchors):
    targets = assigner()(anchors, GT)
    objectness, deltas = torch.full((2 * len(anchors.boxes),), -50.0), torch.zeros(2 * len(anchors.boxes), 4)
    objectness[targets.positive] = 50.0
    deltas[targets.positive] = targets.deltas
    losses = rpn_loss(RPNPrediction(objectness.view(2, -1), deltas.view(2, -1, 4)), targets, beta=1 / 9)
    assert losses.objectness < 1e-6
    assert losses.deltas == 0


def test_images_without_objects_are_trained_on_as_background(anchors):
    prediction = random_prediction(anchors)
    targets = assigner(64)(anchors, [GT[1], GT[1]])
    losses = rpn_loss(prediction, targets, beta=1 / 9)
    (losses.objectness + losses.deltas).backward()  # both are attached to the graph
    assert losses.objectness > 0
    assert losses.deltas == 0
    assert (prediction.objectness.grad.flatten()[targets.negative] > 0).all()
    assert prediction.deltas.grad.abs().sum() == 0


def test_without_any_anchor_the_losses_are_zero():
    prediction = RPNPrediction(torch.zeros(1, 0, requires_grad=True), torch.zeros(1, 0, 4, requires_grad=True))
    losses = rpn_loss(prediction, assigner()(Anchors(torch.zeros(0, 4), (0,)), [GT[0]]), beta=1 / 9)
    (losses.objectness + losses.deltas).backward()
    assert (losses.objectness, losses.deltas) == (0, 0)


def test_targets_carry_no_gradient(anchors):
    assert not assigner()(anchors, [GT[0].clone().requires_grad_()]).deltas.requires_grad
