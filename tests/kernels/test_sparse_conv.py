"""The 3x3 convolution whose backward pass skips locations without gradient, against the convolution itself."""

import pytest
import torch
from torch import nn

from maskrcnn.kernels import sparse_gradient_conv


def sparse_weights(fraction, generator, dtype=torch.float64):
    """Numbers at this fraction of the locations of a map [2, 6, 11, 7], a corner among them, else 0."""
    few = torch.rand(2, 1, 11, 7, generator=generator) < fraction
    few[1, 0, 10, 6] = fraction > 0  # in the corner, where the convolution reads padding
    return torch.randn(2, 6, 11, 7, dtype=dtype, generator=generator) * few


@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_of_few_locations_and_of_many_are_those_of_the_convolution(fraction, layout):
    generator = torch.Generator().manual_seed(0)
    conv = nn.Conv2d(6, 6, 3, padding=1).double()
    x = torch.randn(2, 6, 11, 7, dtype=torch.float64, generator=generator).to(memory_format=layout).requires_grad_()
    weights = sparse_weights(fraction, generator)
    inputs = (x, conv.weight, conv.bias)
    torch.testing.assert_close(sparse_gradient_conv(conv, x), conv(x))
    expected = torch.autograd.grad((conv(x) * weights).sum(), inputs)
    actual = torch.autograd.grad((sparse_gradient_conv(conv, x) * weights).sum(), inputs)
    for ours, theirs in zip(actual, expected):
        torch.testing.assert_close(ours, theirs)


def test_each_corner_and_edge_reads_padding_of_zeros():
    conv = nn.Conv2d(2, 3, 3, padding=1).double()
    x = torch.randn(1, 2, 20, 20, dtype=torch.float64, requires_grad=True)  # 4 of 400: the sparse way
    for row, column in [(0, 0), (0, 19), (19, 0), (19, 19), (0, 7), (7, 0), (19, 7), (7, 19)]:
        expected = torch.autograd.grad(conv(x)[0, :, row, column].sum(), (x, conv.weight, conv.bias))
        actual = torch.autograd.grad(
            sparse_gradient_conv(conv, x)[0, :, row, column].sum(), (x, conv.weight, conv.bias)
        )
        for ours, theirs in zip(actual, expected):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("fraction", [0.02, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_get_float32_gradients_under_autocast(dtype, fraction):
    generator = torch.Generator().manual_seed(0)
    conv = nn.Conv2d(6, 6, 3, padding=1)
    x = torch.randn(2, 6, 11, 7, generator=generator).to(dtype).requires_grad_()
    weights = sparse_weights(fraction, generator, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        (sparse_gradient_conv(conv, x) * weights).sum().backward()
    assert (conv.weight.grad.dtype, conv.bias.grad.dtype, x.grad.dtype) == (torch.float32, torch.float32, dtype)
