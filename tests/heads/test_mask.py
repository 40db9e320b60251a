import math

import pytest
import torch
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import maskrcnn_loss, project_masks_on_boxes

from maskrcnn.heads import MaskHead, MaskPrediction, MaskTargets, mask_loss, mask_targets

CLASSES = 3


def random_prediction(labels, size=6):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(len(labels), CLASSES, size, size, generator=generator).requires_grad_()
    return MaskPrediction(logits, torch.tensor(labels, dtype=torch.int64))


def half_planes(height, width):
    """Two objects: everything left of x = 8, everything above y = 6."""
    masks = torch.zeros(2, height, width)
    masks[0, :, :8] = 1
    masks[1, :6] = 1
    return masks


@pytest.mark.parametrize("norm", [None, lambda channels: torch.nn.GroupNorm(4, channels)])
def test_the_head_agrees_with_torchvision(norm):
    ours = MaskHead(8, 16, 4, CLASSES, norm=norm)
    layers, predictor = MaskRCNNHeads(8, (16,) * 4, 1, norm), MaskRCNNPredictor(16, 16, CLASSES)
    for conv, ours_norm, theirs in zip(ours.convs, ours.norms, layers, strict=True):
        conv.load_state_dict(theirs[0].state_dict())
        if norm:
            torch.nn.init.uniform_(theirs[1].weight)
            torch.nn.init.uniform_(theirs[1].bias)
            ours_norm.load_state_dict(theirs[1].state_dict())
    ours.deconv.load_state_dict(predictor.conv5_mask.state_dict())
    ours.mask_logits.load_state_dict(predictor.mask_fcn_logits.state_dict())
    roi_features = torch.randn(3, 8, 14, 14)
    prediction = ours(roi_features, torch.tensor([1, 2, 3]))
    assert prediction.mask_logits.shape == (3, CLASSES, 28, 28)
    torch.testing.assert_close(prediction.mask_logits, predictor(layers(roi_features)), atol=1e-5, rtol=1e-4)


def test_the_head_takes_no_rois_and_leaves_autocast_in_float32():
    head = MaskHead(8, 16, 1, CLASSES)
    assert head(torch.zeros(0, 8, 14, 14), torch.zeros(0).long()).probabilities().shape == (0, 28, 28)
    with torch.autocast("cpu", torch.bfloat16):
        assert head(torch.zeros(1, 8, 14, 14), torch.tensor([1])).mask_logits.dtype == torch.float32


def test_a_class_agnostic_mask_is_one_that_every_class_trains():
    head = MaskHead(8, 16, 1, CLASSES, class_agnostic=True)
    assert head.mask_logits.out_channels == 1
    roi_features = torch.randn(1, 8, 14, 14)
    gradients = []
    for label in (1, CLASSES):
        head.zero_grad()
        prediction = head(roi_features, torch.tensor([label]))
        assert prediction.mask_logits.shape == (1, CLASSES, 28, 28)
        mask_loss(prediction, MaskTargets(torch.ones(1, 28, 28))).backward()
        gradients.append(head.mask_logits.weight.grad.clone())
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(gradients[0], gradients[1])


def test_each_roi_has_the_mask_of_its_own_class():
    logits = torch.arange(3.0)[None, :, None, None].expand(2, 3, 4, 4)  # class k has the logit k - 1 everywhere
    prediction = MaskPrediction(logits, torch.tensor([3, 1]))
    assert prediction.select_class()[:, 0, 0].tolist() == [2, 0]
    probabilities = prediction.probabilities()
    assert probabilities.shape == (2, 4, 4)
    assert probabilities[:, 0, 0].tolist() == pytest.approx([1 / (1 + math.exp(-2)), 0.5])


@pytest.mark.parametrize("size", [7, 28])
def test_legacy_targets_agree_with_torchvision(size):
    masks = half_planes(24, 32)
    boxes = torch.tensor([[2.5, 1.0, 20.25, 17.0], [0.0, 3.0, 31.0, 20.0], [4.0, 4.0, 9.0, 9.0]])
    matched = torch.tensor([1, 0, 0])
    targets = mask_targets([boxes], [matched], [masks], size, aligned=False)
    expected = project_masks_on_boxes(masks, boxes, matched, size)
    torch.testing.assert_close(targets.masks, expected, atol=1e-5, rtol=0)


def test_aligned_targets_by_hand():
    # Mask pixels of one image pixel, corner on corner: the object ends with column 7, so 4 mask pixels in.
    targets = mask_targets(
        [torch.tensor([[4.0, 2.0, 12.0, 10.0]])], [torch.tensor([0])], [half_planes(24, 32)], 8, True
    )
    assert targets.masks[0].tolist() == [[1.0] * 4 + [0.0] * 4] * 8
    # Shifted by half a pixel, each mask pixel is the mean of two pixels: the edge at x = 8 is within the fourth.
    targets = mask_targets(
        [torch.tensor([[4.5, 2.0, 12.5, 10.0]])], [torch.tensor([0])], [half_planes(24, 32)], 8, True
    )
    assert targets.masks[0].tolist() == [[1.0] * 3 + [0.5] + [0.0] * 4] * 8


def test_targets_come_from_each_images_own_masks():
    boxes = [torch.tensor([[4.0, 2.0, 12.0, 10.0]]), torch.zeros(0, 4), torch.tensor([[4.0, 2.0, 12.0, 10.0]])]
    matched = [torch.tensor([1]), torch.zeros(0).long(), torch.tensor([0])]
    masks = [half_planes(24, 32), torch.zeros(0, 24, 32), torch.ones(1, 24, 32)]
    targets = mask_targets(boxes, matched, masks, 8, aligned=True).masks
    assert targets.shape == (2, 8, 8)
    assert targets[0].tolist() == [[1.0] * 8] * 4 + [[0.0] * 8] * 4  # above y = 6
    assert targets[1].min() == 1


def test_the_loss_agrees_with_torchvision():
    masks = half_planes(24, 32)
    boxes, matched = torch.tensor([[2.5, 1.0, 20.25, 17.0], [0.0, 3.0, 31.0, 20.0]]), torch.tensor([1, 0])
    gt_labels = torch.tensor([3, 1])
    prediction = random_prediction(gt_labels[matched].tolist())
    background = torch.randn(2, 1, 6, 6)  # theirs has a channel for it
    with_background = torch.cat([background, prediction.mask_logits], dim=1)
    expected = maskrcnn_loss(with_background, [boxes], [masks], [gt_labels], [matched])
    loss = mask_loss(prediction, mask_targets([boxes], [matched], [masks], 6, aligned=False))
    torch.testing.assert_close(loss, expected)


def test_the_loss_by_hand():
    logits = torch.tensor([[[[0.0, 2.0]], [[50.0, -50.0]]]])  # 1 RoI, 2 classes, 1 x 2 pixels
    prediction = MaskPrediction(logits, torch.tensor([1]))
    loss = mask_loss(prediction, MaskTargets(torch.tensor([[[1.0, 0.0]]])))
    # The mean over pixels of log(1 + e^-0) and log(1 + e^2); however wrong class 2 is, it does not count.
    assert loss.item() == pytest.approx((math.log(2) + math.log(1 + math.exp(2))) / 2, rel=1e-5)


def test_the_loss_has_gradient_on_the_true_class_alone():
    prediction = random_prediction([2, 1, 3, 2])
    mask_loss(prediction, MaskTargets(torch.rand(4, 6, 6))).backward()
    trained = prediction.mask_logits.grad.abs().sum((2, 3)) > 0  # [R, K]
    assert trained.tolist() == [[False, True, False], [True, False, False], [False, False, True], [False, True, False]]


def test_classes_do_not_compete():
    prediction = random_prediction([2])
    louder = MaskPrediction(prediction.mask_logits + torch.tensor([9.0, 0.0, 9.0])[:, None, None], prediction.labels)
    targets = MaskTargets(torch.rand(1, 6, 6))
    assert mask_loss(prediction, targets) == mask_loss(louder, targets)


def test_without_rois_the_loss_is_zero_and_attached_to_the_graph():
    head = MaskHead(8, 16, 4, CLASSES)
    targets = mask_targets([torch.zeros(0, 4)], [torch.zeros(0).long()], [torch.zeros(0, 24, 32)], 28, aligned=True)
    assert targets.masks.shape == (0, 28, 28)
    loss = mask_loss(head(torch.zeros(0, 8, 14, 14), torch.zeros(0).long()), targets)
    loss.backward()
    assert loss == 0
    assert all(p.grad is not None and not p.grad.any() for p in head.parameters())


def test_targets_carry_no_gradient():
    boxes, masks = torch.tensor([[4.0, 2.0, 12.0, 10.0]], requires_grad=True), half_planes(24, 32).requires_grad_()
    assert not mask_targets([boxes], [torch.tensor([0])], [masks], 8, aligned=True).masks.requires_grad


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_training_begins_undecided(class_agnostic):
    torch.manual_seed(0)
    head = MaskHead(32, 16, 2, num_classes=5, class_agnostic=class_agnostic)
    prediction = head(torch.randn(6, 32, 14, 14), torch.ones(6, dtype=torch.int64))
    masks = (torch.rand(6, 28, 28) > 0.5).float()
    assert mask_loss(prediction, MaskTargets(masks)).item() == pytest.approx(math.log(2), abs=0.02)


def test_at_first_every_mask_pixel_has_a_probability_of_one_half():
    torch.manual_seed(0)
    logits = MaskHead(256, 256, 4, 80)(torch.randn(2, 256, 14, 14), torch.tensor([1, 80])).mask_logits
    assert logits.abs().max() < 0.05
