import pytest
import torch
from torchvision.models.detection.roi_heads import RoIHeads

from maskrcnn.heads import BoxPostProcessor, BoxPrediction, class_agnostic_nms

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
SIZE = (100, 120)


def postprocessor(score_threshold=0.05, nms_threshold=0.5, max_detections=100, class_agnostic_nms=False):
    return BoxPostProcessor(score_threshold, nms_threshold, max_detections, 1e-2, class_agnostic_nms, WEIGHTS)


def prediction_of(probabilities, deltas=None):
    """Logits whose softmax is `probabilities` [R, K + 1]."""
    probabilities = torch.tensor(probabilities)
    return BoxPrediction(probabilities.log(), torch.zeros(*probabilities.shape, 4) if deltas is None else deltas)


@pytest.fixture(scope="module")
def proposals():
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(70, 2, generator=generator) * 80
    boxes = torch.cat([corner, corner + 5 + torch.rand(70, 2, generator=generator) * 40], dim=1)
    return list(boxes.split([40, 0, 30]))


@pytest.fixture(scope="module")
def prediction():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(70, 5, generator=generator) * 2
    return BoxPrediction(logits, torch.randn(70, 5, 4, generator=generator) * 2)


SIZES = [SIZE, SIZE, (60, 70)]


@pytest.mark.parametrize(
    ("score_threshold", "nms_threshold", "max_detections"), [(0.05, 0.5, 100), (0.0, 0.3, 1000), (0.3, 0.7, 7)]
)
def test_detections_agree_with_torchvision(prediction, proposals, score_threshold, nms_threshold, max_detections):
    theirs = RoIHeads(*(None, None, None, 0.5, 0.5, 512, 0.25, WEIGHTS), score_threshold, nms_threshold, max_detections)
    expected = theirs.postprocess_detections(
        prediction.class_logits, prediction.box_deltas.flatten(1), proposals, SIZES
    )
    detections = postprocessor(score_threshold, nms_threshold, max_detections)(prediction, proposals, SIZES)
    assert [len(boxes) > 0 for boxes in detections.boxes] == [True, False, True]
    for i in range(3):
        torch.testing.assert_close(detections.boxes[i], expected[0][i], atol=1e-3, rtol=0)
        torch.testing.assert_close(detections.scores[i], expected[1][i])
        assert detections.labels[i].equal(expected[2][i])


def test_detections_by_hand():
    # One RoI of 20 x 20 px around (30, 30), moved by the deltas of class 2: 5 / 10 * 20 px to the right; 10 / 5 * log.
    deltas = torch.zeros(1, 3, 4)
    deltas[0, 1] = 99.0  # class 1 says something else, and is below the threshold
    deltas[0, 2, 0] = 5.0
    detections = postprocessor(0.2)(
        prediction_of([[0.3, 0.1, 0.6]], deltas), [torch.tensor([[20.0, 20.0, 40.0, 40.0]])], [(35, 120)]
    )
    assert detections.labels[0].tolist() == [2]
    assert detections.scores[0].tolist() == pytest.approx([0.6])
    # Moved by 10 px, and clipped at the height of 35 px.
    torch.testing.assert_close(detections.boxes[0], torch.tensor([[30.0, 20.0, 50.0, 35.0]]))


def test_background_is_never_detected_however_likely():
    detections = postprocessor(0.3)(
        prediction_of([[0.98, 0.01, 0.01]]), [torch.tensor([[20.0, 20.0, 40.0, 40.0]])], [SIZE]
    )
    assert detections.boxes[0].shape == (0, 4)
    assert detections.labels[0].shape == detections.scores[0].shape == (0,)


@pytest.mark.parametrize(("class_agnostic_nms", "labels"), [(False, [2, 1]), (True, [2])])
def test_nms_is_within_a_class_unless_it_is_asked_to_ignore_classes(class_agnostic_nms, labels):
    # The same box twice: once rather class 2, once rather class 1. And the less likely class of each, over the threshold.
    boxes = torch.tensor([[20.0, 20.0, 40.0, 40.0]] * 2)
    prediction = prediction_of([[0.1, 0.3, 0.6], [0.1, 0.5, 0.4]])
    detections = postprocessor(class_agnostic_nms=class_agnostic_nms)(prediction, [boxes], [SIZE])
    assert detections.labels[0].tolist() == labels
    assert detections.scores[0].tolist() == pytest.approx([0.6, 0.5][: len(labels)])


def test_class_agnostic_nms_keeps_objects_that_stand_apart():
    boxes = torch.tensor([[0.0, 0.0, 20.0, 20.0], [12.0, 0.0, 32.0, 20.0], [60.0, 60.0, 80.0, 80.0]])
    prediction = prediction_of([[0.2, 0.8, 1e-9], [0.3, 1e-9, 0.7], [0.4, 1e-9, 0.6]])
    # The first two overlap by 8 of 32 columns, 0.25.
    assert postprocessor(class_agnostic_nms=True)(prediction, [boxes], [SIZE]).labels[0].tolist() == [1, 2, 2]
    assert postprocessor(nms_threshold=0.2, class_agnostic_nms=True)(prediction, [boxes], [SIZE]).labels[
        0
    ].tolist() == [
        1,
        2,
    ]


def test_the_limit_holds_for_each_image_and_keeps_its_best(prediction, proposals):
    unlimited = postprocessor(0.0)(prediction, proposals, SIZES)
    limited = postprocessor(0.0, max_detections=5)(prediction, proposals, SIZES)
    assert [len(scores) for scores in limited.scores] == [5, 0, 5]
    for i in (0, 2):
        assert (limited.scores[i].diff() <= 0).all()
        assert limited.boxes[i].equal(unlimited.boxes[i][:5])
        assert limited.labels[i].equal(unlimited.labels[i][:5])


def test_each_image_is_detected_as_if_alone(prediction, proposals):
    together = postprocessor()(prediction, proposals, SIZES)
    last = BoxPrediction(prediction.class_logits[40:], prediction.box_deltas[40:])
    alone = postprocessor()(last, proposals[2:], SIZES[2:])
    for field, field_alone in zip(together, alone, strict=True):
        assert field[2].equal(field_alone[0])


def test_every_score_is_above_the_threshold_and_every_box_has_area(prediction, proposals):
    detections = postprocessor(0.2)(prediction, proposals, SIZES)
    assert torch.cat(detections.scores).min() > 0.2
    boxes = torch.cat(detections.boxes)
    assert ((boxes[:, 2:] - boxes[:, :2]) >= 1e-2).all()
    # A RoI in the padding of an image of 60 x 70 is clipped to nothing.
    outside = torch.tensor([[80.0, 10.0, 90.0, 20.0]])
    assert not len(postprocessor()(prediction_of([[0.1, 0.9]]), [outside], [(60, 70)]).boxes[0])


def test_detections_carry_no_gradient(proposals):
    trained = BoxPrediction(torch.zeros(70, 5, requires_grad=True), torch.zeros(70, 5, 4, requires_grad=True))
    detections = postprocessor()(trained, proposals, SIZES)
    assert len(detections.boxes[0])
    assert not any(value.requires_grad for field in detections for value in field)


def test_class_agnostic_nms_keeps_the_best_class_of_each_object():
    result = {
        "boxes": torch.tensor([[20.0, 20, 40, 40], [21.0, 20, 40, 40], [60.0, 60, 80, 80], [30.0, 20, 50, 40]]),
        "labels": torch.tensor([2, 1, 1, 1]),
        "scores": torch.tensor([0.6, 0.3, 0.2, 0.1]),
        "masks": torch.rand(4, 1, 90, 90),
    }
    once = class_agnostic_nms(result)
    assert once["labels"].tolist() == [2, 1, 1]  # the last overlaps the first by a third
    assert torch.equal(once["masks"], result["masks"][[0, 2, 3]])
    assert class_agnostic_nms(result, 0.3)["scores"].tolist() == pytest.approx([0.6, 0.2])
