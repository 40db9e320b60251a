"""What all lessons share: artificial fields to look at, and one model that has learnt a little.

python lesson.py        trains the model, about two minutes on two cores, unless it is there already
"""

import contextlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import data.augment
import data.cells
import data.smear
from data.augment import Augmentation, flip_vertically
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
FIELDS, STEPS = 120, 360


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


def covered_field(k: int) -> tuple[Tensor, Tensor]:
    """A field with one cell, and the same cell again, upside down and half under it: image [3, H, W], both boxes [2, 4]."""
    image, target = draw_fields([[CLASSES[k % len(CLASSES)]]], seed=100 + k)[0]
    upside_down, below = flip_vertically(image, target)
    box, mask = target["boxes"][0], target["masks"][0].bool()
    right = round(0.43 * float(box[2] - box[0])) * (1 if box[0] + box[2] < SIZE[0] else -1)
    down = round(float(box[1] - below["boxes"][0, 1]))
    under = torch.roll(below["masks"][0], (down, right), (0, 1)).bool() & ~mask
    image = torch.where(under, torch.roll(upside_down, (down, right), (1, 2)), image)
    return image, torch.cat([target["boxes"], below["boxes"] + torch.tensor([right, down, right, down])])


def lesson_config() -> Config:
    """The preset for smears, with images as small as these cells allow, and heads as in the paper: boxes and masks for each
    class, no norm, and RoIs from the map that fits their size."""
    return Config.lisc(
        min_size=160,
        max_size=320,
        roi_canonical_size=112,
        class_agnostic_boxes=False,
        class_agnostic_masks=False,
        mask_head_norm=False,
    )


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
    """The model that the lessons look at, from random weights. It is trained the first time, and again when its config, its
    fields or their augmentation have changed; after a change of the network itself, delete runs/lessons."""
    parts = (draw_fields, crowded_fields, train, data.augment, data.cells, data.smear)
    code = [inspect.getsource(part) for part in parts]
    recipe = {"code": code, "fields": FIELDS, "steps": STEPS, "config": lesson_config().to_dict()}
    with contextlib.suppress(ValueError):  # no such file, or of another version
        model, saved = load_checkpoint(MODEL)
        if saved.get("recipe") == recipe:
            return model.eval()
    print(f"training the model of the lessons, {STEPS} steps")
    torch.manual_seed(0)
    model = MaskRCNN(lesson_config())
    train(model, crowded_fields(FIELDS, seed=1), STEPS)
    MODEL.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(MODEL, model, recipe=recipe)
    return model.eval()


def check(answer: Any, expected: float) -> None:
    """Say whether the answer to an exercise is right, up to a thousandth."""
    if answer is ...:
        print("not yet: replace the dots")
    elif abs(float(answer) - expected) < 1e-3:
        print("right")
    else:
        print(f"not yet: it gives {float(answer):.4f} and should give {expected:.4f}")


if __name__ == "__main__":
    trained_model()
