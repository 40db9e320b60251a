"""From a data set to the batches of one epoch, made by other processes while the model computes."""

import contextlib
import copy
import dataclasses
import itertools
import math
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data.augment import Augmentation, Sample, Size, random_flips_and_turns
from data.dataset import SmearDataset

SPARE = 2  # images are kept so many times larger than the model's: enough for any zoom and for soft edges of masks


class Batches(Dataset[list[Sample]]):
    """Augmented batches: the list of indices asks for one. weights [len(dataset)]: how often cells of each are copied."""

    def __init__(
        self, dataset: SmearDataset, augmentation: Augmentation | None, sizes: Sequence[Size], weights: Tensor
    ) -> None:
        self.dataset, self.augmentation, self.sizes, self.weights = dataset, augmentation, sizes, weights

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, indices: list[int]) -> list[Sample]:
        return random_flips_and_turns([self._sample(i) for i in indices])

    def _sample(self, index: int) -> Sample:
        if self.augmentation is None:
            return self.dataset[index]
        count = int(self.augmentation.copies + torch.rand(1))  # 0.3: one in three images out of ten; 1.5: one or two
        donors = torch.multinomial(self.weights, count, replacement=True).tolist() if count else []
        alike = [self.dataset[i] for i in donors if self.sizes[i] == self.sizes[index]]  # others would be stretched
        return self.augmentation(self.dataset[index], self.sizes[index], alike)


class Loader:
    """Epochs of batches: every image once, in random order, each laid down in one of eight ways.

    Iterating yields lists of at most `size` images and targets, on the device, in the form that MaskRCNN takes.
    `waited` is how many seconds, of all epochs so far, the model had to wait for a batch.
    """

    def __init__(
        self,
        dataset: SmearDataset,
        size: int,
        device: torch.device,
        augmentation: Augmentation | None = None,
        sizes: Sequence[Size] = (),
        workers: int | None = None,
        balance: float = 0.0,
    ) -> None:
        """augmentation: what is changed beside flips and turns, if anything; with it, sizes (height, width): what each field
        is brought to, the model's own, so that nothing is computed larger than needed.
        workers: processes that make the batches; None: as many as suit the device; 0: none but this one.
        balance: above 0, images, and the cells that are copied from them, are drawn with replacement, those of rare classes
        more often: an image counts by its rarest class, a class of n images as n ** -balance each. At 1 every class is
        shown as often.
        """
        self.weights = rarity([field.labels for field in dataset.samples], balance)  # all 1 for a balance of 0
        if augmentation:
            dataset = dataset.shrunk([(SPARE * height, SPARE * width) for height, width in sizes])
        self.batches = Batches(dataset, augmentation, sizes, self.weights)
        self.size, self.device, self.balance = size, device, balance
        self.workers = suitable_workers(device) if workers is None else workers
        self.waited = 0.0

    @property
    def pastes(self) -> bool:
        """Whether cells of other fields are pasted in."""
        return self.batches.augmentation is not None and self.batches.augmentation.copies > 0

    def without_copies(self) -> "Loader":
        """The same batches with no cells of other fields pasted in. The images are shared, not loaded again."""
        other, own = copy.copy(self), self.batches
        if own.augmentation:
            plain = dataclasses.replace(own.augmentation, copies=0.0)
            other.batches = Batches(own.dataset, plain, own.sizes, own.weights)
        return other

    def __len__(self) -> int:
        """Batches in an epoch."""
        return math.ceil(len(self.batches) / self.size)

    def epochs(self, count: int) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
        """The batches of so many epochs, one epoch after the other."""
        return itertools.chain.from_iterable(itertools.repeat(self, count))

    def __iter__(self) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
        count = len(self.batches)
        drawn = torch.multinomial(self.weights, count, replacement=self.balance > 0)
        order = [part.tolist() for part in drawn.split(self.size)]
        pinned = self.device.type == "cuda"
        begun = time.perf_counter()
        loader = DataLoader(self.batches, sampler=order, batch_size=None, num_workers=self.workers, pin_memory=pinned)
        with uninterrupted():
            batches = iter(loader)
        for samples in batches:  # batch_size is None since the sampler's lists are batches already
            images = [image.to(self.device, non_blocking=True) for image, _ in samples]
            targets = [{k: v.to(self.device, non_blocking=True) for k, v in target.items()} for _, target in samples]
            self.waited += time.perf_counter() - begun
            yield images, targets
            begun = time.perf_counter()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits meanwhile. One that comes while another process is started would be lost.

    Blocking it is not enough: any thread of this process may receive it, and then Python acts upon it in this one. But
    processes started here inherit that it is blocked, and so leave it to this one.
    """
    if threading.current_thread() is not threading.main_thread():  # no other thread has to do with signals
        yield
        return
    came = []
    before = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    blocks = hasattr(signal, "pthread_sigmask")  # not on Windows
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if blocks else set()
    try:
        yield
    finally:
        if blocks:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
    if came and callable(before):
        before(signal.SIGINT, None)


def rarity(labels: Sequence[Tensor], exponent: float) -> Tensor:
    """How often to draw each image, from the labels [N_i] in it: n ** -exponent, n being how many images show its rarest
    class. An image without any counts as of the most frequent."""
    shown = Counter(label for own in labels for label in own.unique().tolist())
    most = max(shown.values(), default=1)
    rarest = [min((shown[label] for label in own.unique().tolist()), default=most) for own in labels]
    return torch.tensor(rarest, dtype=torch.float64) ** -exponent


def suitable_workers(device: torch.device) -> int:
    """One process keeps up with a CPU; a GPU wants more."""
    cores = os.cpu_count() or 1
    if device.type == "cuda":
        return min(8, cores - 1)
    return min(1, cores - 1)
