"""Does the background give the class away? A control that every report of accuracy on smears should stand beside.

If all neutrophils come from one slide and all monocytes from another, a model can name the slide and never look at a cell.
So: cover every white cell, let a simple classifier name the class from the colours of what is left, and test it by
cross-validation on fields that it has not seen. Above chance, the data leak, and a high accuracy may be slide recognition.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from data.dataset import Sample, SmearDataset
from data.lisc import CLASSES
from data.splits import divide, open_splits

QUANTILES = (5, 15, 30, 50, 70, 85, 95)
HALO = 0.02  # of the image's longer side: how far around a cell its blur and shadow are covered, too
FOLDS = 5


class Leakage(NamedTuple):
    """How well the class is named from the background, and by chance. Shares of the fields of one class."""

    accuracy: float
    chance: float  # of always naming the commonest class
    balanced_accuracy: float  # mean over the classes of the share that is right
    balanced_chance: float  # 1 / classes
    fields: int

    def __str__(self) -> str:
        return (
            f"background alone names the class of {self.accuracy:.0%} of {self.fields} fields (always the commonest: "
            f"{self.chance:.0%}); mean over classes {self.balanced_accuracy:.0%} (chance: {self.balanced_chance:.0%})"
        )


def measure(samples: Sequence[Sample], groups: Sequence[int], seed: int = 0) -> Leakage | None:
    """The control on some fields. groups: equal numbers show the same field, and stay in one fold.

    Fields with several classes are left out, and classes with fewer than two groups. None if fewer than two classes stay.
    """
    labels = [int(s.labels[0]) if len(s.labels.unique()) == 1 else 0 for s in samples]
    spread = {label: len({g for g, own in zip(groups, labels, strict=True) if own == label}) for label in set(labels)}
    used = [i for i, label in enumerate(labels) if label and spread[label] > 1]
    names = sorted({labels[i] for i in used})
    if len(names) < 2:
        return None
    features = torch.stack([background(samples[i]) for i in used])
    target = torch.tensor([names.index(labels[i]) for i in used])
    fold = torch.tensor(divide([str(k) for k in target.tolist()], [groups[i] for i in used], FOLDS, seed))
    named = torch.full_like(target, -1)
    for k in fold.unique().tolist():
        named[fold == k] = classify(features[fold != k], target[fold != k], features[fold == k])
    right = (named == target).double()
    recall = torch.stack([right[target == k].mean() for k in range(len(names))])
    commonest = torch.bincount(target).max().item() / len(target)
    return Leakage(right.mean().item(), commonest, recall.mean().item(), 1 / len(names), len(used))


def background(sample: Sample) -> Tensor:
    """[3 Q]: quantiles of red, green and blue where no white cell is or is near."""
    height, width = sample.ids.shape
    reach = max(1, round(HALO * max(height, width)))
    outside: NDArray[np.bool_] = ndimage.distance_transform_edt(sample.ids.numpy() == 0) > reach
    pixels = sample.image.numpy()[outside] if outside.any() else sample.image.numpy().reshape(-1, 3)
    return torch.from_numpy(np.percentile(pixels, QUANTILES, axis=0).ravel()).float()


def classify(train: Tensor, labels: Tensor, test: Tensor, strength: float = 1e-2, rounds: int = 200) -> Tensor:
    """Multinomial logistic regression: features [N, D] and labels [N], 0 to K - 1 -> labels [M] of test [M, D].

    Features are standardised and taken with their squares, so that a class of two stains can be told from one between them.
    """
    mean, spread = train.mean(dim=0), train.std(dim=0) + 1e-3
    inputs = [
        torch.cat([x, x.square(), torch.ones(len(x), 1)], dim=1)
        for x in ((train - mean) / spread, (test - mean) / spread)
    ]
    weight = torch.zeros(inputs[0].shape[1], int(labels.max()) + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=rounds, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(inputs[0] @ weight, labels) + strength * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return (inputs[1] @ weight.detach()).argmax(dim=1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m data.leakage", description=__doc__)
    parser.add_argument("path", type=Path, metavar="PATH", help="folder of the images, as for train.py --data")
    parser.add_argument("--seed", type=int, default=0, help="of the folds (default: %(default)s)")
    args = parser.parse_args()
    try:
        splits = open_splits(args.path)
    except (ValueError, OSError) as error:
        print(f"data.leakage: {error}", file=sys.stderr)
        return 2
    print(of_splits(splits.train, splits.val, splits.groups, args.seed))
    return 0


def of_splits(train: SmearDataset, val: SmearDataset, groups: Sequence[int], seed: int = 0) -> str:
    """One line that says the control's result on all fields of a data set."""
    result = measure([*train.samples, *val.samples], groups, seed)
    return str(result) if result else f"too few classes for a control of the background; {', '.join(CLASSES)} are known"


if __name__ == "__main__":
    sys.exit(main())
