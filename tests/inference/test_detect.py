"""One image through the model, against what the model itself returns."""

from types import SimpleNamespace

import pytest
import torch

from maskrcnn import Config, MaskRCNN
from maskrcnn.inference.detect import _is_limited, detect, predict
from maskrcnn.inference.scale import TrainingScale

SMALL = {"min_size": 64, "max_size": 96}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MaskRCNN(Config.small(**SMALL)).eval()


@pytest.fixture(scope="module")
def image():
    return torch.rand(3, 50, 70, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("around", [False, True])
@pytest.mark.parametrize("scale", [None, 1.0, 1.5])
def test_what_is_detected_is_what_the_model_returns(model, image, around, scale):
    torch.manual_seed(0)
    model = MaskRCNN(Config.small(**SMALL, boxes_around_masks=around)).eval()
    with torch.inference_mode():
        expected = model([image], scale=scale)[0]
    found = detect(model, image, "float32", scale).result()
    assert len(expected["scores"])
    assert torch.equal(found["labels"], expected["labels"])
    for name in ("boxes", "scores", "masks"):
        assert torch.allclose(found[name], expected[name], atol=1e-4)
    assert detect(model, image, "float32", scale).size == (50, 70)


@pytest.mark.parametrize(
    ("objectness", "scores", "is_limited"),
    [
        ([0.9, 0.6, 0.4], [0.9, 0.2], False),  # what was cut off has a score below 0.2
        ([0.9, 0.6, 0.4], [0.9, 0.5], True),
        ([0.9, 0.6, 0.5], [0.9], True),
        ([], [], False),
    ],
)
def test_a_limit_is_reached_if_likely_objects_may_be_cut_off(objectness, scores, is_limited):
    config = Config.small(rpn_post_nms_top_n_test=3, box_detections_per_img=2)
    found = {
        "proposals": SimpleNamespace(objectness=[torch.tensor(objectness)]),
        "detections": SimpleNamespace(scores=[torch.tensor(scores)]),
    }
    assert _is_limited(found, config) == is_limited


def test_an_image_is_shown_at_the_scale_of_training(model, image):
    """Whatever its size; a scale that is given counts more; without one the model's own, by the shorter side."""
    known = TrainingScale(0.9, True, (200, 300), (5.0,) * 7)
    shown = []
    original = model.transform.preprocess

    def record(images, scale=None):
        batch = original(images, scale)
        shown.append(batch.sizes[0])
        return batch

    model.transform.preprocess = record
    try:
        predict(model, image, known=known)
        predict(model, image, known=known, scale=0.5)
        predict(model, image)
        varied = TrainingScale(0.9, False, (200, 300), (5.0,) * 7)
        predict(model, image, known=varied)
    finally:
        del model.transform.preprocess
    assert shown == [(45, 63), (25, 35), (64, 89), (64, 89)]


def test_bytes_are_seen_as_numbers_are(model, image):
    pixels = (image * 255).round().byte()
    a, b = predict(model, pixels), predict(model, pixels / 255)
    assert torch.equal(a.boxes, b.boxes)
    assert torch.equal(a.scores, b.scores)
