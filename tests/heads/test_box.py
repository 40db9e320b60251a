import math

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import fastrcnn_loss

from maskrcnn.heads import BoxHead, BoxPrediction, box_loss

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
CLASSES = 3


def random_rois(count=12, seed=0):
    """RoIs, labels of which a third is background, and the objects that they are matched to."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 50
    boxes = torch.cat([corner, corner + 10 + torch.rand(count, 2, generator=generator) * 30], dim=1)
    gt_boxes = boxes + torch.randn(count, 4, generator=generator) * 2
    return boxes, torch.arange(count) % (CLASSES + 1), gt_boxes


def random_prediction(count=12):
    generator = torch.Generator().manual_seed(1)
    return BoxPrediction(
        torch.randn(count, CLASSES + 1, generator=generator).requires_grad_(),
        torch.randn(count, CLASSES + 1, 4, generator=generator).requires_grad_(),
    )


def test_the_head_agrees_with_torchvision():
    ours, hidden, predictor = BoxHead(6, 7, 32, CLASSES), TwoMLPHead(6 * 7 * 7, 32), FastRCNNPredictor(32, CLASSES + 1)
    ours.fc1.load_state_dict(hidden.fc6.state_dict())
    ours.fc2.load_state_dict(hidden.fc7.state_dict())
    ours.class_logits.load_state_dict(predictor.cls_score.state_dict())
    ours.box_deltas.load_state_dict(predictor.bbox_pred.state_dict())
    roi_features = torch.randn(5, 6, 7, 7)
    class_logits, deltas = predictor(hidden(roi_features))
    prediction = ours(roi_features)
    torch.testing.assert_close(prediction.class_logits, class_logits)
    # Torchvision has the four numbers of a class side by side in one row.
    torch.testing.assert_close(prediction.box_deltas, deltas.view(5, CLASSES + 1, 4))


def test_the_head_takes_no_rois_and_leaves_autocast_in_float32():
    head = BoxHead(6, 7, 32, CLASSES)
    prediction = head(torch.zeros(0, 6, 7, 7))
    assert prediction.class_logits.shape == (0, CLASSES + 1)
    assert prediction.box_deltas.shape == (0, CLASSES + 1, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert {value.dtype for value in head(torch.zeros(2, 6, 7, 7))} == {torch.float32}


def test_class_agnostic_deltas_are_one_set_that_every_class_trains():
    head = BoxHead(6, 7, 32, CLASSES, class_agnostic=True)
    assert head.box_deltas.out_features == 4
    prediction = head(torch.randn(5, 6, 7, 7))
    assert prediction.box_deltas.shape == (5, CLASSES + 1, 4)
    torch.testing.assert_close(prediction.box_deltas[:, 1], prediction.box_deltas[:, 3], rtol=0, atol=0)
    prediction.box_deltas[0, 1].sum().backward()
    once = head.box_deltas.bias.grad.clone()
    head(torch.randn(5, 6, 7, 7)).box_deltas[0, 3].sum().backward()
    torch.testing.assert_close(head.box_deltas.bias.grad, 2 * once)


def test_losses_agree_with_torchvision():
    boxes, labels, gt_boxes = random_rois()
    prediction = random_prediction()
    target = BoxCoder(WEIGHTS).encode_single(gt_boxes, boxes)
    expected = fastrcnn_loss(prediction.class_logits, prediction.box_deltas.flatten(1), [labels], [target])
    losses = box_loss(prediction, boxes, labels, gt_boxes, WEIGHTS, beta=1 / 9)
    torch.testing.assert_close(losses.classes, expected[0])
    torch.testing.assert_close(losses.deltas, expected[1])


def test_losses_by_hand():
    # One object of class 2 out of two RoIs. Its box is moved right by 2 of 20 px: dx = 0.1, times a weight of 10 is 1.
    boxes = torch.tensor([[0.0, 0.0, 20.0, 20.0], [50.0, 50.0, 60.0, 60.0]])
    gt_boxes = torch.tensor([[2.0, 0.0, 22.0, 20.0], [50.0, 50.0, 60.0, 60.0]])
    logits = torch.tensor([[0.0, 0.0, math.log(2)], [0.0, 0.0, 0.0]])  # probabilities 1/4, 1/4, 1/2 and a third each
    prediction = BoxPrediction(logits, torch.zeros(2, 3, 4))
    losses = box_loss(prediction, boxes, torch.tensor([2, 0]), gt_boxes, WEIGHTS, beta=0.5)
    assert losses.classes.item() == pytest.approx((math.log(2) + math.log(3)) / 2, rel=1e-5)
    # Smooth L1 of 1 is 1 - 0.5 / 2; divided by both RoIs, not by the one object.
    assert losses.deltas.item() == pytest.approx(0.75 / 2, rel=1e-5)


@pytest.mark.parametrize(("hard", "divisor"), [(5, 5), (3, 3), (1, 2), (0, 2)])
def test_easy_rois_are_left_out_of_the_class_loss_and_of_its_mean(hard, divisor):
    """Of 16 RoIs the first few have a probability of 1/2, a loss of log 2; the others of 0.96, above e^-0.05 = 0.951. The
    sum is divided by the hard ones, but by no less than an eighth of all."""
    logits = torch.zeros(16, 2)
    logits[hard:, 1] = math.log(0.96 / 0.04)
    prediction = BoxPrediction(logits.requires_grad_(), torch.zeros(16, 2, 4))
    boxes = torch.tensor([[0.0, 0.0, 20.0, 20.0]]).repeat(16, 1)
    labels = torch.ones(16).long()
    losses = box_loss(prediction, boxes, labels, boxes, WEIGHTS, beta=0.5, easy_loss_thresh=0.05)
    assert losses.classes.item() == pytest.approx(hard * math.log(2) / divisor)
    losses.classes.backward()
    assert logits.grad.any(dim=1).tolist() == [True] * hard + [False] * (16 - hard)
    kept = box_loss(prediction, boxes, labels, boxes, WEIGHTS, beta=0.5, easy_loss_thresh=0.04)  # e^-0.04 = 0.961
    assert kept.classes.item() == pytest.approx((hard * math.log(2) - (16 - hard) * math.log(0.96)) / 16, rel=1e-4)
    shifted = box_loss(prediction, boxes, labels, boxes + 2, WEIGHTS, beta=0.5, easy_loss_thresh=0.05)
    assert shifted.deltas == box_loss(prediction, boxes, labels, boxes + 2, WEIGHTS, beta=0.5).deltas > 0


def test_only_the_deltas_of_the_true_class_of_an_object_have_gradient():
    boxes, labels, gt_boxes = random_rois()
    prediction = random_prediction()
    box_loss(prediction, boxes, labels, gt_boxes, WEIGHTS, beta=1 / 9).deltas.backward()
    trained = prediction.box_deltas.grad.abs().sum(-1) > 0  # [R, K + 1]
    expected = torch.zeros_like(trained)
    expected[labels > 0, labels[labels > 0]] = True
    assert trained.equal(expected)


def test_the_box_of_a_background_roi_is_never_read():
    boxes, labels, gt_boxes = random_rois()
    elsewhere = torch.where(labels[:, None] > 0, gt_boxes, torch.nan)
    losses = [box_loss(random_prediction(), boxes, labels, gt, WEIGHTS, beta=1 / 9) for gt in (gt_boxes, elsewhere)]
    assert losses[0].deltas == losses[1].deltas


@pytest.mark.parametrize("count", [0, 4])
def test_without_objects_the_losses_are_finite_and_attached_to_the_graph(count):
    boxes, _, gt_boxes = random_rois(count)
    prediction = random_prediction(count)
    losses = box_loss(prediction, boxes, torch.zeros(count).long(), gt_boxes, WEIGHTS, beta=1 / 9)
    (losses.classes + losses.deltas).backward()
    assert losses.deltas == 0
    assert (losses.classes > 0) == (count > 0)
    assert losses.classes.isfinite()
    assert not prediction.box_deltas.grad.any()
