import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator as TorchvisionAnchorGenerator
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.detection.rpn import RPNHead as TorchvisionRPNHead

from maskrcnn.rpn import AnchorGenerator, Anchors, ProposalSelector, RPNPrediction

SIZE = (64, 96)  # padded
SIZES = [(64, 96), (50, 70)]  # of the two images


@pytest.fixture(scope="module")
def anchors():
    maps = [torch.zeros(2, 1, 64 // s, 96 // s) for s in (4, 8, 16)]
    return AnchorGenerator([[16], [24], [40]], [0.5, 1.0, 2.0])(maps, SIZE)


@pytest.fixture(scope="module")
def prediction(anchors):
    generator = torch.Generator().manual_seed(0)
    objectness = torch.randn(2, len(anchors.boxes), generator=generator) * 3
    deltas = torch.randn(2, len(anchors.boxes), 4, generator=generator) * 0.3
    return RPNPrediction(objectness, deltas)


def torchvision_rpn(pre_nms, post_nms, nms_threshold):
    top_n = [{"training": n, "testing": n} for n in (pre_nms, post_nms)]
    generator, head = TorchvisionAnchorGenerator(), TorchvisionRPNHead(4, 3)
    return RegionProposalNetwork(generator, head, 0.7, 0.3, 256, 0.5, *top_n, nms_threshold)


@pytest.mark.parametrize(("pre_nms", "post_nms", "nms_threshold"), [(1000, 1000, 0.7), (100, 30, 0.7), (60, 1000, 0.3)])
def test_proposals_agree_with_torchvision(anchors, prediction, pre_nms, post_nms, nms_threshold):
    rpn = torchvision_rpn(pre_nms, post_nms, nms_threshold)
    decoded = rpn.box_coder.decode(prediction.deltas.flatten(0, 1), [anchors.boxes] * 2)
    expected = rpn.filter_proposals(
        decoded.view(2, -1, 4), prediction.objectness.flatten()[:, None], SIZES, list(anchors.per_level)
    )
    proposals = ProposalSelector(pre_nms, post_nms, nms_threshold, 1e-3)(prediction, anchors, SIZES)
    for i in range(2):
        assert len(proposals.boxes[i]) > 20
        torch.testing.assert_close(proposals.boxes[i], expected[0][i], atol=1e-3, rtol=0)
        torch.testing.assert_close(proposals.objectness[i], expected[1][i])


def test_the_limit_after_nms_holds_for_each_image_and_keeps_its_best(anchors, prediction):
    # The second image scores lower throughout: a limit over the batch would leave it nothing.
    low = RPNPrediction(prediction.objectness - torch.tensor([[0.0], [100.0]]), prediction.deltas)
    limited = ProposalSelector(1000, 20, 0.7, 1e-3)(low, anchors, SIZES)
    unlimited = ProposalSelector(1000, 10_000, 0.7, 1e-3)(low, anchors, SIZES)
    for i in range(2):
        assert len(limited.boxes[i]) == len(limited.objectness[i]) == 20
        assert limited.boxes[i].equal(unlimited.boxes[i][:20])
        assert (limited.objectness[i].diff() <= 0).all()  # best first


def test_the_limit_before_nms_holds_for_each_level(anchors, prediction):
    # NMS at a threshold of 1 removes nothing; the 10 best of each level are what is left.
    small = RPNPrediction(prediction.objectness, prediction.deltas * 0)
    proposals = ProposalSelector(10, 1000, 1.0, 0)(small, anchors, [SIZE, SIZE])
    best = torch.cat([level.topk(10).values for level in prediction.objectness[0].split(anchors.per_level)])
    expected = best.sigmoid().sort(descending=True).values
    torch.testing.assert_close(proposals.objectness[0], expected)


@pytest.mark.parametrize(("per_level", "kept"), [((2,), 1), ((1, 1), 2)])
def test_nms_is_within_a_level(per_level, kept):
    anchors = Anchors(torch.tensor([[10.0, 10.0, 30.0, 30.0]] * 2), per_level)
    prediction = RPNPrediction(torch.tensor([[2.0, 1.0]]), torch.zeros(1, 2, 4))
    assert len(ProposalSelector(10, 10, 0.7, 1e-3)(prediction, anchors, [SIZE]).boxes[0]) == kept


def test_proposals_by_hand():
    anchors = Anchors(torch.tensor([[0.0, 0.0, 20.0, 10.0], [40.0, 40.0, 60.0, 60.0], [80.0, 0.0, 90.0, 10.0]]), (3,))
    # The first moves right by half its width and becomes twice as high, 0..10 -> -5..15; the second is moved to 110..130,
    # out of the image that is 70 px wide, and clipping leaves nothing of it; the third lies in the padding already.
    deltas = torch.tensor([[[0.5, 0.0, 0.0, 0.6931472], [3.5, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]])
    proposals = ProposalSelector(10, 10, 0.7, 1e-3)(RPNPrediction(torch.zeros(1, 3), deltas), anchors, [(50, 70)])
    torch.testing.assert_close(proposals.boxes[0], torch.tensor([[10.0, 0.0, 30.0, 15.0]]))
    assert proposals.objectness[0].tolist() == [0.5]  # a probability


def test_boxes_are_clipped_to_each_image_without_its_padding(anchors, prediction):
    proposals = ProposalSelector(1000, 1000, 0.7, 1e-3)(prediction, anchors, SIZES)
    for boxes, (height, width) in zip(proposals.boxes, SIZES, strict=True):
        assert boxes.amin() == 0
        assert boxes[:, [0, 2]].amax() == width
        assert boxes[:, [1, 3]].amax() == height


def test_proposals_carry_no_gradient(anchors, prediction):
    trained = RPNPrediction(prediction.objectness.clone().requires_grad_(), prediction.deltas.clone().requires_grad_())
    proposals = ProposalSelector(100, 100, 0.7, 1e-3)(trained, anchors, SIZES)
    assert not any(value.requires_grad for field in proposals for value in field)


def test_predictions_are_not_changed(anchors, prediction):
    before = [value.clone() for value in prediction]
    ProposalSelector(100, 100, 0.7, 1e-3)(prediction, anchors, SIZES)
    assert all(value.equal(copy) for value, copy in zip(prediction, before, strict=True))
