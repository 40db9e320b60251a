"""What all lessons share: artificial fields to look at, and one model that has learnt a little.

python lesson.py        trains the model, about a good minute on two cores, unless it is there already
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.augment import Augmentation
from data.dataset import SmearDataset, make_sample
from data.lisc import CLASSES, Field
from data.loading import Loader
from data.smear import draw_smear
from maskrcnn import Config, MaskRCNN
from maskrcnn.learner import Learner
from maskrcnn.schedule import Schedule
from maskrcnn.weights import load_checkpoint, save_checkpoint

SIZE = (320, 240)  # width, height of a field in pixels
MODEL = Path(__file__).parents[1] / "runs" / "lessons" / "best.pt"
FIELDS, STEPS = 120, 240


def draw_fields(labels: Sequence[Sequence[str]], seed: int) -> SmearDataset:
    """Artificial smears in memory, one for each list of classes. A cell that finds no room is left out."""
    fields, samples = [], []
    for k, names in enumerate(labels):
        place = Path(f"drawn {k}")
        fields.append(Field(place, place, None))
        samples.append(make_sample(*draw_smear(names, np.random.default_rng([seed, k]), SIZE), fields[-1]))
    return SmearDataset.of(fields, samples, CLASSES)


def field(*labels: str, seed: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    """One of them, with these classes of cells, as a detector takes it: image [3, 240, 320] and target."""
    return draw_fields([labels], seed)[0]


def crowded_fields(count: int, seed: int) -> SmearDataset:
    """Fields with three cells each, the classes in turn."""
    names = [CLASSES[i % len(CLASSES)] for i in range(3 * count)]
    return draw_fields([names[3 * k : 3 * k + 3] for k in range(count)], seed)


def lesson_config() -> Config:
    """The preset for smears, with images as small as these cells allow."""
    return Config.lisc(min_size=160, max_size=320)


def train(model: MaskRCNN, dataset: SmearDataset, steps: int, rate: float = 4e-4) -> dict[str, float]:
    """The training loop of train.py without its book-keeping. Returns the mean of each loss."""
    size = model.transform.resized(SIZE[::-1])
    device = torch.device("cpu")
    loader = Loader(dataset, 2, device, Augmentation(), [size] * len(dataset), workers=0)
    learner = Learner.of(model, Schedule(steps, None, rate, decay=0.6))
    losses = learner.train(loader.epochs(steps), steps, "auto", until=1.0)
    model.eval()
    return losses


def trained_model() -> MaskRCNN:
    """The model that the lessons look at. It is trained the first time: on 120 fields, from random weights."""
    if not MODEL.exists():
        print(f"training the model of the lessons, {STEPS} steps")
        torch.manual_seed(0)
        model = MaskRCNN(lesson_config())
        train(model, crowded_fields(FIELDS, seed=1), STEPS)
        MODEL.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(MODEL, model)
    return load_checkpoint(MODEL)[0].eval()


if __name__ == "__main__":
    trained_model()
