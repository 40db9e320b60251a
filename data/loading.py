"""From a data set to the batches of one epoch."""

from collections.abc import Iterator

import torch
from torch import Tensor

from data.augment import random_flips_and_turns
from data.dataset import SmearDataset


def batches(
    dataset: SmearDataset, size: int, device: torch.device
) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
    """One epoch: every image once, in random order, each laid down in one of eight ways.

    Yields lists of at most `size` images and targets, on the device, in the form that MaskRCNN takes.
    """
    for indices in torch.randperm(len(dataset)).split(size):
        samples = random_flips_and_turns([dataset[i] for i in indices.tolist()])
        yield (
            [image.to(device) for image, _ in samples],
            [{name: value.to(device) for name, value in target.items()} for _, target in samples],
        )
