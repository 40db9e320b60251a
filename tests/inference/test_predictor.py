"""What maskrcnn predict shows the model, and what it warns of."""

import argparse

import numpy as np
import pytest
import torch
from PIL import Image

from maskrcnn import Config, MaskRCNN
from maskrcnn.inference import predictor
from maskrcnn.inference.colours import as_shown
from maskrcnn.inference.inputs import Input
from maskrcnn.inference.objects import Objects
from maskrcnn.inference.predictor import Predictor
from maskrcnn.inference.scale import TrainingScale

KNOWN = TrainingScale(0.5, True, (100, 150), (26.0, 27.0, 28.0, 30.0, 32.0, 33.0, 34.0))


@pytest.fixture
def seen(monkeypatch):
    """The scales and sizes at which the model was shown images; it finds a disc of 60 pixels each time."""
    calls = []

    def predict(model, image, precision, tta, scale, known, change, progress):
        calls.append((scale, tuple(image.shape[1:])))
        rows, columns = np.mgrid[: image.shape[1], : image.shape[2]]
        disc = torch.from_numpy((rows - 50) ** 2 + (columns - 70) ** 2 <= 30**2).float()
        values = {
            "boxes": torch.tensor([[40.0, 20, 101, 81]]),
            "labels": torch.tensor([1]),
            "scores": torch.tensor([0.9]),
        }
        return Objects.of_result({**values, "masks": disc[None, None]})

    monkeypatch.setattr(predictor, "predict", predict)
    return calls


def make(known=KNOWN, images=(), **options):
    defaults = {"diameter": None, "scale": None, "precision": "float32", "tta": False, "score_threshold": 0.5}
    args = argparse.Namespace(**{**defaults, "keep_nested": False, **options})
    model = MaskRCNN(Config.small(min_size=64, max_size=128))
    return Predictor(model, args, known, as_shown(None, "adapt"), images)


@pytest.mark.parametrize(
    ("options", "scale"), [({}, 0.5), ({"diameter": 30.0}, 1.0), ({"scale": 2.0}, 0.25), ({"known": None}, None)]
)
def test_images_are_shown_at_the_scale_that_the_options_say(seen, options, scale):
    predict = make(**options)
    _, used = predict(np.zeros((100, 150, 3), np.uint8))
    assert seen == [(scale, (100, 150))]
    assert used == (scale or 0.64)  # the model's own: 64 by 100


def test_the_size_of_cells_is_estimated_from_files_that_can_be_read(monkeypatch, tmp_path):
    paths = [tmp_path / name for name in ("a.png", "broken.png", "b.png")]
    for path in (paths[0], paths[2]):
        Image.fromarray(np.full((20, 30, 3), 200, np.uint8)).save(path)
    paths[1].write_bytes(paths[0].read_bytes()[:60])
    looked_at = []

    def estimate(model, images, known, *options):
        looked_at.extend(tuple(image.shape) for image in images)
        return 120.0

    monkeypatch.setattr(predictor, "estimate_diameter", estimate)
    predict = make(diameter="auto", images=[Input(path, path) for path in paths])
    assert looked_at == [(3, 20, 30)] * 2
    assert predict.shown.scale == 0.25


def test_cells_of_another_size_than_those_of_training_are_told(seen):
    image = np.zeros((100, 150, 3), np.uint8)
    usual, twice, no_record = make(), make(diameter=30.0), make(known=None)
    for predict in (usual, twice, no_record):
        predict(image)
    assert usual.warnings() == []  # 60 pixels at a scale of 0.5 are the 30 of training
    assert "--diameter" in twice.warnings()[0]
    assert no_record.warnings() == []


def test_a_limit_that_was_reached_is_told(seen, monkeypatch):
    predict = make()
    full = Objects((1, 1), torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0), [], limited=True)
    monkeypatch.setattr(predictor, "predict", lambda *values, **options: full)
    predict(np.zeros((100, 150, 3), np.uint8))
    assert "in 1 image the model had more candidates" in predict.warnings()[0]
