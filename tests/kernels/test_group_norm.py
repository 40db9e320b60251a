"""The gradient of GroupNorm against PyTorch's own."""

import pytest
import torch
from torch import nn

from maskrcnn.kernels import GroupNorm


def pair(channels, groups, dtype=torch.float32):
    """Ours and PyTorch's, with the same weights, none of them 1 or 0."""
    generator = torch.Generator().manual_seed(0)
    affine = {
        "weight": torch.rand(channels, generator=generator) + 0.5,
        "bias": torch.randn(channels, generator=generator),
    }
    norms = GroupNorm(groups, channels, eps=0.1), nn.GroupNorm(groups, channels, eps=0.1)
    for norm in norms:
        norm.load_state_dict(affine)
    return [norm.to(dtype) for norm in norms]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("channels", "groups"), [(6, 3), (8, 1), (4, 4), (64, 2)])  # 64 / 2 is left to PyTorch
def test_values_and_gradients_agree_with_pytorch(channels, groups, layout):
    torch.manual_seed(0)
    ours, theirs = pair(channels, groups, torch.float64)
    x = (3 * torch.randn(2, channels, 5, 4, dtype=torch.float64) + 2).to(memory_format=layout).requires_grad_()
    grad = torch.randn_like(x)
    torch.testing.assert_close(ours(x), theirs(x))
    gradients = (torch.autograd.grad(norm(x), (x, norm.weight, norm.bias), grad) for norm in (ours, theirs))
    for actual, expected in zip(*gradients):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)  # sums are those of float32


def test_half_precision_is_as_near_as_rounding_allows():
    torch.manual_seed(0)
    norm = GroupNorm(4, 8)
    x, grad = torch.randn(2, 8, 9, 9), torch.randn(2, 8, 9, 9)
    x, grad = x.bfloat16(), grad.bfloat16()
    low, high = x.clone().requires_grad_(), x.float().requires_grad_()
    actual = torch.autograd.grad(norm(low), (low, norm.weight, norm.bias), grad)
    expected = torch.autograd.grad(norm(high), (high, norm.weight, norm.bias), grad.float())
    assert [g.dtype for g in actual] == [torch.bfloat16, torch.float32, torch.float32]
    for a, e in zip(actual, expected):
        assert (a - e).norm() <= 0.006 * e.norm()


@pytest.mark.parametrize("shape", [(2, 6), (2, 6, 7), (2, 6, 3, 2, 2)])
def test_inputs_without_height_and_width_are_left_to_pytorch(shape):
    ours, theirs = pair(6, 3)
    x = torch.randn(shape, requires_grad=True)
    torch.testing.assert_close(ours(x), theirs(x))
    actual, expected = (torch.autograd.grad(norm(x).square().sum(), x)[0] for norm in (ours, theirs))
    torch.testing.assert_close(actual, expected)


def test_it_is_loaded_and_listed_as_pytorchs():
    ours, theirs = pair(6, 3)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert isinstance(ours, nn.GroupNorm)
    assert str(ours) == str(theirs)
