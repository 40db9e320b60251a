import os
import signal
import time
from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from data.augment import Augmentation
from data.loading import Loader, rarity, uninterrupted


class Numbered:
    """A data set of one-cell images whose label is their number; reading one takes `seconds`."""

    def __init__(self, count: int, seconds: float = 0.0) -> None:
        self.count, self.seconds = count, seconds
        self.samples = [SimpleNamespace(labels=torch.tensor([1]))] * count

    def __len__(self) -> int:
        return self.count

    def shrunk(self, sizes):
        self.shrunk_to = sizes
        return self

    def __getitem__(self, index: int):
        time.sleep(self.seconds)
        mask = torch.zeros(1, 20, 30, dtype=torch.uint8)
        mask[0, 5:15, 10:20] = 1
        target = {"boxes": torch.tensor([[10.0, 5, 20, 15]]), "labels": torch.tensor([index]), "masks": mask}
        return torch.rand(3, 20, 30), target


CPU = torch.device("cpu")


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("augmentation", [None, Augmentation(copies=0)])
def test_an_epoch_shows_every_image_once_in_random_order(workers, augmentation):
    torch.manual_seed(0)
    loader = Loader(Numbered(7), 2, CPU, augmentation, [(20, 30)] * 7, workers)
    epochs = [[[int(t["labels"]) for t in targets] for _, targets in loader] for _ in range(2)]
    assert len(loader) == 4
    for batches in epochs:
        assert [len(batch) for batch in batches] == [2, 2, 2, 1]
        assert Counter(label for batch in batches for label in batch) == Counter(range(7))
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("workers", [0, 1])
def test_epochs_are_by_seed_and_differ(workers):
    def images(seed):
        torch.manual_seed(seed)
        loader = Loader(Numbered(3), 1, CPU, Augmentation(), [(20, 30)] * 3, workers)
        return [torch.stack([image[0].flatten() for image, _ in loader]) for _ in range(2)]

    first, again, other = images(0), images(0), images(1)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])


def test_fields_are_kept_at_twice_the_models_size_where_they_are_augmented():
    augmented, plain = Numbered(2), Numbered(2)
    Loader(augmented, 1, CPU, Augmentation(), [(20, 30), (16, 24)])
    Loader(plain, 1, CPU, None, [(20, 30), (16, 24)])
    assert augmented.shrunk_to == [(40, 60), (32, 48)]
    assert not hasattr(plain, "shrunk_to")


def test_waiting_is_what_the_model_waits_and_not_what_it_computes():
    loader = Loader(Numbered(4, seconds=0.05), 1, CPU, workers=0)
    for _ in loader:
        time.sleep(0.2)
    assert 4 * 0.05 <= loader.waited < 4 * 0.2


def test_another_process_reads_while_the_model_computes():
    alone, beside = (Loader(Numbered(6, seconds=0.1), 1, CPU, workers=workers) for workers in (0, 1))
    for loader in (alone, beside):
        for _ in loader:
            time.sleep(0.15)
    assert beside.waited < alone.waited


def test_ctrl_c_while_other_processes_are_started_comes_afterwards():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it is ignored
    reached = False
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            reached = True
        pytest.fail("it was lost")
    signal.signal(signal.SIGINT, before)
    assert reached


def test_rare_classes_are_drawn_more_often():
    labels = [torch.tensor([1])] * 8 + [torch.tensor([1, 2])] * 2 + [torch.tensor([], dtype=torch.int64)]
    assert rarity(labels, 1.0).tolist() == pytest.approx([0.1] * 8 + [0.5] * 2 + [0.1])
    assert rarity(labels, 0.5).tolist() == pytest.approx([0.1**0.5] * 8 + [0.5**0.5] * 2 + [0.1**0.5])
    torch.manual_seed(0)
    dataset = Numbered(100)  # each image its own class, but the first fifty, which share one
    dataset.samples = [SimpleNamespace(labels=torch.tensor([max(1, k - 49)])) for k in range(100)]
    loader = Loader(dataset, 10, CPU, workers=0, balance=1.0)
    shown = [int(t["labels"]) for _ in range(20) for _, targets in loader for t in targets]
    assert len(shown) == 20 * 100
    assert sum(label < 50 for label in shown) / len(shown) == pytest.approx(1 / 51, abs=0.01)


@pytest.mark.parametrize("copies", [0.5, 2.5])
def test_cells_come_from_so_many_other_fields_on_average_or_from_none(monkeypatch, copies):
    donors = []
    monkeypatch.setattr("data.augment.copy_cells", lambda image, target, *donor: (donors.append(1), (image, target))[1])
    torch.manual_seed(0)
    loader = Loader(Numbered(200), 10, CPU, Augmentation(copies=copies), [(20, 30)] * 200, workers=0)
    plain = loader.without_copies()
    assert (loader.pastes, plain.pastes) == (True, False)
    assert len(list(plain)) == 20
    assert not donors
    list(loader)
    assert len(donors) / 200 == pytest.approx(copies, abs=0.1)


def test_cells_come_from_fields_of_the_same_shape(monkeypatch):
    """Brought to another shape they would be stretched."""
    pairs = []
    monkeypatch.setattr("data.augment.copy_cells", lambda image, target, donor, _: (
        pairs.append((target["labels"].item() % 2, donor[1]["labels"].item() % 2)), (image, target))[1])  # fmt: skip
    torch.manual_seed(0)
    sizes = [(20, 30) if i % 2 else (30, 20) for i in range(40)]
    list(Loader(Numbered(40), 4, CPU, Augmentation(zoom=1, copies=2), sizes, workers=0))
    assert 20 < len(pairs) < 60  # half of 80
    assert all(own == other for own, other in pairs)


def test_without_augmentation_nothing_is_pasted_anyway():
    loader = Loader(Numbered(4), 2, CPU, workers=0)
    assert not loader.pastes
    assert len(list(loader.without_copies())) == 2


def test_images_have_the_models_size_with_augmentation_and_their_own_without():
    for augmentation, expected in ((Augmentation(), {(40, 60), (60, 40)}), (None, {(20, 30), (30, 20)})):
        loader = Loader(Numbered(20), 2, CPU, augmentation, [(40, 60)] * 20, workers=0)
        assert {tuple(image.shape[1:]) for images, _ in loader for image in images} == expected
