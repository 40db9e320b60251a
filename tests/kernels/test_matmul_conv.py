"""A convolution as a matrix product against PyTorch's own convolution."""

import pytest
import torch
import torch.nn.functional as F

from maskrcnn.kernels import Conv2d

WIDE = 64  # output channels: more than twice as many as a small map has pixels


def spy_on_linear(monkeypatch) -> list[int]:
    """The number of rows of each matrix product from now on."""
    rows, linear = [], F.linear
    monkeypatch.setattr(F, "linear", lambda x, *rest: rows.append(x.shape[:-1].numel()) or linear(x, *rest))
    return rows


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (5, 3)])
@pytest.mark.parametrize("size", [(4, 5), (5, 4), (1, 1), (5, 7)])
def test_values_and_gradients_agree_with_pytorch(kernel, stride, size, bias, layout, monkeypatch):
    torch.manual_seed(0)
    conv = Conv2d(3, WIDE * 3, kernel, stride, kernel // 2, bias=bias).double().to(memory_format=layout)
    x = torch.randn(2, 3, *size, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    expected = F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding)
    products = spy_on_linear(monkeypatch)
    actual = conv(x)
    assert products == [actual[:, 0].numel()]
    torch.testing.assert_close(actual, expected)
    grad = torch.randn_like(expected)
    gradients = [torch.autograd.grad(y, (x, *conv.parameters()), grad) for y in (actual, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_result_is_laid_out_as_the_other_layers_expect_it():
    conv = Conv2d(3, 2 * WIDE, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert conv(x).is_contiguous(memory_format=torch.channels_last)


def test_autocast_reaches_the_product():
    conv = Conv2d(3, WIDE, 3, padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert conv(torch.randn(2, 3, 4, 5)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "changes",
    [
        {"groups": 3},
        {"dilation": 2, "padding": 2},
        {"padding": 0},
        {"padding_mode": "reflect"},
        {"kernel_size": (1, 3), "padding": (0, 1)},
        {"stride": (1, 2)},
        {"kernel_size": 2},
    ],
    ids=str,
)
def test_other_convolutions_are_left_to_pytorch(changes, monkeypatch):
    torch.manual_seed(0)
    conv = Conv2d(**{"in_channels": 3, "out_channels": 3 * WIDE, "kernel_size": 3, "padding": 1} | changes)
    plain = torch.nn.Conv2d(**{"in_channels": 3, "out_channels": 3 * WIDE, "kernel_size": 3, "padding": 1} | changes)
    plain.load_state_dict(conv.state_dict())
    products = spy_on_linear(monkeypatch)
    x = torch.randn(1, 3, 5, 5)
    torch.testing.assert_close(conv(x), plain(x))
    assert not products


@pytest.mark.parametrize(("size", "product"), [((4, 7), True), ((31, 1), True), ((4, 8), False), ((20, 30), False)])
def test_maps_with_half_as_many_pixels_as_channels_are_left_to_pytorch(size, product, monkeypatch):
    products = spy_on_linear(monkeypatch)
    Conv2d(3, WIDE, 1)(torch.randn(1, 3, *size))
    assert bool(products) == product
