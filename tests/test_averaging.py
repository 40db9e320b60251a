import pytest
import torch
from torch import nn

from maskrcnn.averaging import moving_average


def test_weights_follow_by_hand():
    """After n steps the past counts (1 + n) / (10 + n), at most the decay."""
    model = nn.Linear(1, 1, bias=False)
    averaged = moving_average(model, decay=0.25)
    expected = None
    for n, value in enumerate((1.0, 2.0, 4.0, 8.0, 16.0)):
        with torch.no_grad():
            model.weight.fill_(value)
        averaged.update_parameters(model)
        past = min(0.25, (1 + n) / (10 + n))
        expected = value if expected is None else past * expected + (1 - past) * value
        assert averaged.module.weight.item() == pytest.approx(expected)
    assert model.weight.item() == 16


def test_the_average_survives_saving():
    torch.manual_seed(0)
    model = nn.Linear(3, 3)
    one, other = (moving_average(model, 0.9) for _ in range(2))
    for _ in range(3):
        with torch.no_grad():
            model.weight.add_(1)
        one.update_parameters(model)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.module.weight, other.module.weight)
    with torch.no_grad():
        model.weight.add_(1)
    for averaged in (one, other):
        averaged.update_parameters(model)
    assert torch.equal(one.module.weight, other.module.weight)
