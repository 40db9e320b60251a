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
from maskrcnn.inference.predict import summary_line
from maskrcnn.inference.predictor import Predictor
from maskrcnn.inference.scale import TrainingScale
from maskrcnn.weights.coco import COCO_CLASSES

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


def finished(file, *diameters, scale=0.5):
    """An image with cells of these diameters."""
    return {"file": file, "scale": scale, "cells": [{"measures": {"diameter_px": diameter}} for diameter in diameters]}


def make(known=KNOWN, images=(), earlier_scale=None, **options):
    defaults = {"diameter": None, "scale": None, "precision": "float32", "tta": False, "score_threshold": 0.5}
    args = argparse.Namespace(**{**defaults, "keep_nested": False, **options})
    model = MaskRCNN(Config.small(min_size=64, max_size=128))
    return Predictor(model, args, known, as_shown(None, "adapt"), images, earlier_scale)


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
    usual, twice, no_record = (
        predict.warnings([finished("a.png", 60, scale=predict(image)[1])])
        for predict in (make(), make(diameter=30.0), make(known=None))
    )
    assert usual == []  # 60 pixels at a scale of 0.5 are the 30 of training
    assert "--diameter" in twice[0]
    assert no_record == []


def test_no_cell_in_any_image_is_told():
    assert "no cell was found" in make().warnings([finished("a.png"), finished("b.png")])[0]
    assert make().warnings([]) == []  # as nothing was looked at
    assert make().warnings([finished("a.png"), finished("b.png", 60)]) == []


def test_images_of_another_magnification_than_the_others_are_named():
    images = [finished(f"{k}.png", 60, 62) for k in range(6)]
    assert make().warnings(images) == []
    [warning] = make().warnings([*images, finished("odd.png", 120)])
    assert "in 1 of 7 images (odd.png)" in warning
    [warning] = make().warnings([finished(f"{k}.png", 120) for k in range(6)])
    assert "do not have the sizes" in warning  # all are: there is no other one


def test_a_limit_that_was_reached_is_told():
    images = [finished("a.png", 60), {**finished("b.png", 60), "limited": True}]
    assert "in 1 image the model had more candidates" in make().warnings(images)[0]


def test_what_was_estimated_for_earlier_images_holds_for_the_later_ones(monkeypatch):
    monkeypatch.setattr(predictor, "estimate_diameter", lambda *values: 1 / 0)
    assert make(diameter="auto", earlier_scale=0.21).shown.scale == pytest.approx(0.21)
    assert make(diameter="auto", earlier_scale=KNOWN.scale).shown.scale == KNOWN.scale


def test_many_classes_are_listed_if_they_were_found():
    assert summary_line({"a": 3, "b": 0}, 2) == "3 cells in 2 images: 3 a, 0 b"
    counts = {name: 2 * (name == "dog") for name in COCO_CLASSES}
    assert summary_line(counts, 1) == "2 objects in 1 image: 2 dog"
    assert summary_line(dict.fromkeys(COCO_CLASSES, 0), 1) == "0 objects in 1 image: none"
