"""Masks whose classes compete, and masks without convolutions."""

import pytest
import torch

from maskrcnn.heads.mask import MaskTargets
from maskrcnn.heads.mask_variants import MLPMaskHead, SoftmaxMaskHead, SoftmaxMaskPrediction, softmax_mask_loss

K, M = 3, 4


@pytest.fixture
def prediction():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, K + 1, M, M, generator=generator, dtype=torch.float64)
    return SoftmaxMaskPrediction(logits.requires_grad_(), torch.tensor([3, 1]))


def test_probabilities_are_those_of_a_softmax_over_all_classes(prediction):
    softmax = prediction.mask_logits.exp() / prediction.mask_logits.exp().sum(dim=1, keepdim=True)
    expected = torch.stack([softmax[0, 3], softmax[1, 1]])
    assert torch.allclose(prediction.probabilities(), expected)


def test_the_loss_is_the_surprise_at_the_class_of_each_pixel(prediction):
    masks = torch.zeros(2, M, M)
    masks[0, :2], masks[1, :, 1:], masks[1, 3, 3] = 1, 0.6, 0.4
    softmax = prediction.mask_logits.softmax(dim=1)
    surprise = 0.0
    for roi, label in enumerate((3, 1)):
        for y in range(M):
            for x in range(M):
                true = label if masks[roi, y, x] >= 0.5 else 0
                surprise -= softmax[roi, true, y, x].log().item()
    loss = softmax_mask_loss(prediction, MaskTargets(masks))
    assert loss.item() == pytest.approx(surprise / masks.numel())
    loss.backward()
    assert (prediction.mask_logits.grad.abs().sum(dim=(0, 2, 3)) > 0).all()  # all classes compete


def test_the_head_has_an_output_more_and_its_loss_starts_at_the_surprise_of_a_guess():
    head = SoftmaxMaskHead(8, 16, 2, K)
    found = head(torch.randn(5, 8, 14, 14), torch.tensor([1, 2, 3, 1, 2]))
    assert found.mask_logits.shape == (5, K + 1, 28, 28)
    loss = softmax_mask_loss(found, MaskTargets(torch.ones(5, 28, 28)))
    assert loss.item() == pytest.approx(torch.tensor(K + 1.0).log().item(), abs=0.01)


def test_without_rois_the_loss_is_zero_and_has_a_gradient():
    head = SoftmaxMaskHead(8, 16, 2, K)
    found = head(torch.randn(0, 8, 14, 14), torch.zeros(0).long())
    loss = softmax_mask_loss(found, MaskTargets(torch.zeros(0, 28, 28)))
    loss.backward()
    assert loss.item() == 0


def test_fully_connected_layers_compute_one_output_for_each_class_and_pixel():
    torch.manual_seed(0)
    head = MLPMaskHead(2, 3, K, dim=5)
    x = torch.randn(4, 2, 3, 3)
    labels = torch.tensor([1, 2, 3, 1])
    found = head(x, labels)
    assert found.mask_logits.shape == (4, K, 6, 6)
    hidden = (x.reshape(4, 18) @ head.fc1.weight.T + head.fc1.bias).clamp(min=0)
    hidden = (hidden @ head.fc2.weight.T + head.fc2.bias).clamp(min=0)
    row = 1 * 36 + 2 * 6 + 5  # class 2, row 2, column 5
    expected = hidden @ head.mask_logits.weight[row] + head.mask_logits.bias[row]
    assert torch.allclose(found.mask_logits[:, 1, 2, 5], expected, atol=1e-6)
    assert torch.allclose(found.probabilities()[1], found.mask_logits[1, 1].sigmoid())
