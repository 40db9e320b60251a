import pytest
import torch
from torchvision.models.detection.rpn import RPNHead as TorchvisionRPNHead
from torchvision.models.detection.rpn import concat_box_prediction_layers

from maskrcnn.rpn import AnchorGenerator, RPNHead


@pytest.fixture(scope="module")
def maps():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 16, *size, generator=generator) for size in ((8, 12), (4, 6), (2, 3))]


def test_objectness_and_deltas_and_their_gradients_agree_with_torchvision(maps):
    ours, theirs = RPNHead(16, 3), TorchvisionRPNHead(16, 3)
    ours.conv.load_state_dict(theirs.conv[0][0].state_dict())
    ours.objectness.load_state_dict(theirs.cls_logits.state_dict())
    ours.deltas.load_state_dict(theirs.bbox_pred.state_dict())
    objectness, deltas = concat_box_prediction_layers(*theirs(maps))  # [B * A, 1], [B * A, 4]
    prediction = ours(maps)
    assert prediction.objectness.shape == (2, 3 * (96 + 24 + 6))
    torch.testing.assert_close(prediction.objectness.flatten(), objectness[:, 0])
    torch.testing.assert_close(prediction.deltas.flatten(0, 1), deltas)
    (prediction.objectness.flatten()[::40].sum() + prediction.deltas.flatten(0, 1)[::50].square().sum()).backward()
    (objectness[::40, 0].sum() + deltas[::50].square().sum()).backward()
    torch.testing.assert_close(ours.conv.weight.grad, theirs.conv[0][0].weight.grad)
    torch.testing.assert_close(ours.conv.bias.grad, theirs.conv[0][0].bias.grad)


def test_predictions_are_in_the_order_of_the_anchors():
    # One pixel of one level is lit. The 3x3 convolution carries it to the locations around it, and nowhere else.
    maps = [torch.zeros(1, 1, 8, 12), torch.zeros(1, 1, 4, 6)]
    maps[1][0, 0, 1, 4] = 1.0
    anchors = AnchorGenerator([[8], [16]], [0.5, 1.0, 2.0])(maps, (64, 96)).boxes
    head = RPNHead(1, 3)
    torch.nn.init.constant_(head.conv.weight, 1.0)
    torch.nn.init.constant_(head.objectness.weight, 1.0)
    torch.nn.init.constant_(head.deltas.weight, 1.0)
    prediction = head(maps)
    lit = prediction.objectness[0] > 0
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2
    is_level_1 = torch.arange(len(anchors)) >= 8 * 12 * 3
    near = (centre - torch.tensor([4.5 * 16, 1.5 * 16])).abs().max(
        dim=1
    ).values < 17  # a stride of 16 px, one location around
    assert lit.equal(near & is_level_1)
    assert lit.sum() == 9 * 3
    assert (prediction.deltas[0] > 0).all(dim=1).equal(lit)


def test_each_anchor_of_a_location_has_its_own_channels():
    head = RPNHead(1, 3)
    with torch.no_grad():
        head.objectness.bias.copy_(torch.arange(3.0))
        head.deltas.bias.copy_(torch.arange(12.0))
    prediction = head([torch.zeros(1, 1, 2, 2)])
    assert prediction.objectness.tolist() == [[0, 1, 2] * 4]
    assert prediction.deltas[0, :3].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_weights_start_near_zero_so_that_the_first_proposals_are_the_anchors():
    torch.manual_seed(0)
    head = RPNHead(64, 3)
    for layer in (head.conv, head.objectness, head.deltas):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.2)
        assert not layer.bias.any()


def test_the_output_is_float32_under_autocast(maps):
    with torch.autocast("cpu", torch.bfloat16):
        prediction = RPNHead(16, 3)(maps)
    assert prediction.objectness.dtype == prediction.deltas.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_get_float32_gradients_under_autocast(maps, dtype):
    head = RPNHead(16, 3)
    maps = [level.to(dtype, copy=True).requires_grad_() for level in maps]
    with torch.autocast("cpu", torch.bfloat16):
        prediction = head(maps)
        (prediction.objectness[:, ::9].sum() + prediction.deltas[:, ::9].sum()).backward()
    assert {p.grad.dtype for p in (head.conv.weight, head.conv.bias, head.objectness.weight)} == {torch.float32}
    assert all(level.grad.dtype == dtype for level in maps)
