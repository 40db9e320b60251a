"""What all lessons use: synthetic images, and one small trained model.

python course.py        trains the model, about two minutes on two cores, unless it exists already
"""

import contextlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import trange

# The lessons are run from this folder; the package data belongs to the checkout and is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import data.augment
import data.colour
import data.synthetic.cell
import data.synthetic.smear
from data.augment import Augmentation, flip_vertically
from data.dataset import SmearDataset
from data.image_io import Annotated
from data.loader import Loader, stored_size
from data.records import ImageRecord
from data.samples import cells_of_codes, make_sample, without_fragments
from data.synthetic.smear import draw_smear
from maskrcnn import Config, MaskRCNN
from maskrcnn.config import LISC_CLASSES
from maskrcnn.inference.device import autocast
from maskrcnn.training.schedule import lr_at
from maskrcnn.weights import load_checkpoint, save_checkpoint

SIZE = (320, 240)  # width, height of an image in pixels
MODEL = Path(__file__).parents[1] / "runs" / "lessons" / "best.pt"
IMAGES, STEPS = 120, 360


def synthetic_images(labels: Sequence[Sequence[str]], seed: int) -> SmearDataset:
    """Synthetic smears in memory, one for each list of classes. A cell for which there is no room is left out."""
    records, samples = [], []
    for k, names in enumerate(labels):
        image, mask = draw_smear(names, np.random.default_rng([seed, k]), SIZE)
        records.append(ImageRecord(Path(f"synthetic {k}")))
        samples.append(make_sample(Annotated(image, cells_of_codes(mask), [], []), records[-1]))
    return SmearDataset(records, without_fragments(samples), LISC_CLASSES)


def synthetic_image(*labels: str, seed: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    """An image [3, 240, 320] with cells of these classes, and its target."""
    return synthetic_images([labels], seed)[0]


def crowded_images(count: int, seed: int) -> SmearDataset:
    """Images with three cells each, the classes in turn."""
    names = [LISC_CLASSES[i % len(LISC_CLASSES)] for i in range(3 * count)]
    return synthetic_images([names[3 * k : 3 * k + 3] for k in range(count)], seed)


def overlapping_cells(k: int) -> tuple[Tensor, Tensor]:
    """An image with one cell, and the same cell again, upside down and half under it: image [3, H, W], boxes [2, 4]."""
    image, target = synthetic_image(LISC_CLASSES[k % len(LISC_CLASSES)], seed=100 + k)
    upside_down, below = flip_vertically(image, target)
    box, mask = target["boxes"][0], target["masks"][0].bool()
    right = round(0.43 * float(box[2] - box[0])) * (1 if box[0] + box[2] < SIZE[0] else -1)
    down = round(float(box[1] - below["boxes"][0, 1]))
    under = torch.roll(below["masks"][0], (down, right), (0, 1)).bool() & ~mask
    image = torch.where(under, torch.roll(upside_down, (down, right), (1, 2)), image)
    return image, torch.cat([target["boxes"], below["boxes"] + torch.tensor([right, down, right, down])])


def lesson_config() -> Config:
    """The small preset with smaller images, and heads as in the paper: boxes and masks per class, no norm, RoIs of two
    levels."""
    return Config.small(
        min_size=160,
        max_size=320,
        canonical_box_size=112,
        class_agnostic_boxes=False,
        class_agnostic_masks=False,
        mask_head_norm=False,
    )


def train(model: MaskRCNN, dataset: SmearDataset, steps: int, peak_lr: float = 4e-4) -> dict[str, float]:
    """The training loop of train.py without validation and checkpoints. Returns the mean of each loss."""
    size = model.transform.resized_size(SIZE[::-1])
    stored = dataset.downscaled([stored_size(size)] * len(dataset))
    loader = Loader(stored, 2, torch.device("cpu"), Augmentation(), [size] * len(dataset), workers=0)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=peak_lr, weight_decay=0.05, fused=True)
    sums: dict[str, float] = {}
    model.train()
    for step, (images, targets) in zip(trange(steps, leave=False, disable=None), loader.epochs(steps), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step, step / steps, peak_lr, decay_fraction=0.6)
        with autocast(images[0].device):
            losses = model(images, targets)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value.item() / steps
    model.eval()
    return sums


def trained_model() -> MaskRCNN:
    """The model that the lessons look at. It is trained from random weights the first time, and again when its config, its
    images or their augmentation have changed; after a change of the network itself, delete runs/lessons."""
    parts = (
        synthetic_images,
        crowded_images,
        train,
        data.augment,
        data.colour,
        data.synthetic.cell,
        data.synthetic.smear,
    )
    code = [inspect.getsource(part) for part in parts]
    recipe = {"code": code, "images": IMAGES, "steps": STEPS, "config": lesson_config().to_dict()}
    with contextlib.suppress(ValueError):  # no such file, or one of another version
        model, saved = load_checkpoint(MODEL)
        if saved.get("recipe") == recipe:
            return model.eval()
    print(f"training the model of the lessons, {STEPS} steps")
    torch.manual_seed(0)
    model = MaskRCNN(lesson_config())
    train(model, crowded_images(IMAGES, seed=1), STEPS)
    MODEL.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(MODEL, model, recipe=recipe)
    return model.eval()


def check(answer: Any, expected: float) -> None:
    """Print whether the answer to an exercise is right, to within a thousandth."""
    if answer is ...:
        print("not yet: replace the dots")
    elif abs(float(answer) - expected) < 1e-3:
        print("right")
    else:
        print(f"not yet: it gives {float(answer):.4f} and should give {expected:.4f}")


if __name__ == "__main__":
    trained_model()
