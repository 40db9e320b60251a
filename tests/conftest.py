"""An image with a square on it, for tests of pictures."""

import pytest
import torch


@pytest.fixture
def image():
    return torch.rand(3, 60, 80, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def objects():
    """A square of pixels 20..39 by 30..49, with room for its label above, as a target has it."""
    masks = torch.zeros(1, 60, 80, dtype=torch.uint8)
    masks[0, 30:50, 20:40] = 1
    return {"boxes": torch.tensor([[20.0, 30.0, 40.0, 50.0]]), "labels": torch.tensor([2]), "masks": masks}


@pytest.fixture
def nothing():
    return {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long(), "masks": torch.zeros(0, 60, 80)}


@pytest.fixture
def prediction_of():
    """(objects, score) -> a prediction: it has scores, and masks of one channel."""

    def make(objects, score):
        return {**objects, "scores": torch.tensor([score]), "masks": objects["masks"][:, None].float() * 0.9}

    return make
