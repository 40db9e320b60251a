"""Threads, hypothesis, and an image with one square object for tests of pictures."""

import os

import hypothesis
import pytest
import torch

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # workers share the cores, and so do the scripts that they start
    threads = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)

# The same examples in every run, on slow machines too, and no database of examples beside the code.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, max_examples=50)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture
def image():
    return torch.rand(3, 60, 80, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def objects():
    """A target: one square, columns 20 to 39 and rows 30 to 49, with room for its label above."""
    masks = torch.zeros(1, 60, 80, dtype=torch.uint8)
    masks[0, 30:50, 20:40] = 1
    return {"boxes": torch.tensor([[20.0, 30.0, 40.0, 50.0]]), "labels": torch.tensor([2]), "masks": masks}


@pytest.fixture
def nothing():
    """A target without objects."""
    return {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long(), "masks": torch.zeros(0, 60, 80)}


@pytest.fixture
def prediction_of():
    """(objects, score) -> a prediction: it has scores, and masks of one channel."""

    def make(objects, score):
        return {**objects, "scores": torch.tensor([score]), "masks": objects["masks"][:, None].float() * 0.9}

    return make
