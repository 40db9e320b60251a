import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data.augment import Augmentation
from data.dataset import SmearDataset
from data.loader import Batch, Loader, defer_sigint, inverse_frequency_weights, stored_size
from data.samples import Sample
from maskrcnn.config import LISC_CLASSES
from maskrcnn.regions import Region

CPU = torch.device("cpu")


class Numbered:
    """Images with one cell, whose label is the number of the image. on_read(index) is called at each access."""

    def __init__(self, count: int, on_read=lambda index: None) -> None:
        self.count, self.on_read = count, on_read
        self.samples = [SimpleNamespace(labels=torch.tensor([1]))] * count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        self.on_read(index)
        mask = torch.zeros(1, 20, 30, dtype=torch.uint8)
        mask[0, 5:15, 10:20] = 1
        target = {"boxes": torch.tensor([[10.0, 5, 20, 15]]), "labels": torch.tensor([index]), "masks": mask}
        return torch.rand(3, 20, 30), target


@dataclass(frozen=True)
class Recorder(Augmentation):
    """Changes nothing, and records for each image its number and those of its donors."""

    calls: list[tuple[int, list[int]]] = field(default_factory=list)

    def __call__(self, sample, size, donors=()):
        self.calls.append((int(sample[1]["labels"]), [int(target["labels"]) for _, target in donors]))
        return sample


def batches_of(loader, epochs, skip=0):
    return [
        (list(loader.shown), [image.clone() for image in images], targets)
        for images, targets in loader.epochs(epochs, skip)
    ]


def test_what_a_batch_shows_depends_on_seed_epoch_and_place_alone():
    """Not on the number of worker processes, nor on where a resumed run begins, nor on what else draws random numbers."""
    options = {"augmentation": Augmentation(copies=1.5), "sizes": [(20, 30)] * 7, "class_balance": 0.5}
    torch.manual_seed(0)
    expected = batches_of(Loader(Numbered(7), 2, CPU, workers=0, **options), 3)
    assert len(expected) == 12
    torch.manual_seed(1)
    for workers, skip in ((1, 0), (2, 0), (0, 5), (2, 5), (0, 8)):
        loader = Loader(Numbered(7), 2, CPU, workers=workers, **options)
        actual = batches_of(loader, 3, skip)
        assert loader.epoch == 3
        assert len(actual) == 12 - skip
        for (shown, images, targets), (shown_before, images_before, targets_before) in zip(
            actual, expected[skip:], strict=True
        ):
            assert shown == shown_before
            assert all(map(torch.equal, images, images_before))
            for target, before in zip(targets, targets_before, strict=True):
                assert all(torch.equal(target[name], before[name]) for name in before)


def test_an_image_that_is_shown_twice_in_an_epoch_looks_different():
    loader = Loader(Numbered(1), 1, CPU, Augmentation(), [(20, 30)], workers=0)
    loader.batches.weights = torch.ones(1)
    first, second = (loader.batches[Batch(0, k, k, [0])][0][0] for k in range(2))
    assert not np.array_equal(first, second)


def test_making_batches_leaves_the_random_numbers_of_the_model_as_they_are():
    def numbers(loader):
        torch.manual_seed(0)
        return [float(torch.rand(1)) for _ in loader]

    assert numbers(range(4)) == numbers(Loader(Numbered(4), 1, CPU, Augmentation(), [(20, 30)] * 4, workers=0))


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("augmentation", [None, Augmentation(copies=0)])
def test_an_epoch_shows_every_image_once_in_random_order(workers, augmentation):
    loader = Loader(Numbered(7), 2, CPU, augmentation, [(20, 30)] * 7, workers)
    epochs = [[[int(t["labels"]) for t in targets] for _, targets in loader] for _ in range(2)]
    assert len(loader) == 4
    for batches in epochs:
        assert [len(batch) for batch in batches] == [2, 2, 2, 1]
        assert Counter(label for batch in batches for label in batch) == Counter(range(7))
    assert epochs[0] != epochs[1]


def test_epochs_follow_one_another():
    loader = Loader(Numbered(3), 2, CPU, workers=0)
    labels = [int(t["labels"]) for _, targets in loader.epochs(4) for t in targets]
    assert [sorted(labels[i : i + 3]) for i in range(0, 12, 3)] == [[0, 1, 2]] * 4
    assert list(loader.epochs(0)) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_epochs_are_deterministic_by_seed_and_differ(workers):
    def images(seed):
        loader = Loader(Numbered(3), 1, CPU, Augmentation(), [(20, 30)] * 3, workers, seed=seed)
        return [torch.stack([image[0].flatten() for image, _ in loader]) for _ in range(2)]

    first, again, other = images(0), images(0), images(1)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])


def test_images_may_be_stored_at_twice_the_size_of_the_model():
    """Large images are downscaled to it once; the batches have the model's size and look the same."""
    pixels = torch.rand(1, 3, 10, 15, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(pixels, (200, 300), mode="bicubic").clamp(0, 1)[0]
    cell = Region(50, 100, np.ones((100, 100), bool))
    image = (255 * smooth).byte().permute(1, 2, 0).contiguous()
    sample = Sample(image, [cell], torch.tensor([[100.0, 50, 200, 150]]), torch.tensor([1]))
    large = SmearDataset([None], [sample], LISC_CLASSES)
    size = (40, 60)
    stored = large.downscaled([stored_size(size)])
    assert stored.samples[0].size == (80, 120)
    off = Augmentation(zoom=0, stain=0, light=0, blur=0, copies=0)
    loaders = [Loader(dataset, 1, CPU, off, [size], workers=0) for dataset in (large, stored)]
    batches = []
    for loader in loaders:
        batches += list(loader)
    (first, (expected,)), (second, (target,)) = batches
    assert first[0].shape[1:] in {size, size[::-1]}
    assert (first[0] - second[0]).abs().max() < 0.02
    assert torch.equal(target["boxes"], expected["boxes"])


def test_wait_seconds_are_those_of_the_model_and_not_of_its_computation(monkeypatch):
    """With a clock of which reading an image takes 1 second, and a step of the model 10."""
    now = [0.0]

    def advance(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    loader = Loader(Numbered(4, on_read=lambda index: advance(1)), 1, CPU, workers=0)
    for _ in loader:
        advance(10)
    assert loader.wait_seconds == 4


def test_a_worker_reads_the_next_images_while_the_model_computes(tmp_path):
    """The model's first step waits until another image has been read. Without a worker, it never would be."""
    loader = Loader(Numbered(4, on_read=lambda index: (tmp_path / str(index)).touch()), 1, CPU, workers=1)
    for _ in loader:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        break
    assert len(list(tmp_path.iterdir())) >= 2


def test_ctrl_c_while_workers_start_is_deferred():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it is ignored
    reached = False
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        with defer_sigint():
            os.kill(os.getpid(), signal.SIGINT)
            reached = True
        pytest.fail("it was lost")
    signal.signal(signal.SIGINT, before)
    assert reached


def test_rare_classes_are_sampled_more_often():
    labels = [torch.tensor([1])] * 8 + [torch.tensor([1, 2])] * 2 + [torch.tensor([], dtype=torch.int64)]
    assert inverse_frequency_weights(labels, 1.0).tolist() == pytest.approx([0.1] * 8 + [0.5] * 2 + [0.1])
    assert inverse_frequency_weights(labels, 0.5).tolist() == pytest.approx(
        [0.1**0.5] * 8 + [0.5**0.5] * 2 + [0.1**0.5]
    )
    dataset = Numbered(100)  # each image has a class of its own, but for the first fifty, which share one
    dataset.samples = [SimpleNamespace(labels=torch.tensor([max(1, k - 49)])) for k in range(100)]
    loader = Loader(dataset, 10, CPU, workers=0, class_balance=1.0)
    shown = [int(t["labels"]) for _ in range(20) for _, targets in loader for t in targets]
    assert len(shown) == 20 * 100
    assert sum(label < 50 for label in shown) / len(shown) == pytest.approx(1 / 51, abs=0.01)


@pytest.mark.parametrize("copies", [0.0, 0.5, 2.5])
def test_the_mean_number_of_donors_is_as_asked_for(copies):
    recorder = Recorder(copies=copies)
    loader = Loader(Numbered(200), 10, CPU, recorder, [(20, 30)] * 200, workers=0)
    assert len(list(loader)) == 20
    assert loader.copy_paste_on == (copies > 0)
    assert Counter(image for image, _ in recorder.calls) == Counter(range(200))
    counts = [len(donors) for _, donors in recorder.calls]
    assert set(counts) <= {int(copies), int(copies + 0.5)}
    assert sum(counts) / 200 == pytest.approx(copies, abs=0.1)


def test_donors_have_the_same_shape():
    """Resized to another shape they would be stretched."""
    recorder = Recorder(copies=2)
    sizes = [(20, 30) if i % 2 else (30, 20) for i in range(40)]
    list(Loader(Numbered(40), 4, CPU, recorder, sizes, workers=0))
    pairs = [(image % 2, donor % 2) for image, donors in recorder.calls for donor in donors]
    assert 20 < len(pairs) < 60  # half of 80
    assert all(image == donor for image, donor in pairs)


def test_donors_of_rare_classes_are_sampled_more_often():
    dataset = Numbered(40)
    dataset.samples = [SimpleNamespace(labels=torch.tensor([2 if k == 7 else 1])) for k in range(40)]
    for class_balance, expected in ((0.0, 1 / 40), (1.0, 1 / 2)):
        recorder = Recorder(copies=5)
        loader = Loader(dataset, 4, CPU, recorder, [(20, 30)] * 40, workers=0, class_balance=class_balance)
        list(loader.epochs(4))
        donors = [donor for _, donors in recorder.calls for donor in donors]
        assert len(donors) == 4 * 40 * 5
        assert donors.count(7) / len(donors) == pytest.approx(expected, abs=0.06)


def test_without_augmentation_nothing_is_pasted():
    loader = Loader(Numbered(4), 2, CPU, workers=0)
    assert not loader.copy_paste_on
    assert all(len(target["labels"]) == 1 for _, targets in loader for target in targets)


def test_images_have_the_models_size_with_augmentation_and_their_own_without():
    for augmentation, expected in ((Augmentation(), {(40, 60), (60, 40)}), (None, {(20, 30), (30, 20)})):
        loader = Loader(Numbered(20), 2, CPU, augmentation, [(40, 60)] * 20, workers=0)
        assert {tuple(image.shape[1:]) for images, _ in loader for image in images} == expected


def test_workers_stay_from_one_epoch_to_the_next_and_the_order_changes():
    class Workers(Numbered):
        def __getitem__(self, index: int):
            image, target = super().__getitem__(index)
            return image, {**target, "worker": torch.tensor([os.getpid()])}

    loader = Loader(Workers(8), 2, CPU, workers=2)
    epochs = [[target for _, targets in loader for target in targets] for _ in range(2)]
    first, second = ({int(target["worker"]) for target in targets} for targets in epochs)
    assert first == second
    assert len(first) == 2
    assert os.getpid() not in first
    orders = [[int(target["labels"]) for target in targets] for targets in epochs]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(8))


def test_workers_end_with_their_phase():
    """Under spawn each has a copy of the data set, beside those of the next phase."""
    before = set(multiprocessing.active_children())
    loader = Loader(Numbered(4), 2, CPU, workers=1)
    list(loader)
    [worker] = set(multiprocessing.active_children()) - before
    loader.close()
    worker.join(timeout=30)
    assert worker.exitcode is not None
    assert len(list(loader)) == 2


def test_batches_go_through_a_pipe_and_not_through_shared_memory():
    """A container has 64 MB of /dev/shm unless it is told otherwise, and a loader that fills it hangs."""
    batch = Loader(Numbered(2), 2, CPU, workers=0).batches[Batch(0, 0, 0, [0, 1])]
    arrays = [array for image, target in batch for array in (image, *target.values())]
    assert len(bytes(ForkingPickler.dumps(batch))) > sum(array.nbytes for array in arrays)


MANY_IMAGES = """
import multiprocessing, resource, sys
import torch
from pathlib import Path
from data.dataset import SmearDataset
from data.loader import Loader
from data.records import ImageRecord
from data.samples import Sample

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
    samples = [
        Sample(torch.full((8, 8, 3), k, dtype=torch.uint8), [], torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
        for k in range(200)
    ]
    dataset = SmearDataset([ImageRecord(Path(str(k))) for k in range(200)], samples, ("cell",))
    loader = Loader(dataset, 4, torch.device("cpu"), workers=2)
    for _ in range(2):
        print(sorted(round(255 * float(image[0, 0, 0])) for images, _ in loader for image in images) == list(range(200)))
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has spawn alone, and no limit of open files to set")
def test_workers_start_in_any_way_with_more_images_than_open_files_are_allowed(tmp_path, method):
    """fork is Linux's default before Python 3.14, forkserver since then; spawn is that of macOS and Windows."""
    script = tmp_path / "many_images.py"
    script.write_text(MANY_IMAGES, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, script, method]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert result.stdout.split() == ["True", "True"], result.stderr[-2000:]
