"""A model whose predictions are given, and an evaluation of four images in which every count can be worked by hand."""

import pytest
import torch

from maskrcnn import Config
from maskrcnn.evaluation.evaluate import Accumulator
from maskrcnn.inference.objects import Objects

SIZE = 40
A, B = (2, 2, 12, 12), (20, 20, 32, 30)


def make_objects(*objects, scores=None):
    """objects: (box, label), each a filled rectangle. With scores they are a prediction, else a target."""
    boxes = torch.tensor([box for box, _ in objects]).float().reshape(-1, 4)
    masks = torch.zeros(len(objects), SIZE, SIZE)
    for mask, ((x1, y1, x2, y2), _) in zip(masks, objects):
        mask[y1:y2, x1:x2] = 1
    result = {
        "boxes": boxes,
        "labels": torch.tensor([label for _, label in objects], dtype=torch.int64),
        "masks": masks,
    }
    return result if scores is None else {**result, "scores": torch.tensor(scores), "masks": masks[:, None]}


class GivenPredictions(torch.nn.Module):
    """Predicts by the brightness of the image: its index, in hundredths."""

    config = Config.small(("a", "b", "c"))

    def __init__(self, predictions):
        super().__init__()
        self.predictions, self.weight = predictions, torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        assert not self.training
        return [self.predictions[round(float(image[0, 0, 0]) * 100)] for image in images]


def evaluate_given(predictions, targets, score_threshold=0.5, groups=None, files=None, class_names=("a", "b", "c")):
    """Evaluate predictions[i] on targets[i]."""
    accumulator = Accumulator(class_names, score_threshold, groups)
    for prediction, target in zip(predictions, targets, strict=True):
        accumulator.update(Objects.of_result(prediction), target)
    return accumulator.compute(files)


TARGETS = [make_objects((A, 1), (B, 2)), make_objects((A, 1)), make_objects((B, 2)), make_objects((A, 1))]
PREDICTIONS = [
    make_objects((A, 1), (B, 2), scores=[0.9, 0.8]),
    make_objects((A, 2), scores=[0.95]),  # misclassified
    make_objects(scores=[]),  # missed
    make_objects((A, 1), (B, 1), scores=[0.7, 0.6]),  # a false positive
]


@pytest.fixture(scope="session")
def given():
    """(predictions, targets, **options) -> Evaluation."""
    return evaluate_given


@pytest.fixture(scope="session")
def rectangles():
    """(*(box, label), scores=None) -> target or prediction."""
    return make_objects


@pytest.fixture
def given_model(monkeypatch):
    """predictions -> a model that `evaluate` finds them with."""
    monkeypatch.setattr(
        "maskrcnn.inference.detect.detect", lambda model, image, *_: Objects.of_result(model([image])[0])
    )
    return GivenPredictions


@pytest.fixture(scope="session")
def predictions():
    return PREDICTIONS


@pytest.fixture(scope="session")
def targets():
    return TARGETS


@pytest.fixture(scope="session")
def result():
    return evaluate_given(PREDICTIONS, TARGETS, files=[f"smears/{i}.png" for i in range(4)])
