"""Training batches, made by worker processes while the model computes."""

import contextlib
import math
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data.augment import Augmentation, Sample, Size, coin, random_dihedral
from data.dataset import SmearDataset

# Images are stored at this multiple of the training size: enough for any zoom and for soft edges of masks.
OVERSIZE = 2


ArraySample = tuple[NDArray[Any], dict[str, NDArray[Any]]]


class Batch(NamedTuple):
    """Which images a batch has. number: in its epoch. first: position of the first image in the epoch."""

    epoch: int
    number: int
    first: int
    indices: list[int]


ORDER, BATCH, IMAGE, STEP = range(1, 5)  # what random numbers are for: the order of an epoch, ..., a step of the model


def stream_seed(purpose: int, *key: int) -> int:
    """The seed of a random stream of its own, for a purpose and numbers from 0 on that say what it is for. So whatever is
    random depends on these alone: on no process, and on nothing that was drawn before."""
    return int(np.random.SeedSequence((purpose, *key)).generate_state(1, np.uint64)[0])


class AugmentedBatches(Dataset[list[ArraySample]]):
    """Augmented batches, which depend on the seed and the Batch alone. weights [len(dataset)]: how often the cells of each
    image are pasted into others."""

    def __init__(
        self,
        dataset: SmearDataset,
        augmentation: Augmentation | None,
        sizes: Sequence[Size],
        weights: Tensor,
        seed: int,
    ) -> None:
        self.dataset, self.augmentation, self.sizes, self.weights = dataset, augmentation, sizes, weights
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, batch: Batch) -> list[ArraySample]:
        """Arrays, which go through a pipe: tensors would go through /dev/shm, which in a container may hold 64 MB."""
        draw = torch.default_generator.manual_seed
        samples = []
        with torch.random.fork_rng(devices=[]):
            draw(stream_seed(BATCH, self.seed, batch.epoch, batch.number))
            transposed = coin()  # all or none: a batch of upright and lying images would be padded to a square
            for position, index in enumerate(batch.indices, start=batch.first):
                draw(stream_seed(IMAGE, self.seed, batch.epoch, position))
                image, target = random_dihedral(*self._sample(index), transposed)
                arrays = {name: value.contiguous().numpy() for name, value in target.items()}
                samples.append((image.numpy(), arrays))
        return samples

    def _sample(self, index: int) -> Sample:
        if self.augmentation is None:
            return self.dataset[index]
        count = int(self.augmentation.copies + torch.rand(1))  # copies = 0.3: 1 in 3 of 10 images; 1.5: 1 or 2
        donors = torch.multinomial(self.weights, count, replacement=True).tolist() if count else []
        same_size = [self.dataset[i] for i in donors if self.sizes[i] == self.sizes[index]]  # others would be stretched
        return self.augmentation(self.dataset[index], self.sizes[index], same_size)


class Loader:
    """Epochs of batches: as many images as there are, in random order, with random flips and quarter turns. The worker
    processes stay from one epoch to the next.

    Yields lists of at most `batch_size` images and targets, on the device, as MaskRCNN takes them. They depend on the seed,
    the epoch and the place in it, and not on the number of workers.
    epoch: the one that is shown next, counted from 0; it may be set. shown: the indices of the images of the latest batch.
    wait_seconds: how long the model has waited for batches, over all epochs so far.
    """

    def __init__(
        self,
        dataset: SmearDataset,
        batch_size: int,
        device: torch.device,
        augmentation: Augmentation | None = None,
        sizes: Sequence[Size] = (),
        workers: int | None = None,
        class_balance: float = 0.0,
        seed: int = 0,
    ) -> None:
        """augmentation: what else is changed; it needs sizes (height, width), to which each image is resized: the model's
        own, so that nothing is computed at a higher resolution than needed (see `stored_size`).
        workers: processes that make the batches; None: as many as suit the device; 0: this process makes them.
        class_balance: above 0, images, and the cells that are pasted, are sampled with replacement and weighted by
        `inverse_frequency_weights`. At 1 every class is shown equally often.
        """
        weights = inverse_frequency_weights([sample.labels for sample in dataset.samples], class_balance)
        self.batches = AugmentedBatches(dataset, augmentation, sizes, weights, seed)
        self.batch_size, self.device, self.class_balance = batch_size, device, class_balance
        self.workers = suitable_workers(device) if workers is None else workers
        self.wait_seconds, self.epoch, self.shown = 0.0, 0, list[int]()
        self.order: list[Batch] = []  # of the epoch
        self.loader = self._new_loader()

    def _new_loader(self) -> DataLoader[list[ArraySample]]:
        return DataLoader(
            self.batches,
            sampler=self.order,
            batch_size=None,  # an item of the sampler is a batch already
            num_workers=self.workers,
            collate_fn=_as_it_is,
            persistent_workers=self.workers > 0,
            worker_init_fn=_end_with_parent,
            generator=torch.Generator(),  # else each epoch would draw a number from the model's stream
        )

    def close(self) -> None:
        """End the worker processes, each of which may hold a copy of the data set. A further epoch would start new ones."""
        self.loader = self._new_loader()

    @property
    def copy_paste_on(self) -> bool:
        """Whether cells of other images are pasted in."""
        return self.batches.augmentation is not None and self.batches.augmentation.copies > 0

    def __len__(self) -> int:
        """Batches per epoch."""
        return math.ceil(len(self.batches) / self.batch_size)

    def epochs(self, count: int, skip: int = 0) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
        """The batches of so many epochs, one epoch after the other, without the first `skip` batches."""
        passed, skip = divmod(skip, len(self))
        self.epoch += passed
        for _ in range(count - passed):
            yield from self._batches(skip)
            skip = 0

    def __iter__(self) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
        return self.epochs(1)

    def _batches(self, skip: int) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
        """Those of one epoch."""
        self.order[:] = self._order(self.epoch)[skip:]
        self.epoch += 1
        begun = time.perf_counter()
        with defer_sigint():
            batches = iter(self.loader)
        for key, samples in zip(list(self.order), batches, strict=True):
            images = [self._on_device(image) for image, _ in samples]
            targets = [{name: self._on_device(value) for name, value in target.items()} for _, target in samples]
            self.shown = key.indices
            self.wait_seconds += time.perf_counter() - begun
            yield images, targets
            begun = time.perf_counter()

    def _order(self, epoch: int) -> list[Batch]:
        generator = torch.Generator().manual_seed(stream_seed(ORDER, self.batches.seed, epoch))
        count = len(self.batches)
        order = torch.multinomial(
            self.batches.weights, count, replacement=self.class_balance > 0, generator=generator
        ).split(self.batch_size)
        return [Batch(epoch, k, k * self.batch_size, indices.tolist()) for k, indices in enumerate(order)]

    def _on_device(self, array: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor


def _end_with_parent(_worker: int) -> None:
    """In a worker process: do not outlive a parent that was killed. PyTorch's own watch lets a worker wait for ever whose
    last batch nobody takes out of the pipe."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _as_it_is(batch: list[ArraySample]) -> list[ArraySample]:
    return batch


def stored_size(size: Size) -> Size:
    """The size at which an image is stored that is resized to `size` in training, see `SmearDataset.downscaled`."""
    return OVERSIZE * size[0], OVERSIZE * size[1]


@contextlib.contextmanager
def defer_sigint() -> Iterator[None]:
    """Defer Ctrl-C while worker processes start (it would be lost). SIGINT is also blocked, so that the workers inherit the
    mask and ignore it."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread handles signals
        yield
        return
    received = []
    handler = signal.signal(signal.SIGINT, lambda *_: received.append(True))
    can_block = hasattr(signal, "pthread_sigmask")  # not on Windows
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if can_block else set()
    try:
        yield
    finally:
        if can_block:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if received and callable(handler):
        handler(signal.SIGINT, None)


def inverse_frequency_weights(labels: Sequence[Tensor], exponent: float) -> Tensor:
    """How often to sample each image, from the labels [N_i] in it: n ** -exponent, where n images show its rarest class.
    An image without cells counts as one of the most frequent class."""
    images_with = Counter(label for in_image in labels for label in in_image.unique().tolist())
    most = max(images_with.values(), default=1)
    rarest = [min((images_with[label] for label in in_image.unique().tolist()), default=most) for in_image in labels]
    return torch.tensor(rarest, dtype=torch.float64) ** -exponent


def suitable_workers(device: torch.device) -> int:
    """One process keeps up with a CPU; a GPU needs more."""
    cores = os.cpu_count() or 1
    if device.type == "cuda":
        return min(8, cores - 1)
    return min(1, cores - 1)
