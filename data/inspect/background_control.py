"""Can the class be predicted from the background alone? A control to report beside every accuracy on smears.

If all neutrophils come from one slide and all monocytes from another, a model can recognise the slide and never look at a
cell. So all white cells are covered, and a simple classifier predicts the class from the colours of what is left, in
cross-validation on images that it was not trained on. If it is better than chance, a high accuracy of a model on these data
may be slide recognition.

Glossary: N images; K classes; D = 3 Q features: Q quantiles of each colour.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from data.samples import Sample
from data.splits import Splits, stratified_group_folds
from maskrcnn.regions import union

QUANTILES = (5, 15, 30, 50, 70, 85, 95)
HALO = 0.02  # of the image's longer side: the blur and the shadow around a cell are covered, too
FOLDS = 5


class BackgroundControl(NamedTuple):
    """How well the background predicts the class of an image, and the accuracy by chance. All are fractions."""

    accuracy: float
    chance: float  # of always predicting the most frequent class
    balanced_accuracy: float  # mean recall of the classes
    balanced_chance: float  # 1 / K
    images: int

    def __str__(self) -> str:
        return (
            f"background alone predicts the class of {self.accuracy:.0%} of {self.images} images (always the most "
            f"frequent class: {self.chance:.0%}); mean over classes {self.balanced_accuracy:.0%} (chance: "
            f"{self.balanced_chance:.0%})"
        )


def background_control(samples: Sequence[Sample], groups: Sequence[int], seed: int = 0) -> BackgroundControl | None:
    """The control on N images. groups: equal numbers show the same field of view, and stay in one fold.

    Images with cells of several classes are left out, and so are classes with fewer than two groups. None if fewer than two
    classes are left.
    """
    labels = [int(s.labels[0]) if len(s.labels.unique()) == 1 else 0 for s in samples]
    groups_with = {
        label: {g for g, other in zip(groups, labels, strict=True) if other == label} for label in set(labels)
    }
    used = [i for i, label in enumerate(labels) if label and len(groups_with[label]) > 1]
    classes = sorted({labels[i] for i in used})
    if len(classes) < 2:
        return None
    features = torch.stack([background_colours(samples[i]) for i in used])
    target = torch.tensor([classes.index(labels[i]) for i in used])
    folds = stratified_group_folds([str(k) for k in target.tolist()], [groups[i] for i in used], FOLDS, seed)
    fold = torch.tensor(folds)
    predicted = torch.full_like(target, -1)
    for k in fold.unique().tolist():
        predicted[fold == k] = classify(features[fold != k], target[fold != k], features[fold == k])
    correct = (predicted == target).double()
    recall = torch.stack([correct[target == k].mean() for k in range(len(classes))])
    chance = torch.bincount(target).max().item() / len(target)
    return BackgroundControl(correct.mean().item(), chance, recall.mean().item(), 1 / len(classes), len(used))


def control_of_splits(splits: Splits, seed: int = 0) -> str:
    """The result on all images of a data set, as one line of text."""
    result = background_control([*splits.train.samples, *splits.val.samples], splits.groups, seed)
    return str(result or "no background control: it needs two classes, each with two fields of view or more")


def background_colours(sample: Sample) -> Tensor:
    """[D]: quantiles of red, green and blue over the pixels that are neither on a white cell nor near one."""
    halo = max(1, round(HALO * max(sample.size)))
    distance = ndimage.distance_transform_edt(~union(sample.regions, sample.size))
    background: NDArray[np.bool_] = distance > halo
    pixels = sample.image.numpy()[background] if background.any() else sample.image.numpy().reshape(-1, 3)
    return torch.from_numpy(np.percentile(pixels, QUANTILES, axis=0).ravel()).float()


def classify(train: Tensor, labels: Tensor, test: Tensor, weight_penalty: float = 1e-2, steps: int = 200) -> Tensor:
    """Multinomial logistic regression: trained on features [N, D] and labels [N] in 0..K - 1, predicts labels [M] for
    test [M, D].

    Features are standardised. Their squares are features as well, so that a class with two stains can be separated from a
    class between them.
    """
    mean, spread = train.mean(dim=0), train.std(dim=0) + 1e-3
    inputs = [
        torch.cat([x, x.square(), torch.ones(len(x), 1)], dim=1)
        for x in ((train - mean) / spread, (test - mean) / spread)
    ]
    weight = torch.zeros(inputs[0].shape[1], int(labels.max()) + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(inputs[0] @ weight, labels) + weight_penalty * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return (inputs[1] @ weight.detach()).argmax(dim=1)
