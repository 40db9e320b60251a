"""Weighted sums of the pixels of a table against loops over their taps."""

import pytest
import torch

from maskrcnn.kernels import AxisWeights, merge_taps, sparse_pool

R, H, W, PIXELS = 4, 3, 2, 60  # RoIs, bins, pixels of the table


def axis(bins, taps, size, ragged, seed):
    """For each bin `taps` neighbours out of `size` pixels; ragged: it uses only the first few of them."""
    generator = torch.Generator().manual_seed(seed)
    pixel = torch.randint(size - taps, (R, bins, 1), generator=generator) + torch.arange(taps)
    weight = torch.randn(R, bins, taps, dtype=torch.float64, generator=generator)
    used = torch.randint(1, taps + 1, (R, bins), generator=generator, dtype=torch.int32) if ragged else None
    return AxisWeights(pixel.int(), weight, used)


def by_loops(table, rows, columns):
    output = []
    for r in range(R):
        for i in range(H):
            for j in range(W):
                bin = torch.zeros(table.shape[1], dtype=table.dtype)
                for a in range(rows.pixel.shape[2] if rows.used is None else rows.used[r, i]):
                    for b in range(columns.pixel.shape[2] if columns.used is None else columns.used[r, j]):
                        weight = rows.weight[r, i, a] * columns.weight[r, j, b]
                        bin = bin + weight * table[rows.pixel[r, i, a] + columns.pixel[r, j, b]]
                output.append(bin)
    return torch.stack(output)


@pytest.mark.parametrize("ragged", [False, True])
def test_sums_and_gradients_are_those_of_loops(ragged):
    rows, columns = axis(H, 4, 50, ragged, 0), axis(W, 3, 9, ragged, 1)
    table = torch.randn(PIXELS, 5, dtype=torch.float64, requires_grad=True)
    actual, expected = sparse_pool(table, rows, columns), by_loops(table, rows, columns)
    assert actual.shape == (R * H * W, 5)
    torch.testing.assert_close(actual, expected)
    weights = torch.randn_like(expected)
    for ours, theirs in zip(*(torch.autograd.grad((y * weights).sum(), table) for y in (actual, expected))):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("ragged", [False, True])
def test_the_gradient_has_a_gradient(ragged):
    rows, columns = axis(H, 2, 15, ragged, 0), axis(W, 2, 5, ragged, 1)
    table = torch.randn(20, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: sparse_pool(t, rows, columns), table)
    assert torch.autograd.gradgradcheck(lambda t: sparse_pool(t, rows, columns), table)


def test_the_same_pixel_twice_counts_twice():
    rows = AxisWeights(torch.tensor([[[0, 0]]]).int(), torch.tensor([[[1.0, 2.0]]]))
    columns = AxisWeights(torch.tensor([[[3]]]).int(), torch.tensor([[[10.0]]]))
    table = torch.arange(5.0)[:, None].requires_grad_()
    pooled = sparse_pool(table, rows, columns)
    assert pooled.tolist() == [[90.0]]  # (1 + 2) * 10 * 3
    pooled.sum().backward()
    assert table.grad[:, 0].tolist() == [0, 0, 0, 30, 0]


def test_merged_taps_name_each_pixel_once_with_the_sum_of_its_weights():
    pixel = torch.tensor([[[2, 3, 3, 4], [7, 7, 7, 7]]]).int()
    merged = merge_taps(pixel, torch.tensor([[[0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 3.0, 4.0]]]))
    assert merged.used.tolist() == [[3, 1]]
    assert merged.pixel[0, 0].tolist() == [2, 3, 4]
    torch.testing.assert_close(merged.weight[0, 0], torch.tensor([0.1, 0.5, 0.4]))
    assert merged.pixel[0, 1, 0] == 7
    assert merged.weight[0, 1].tolist() == [10, 0, 0]


def test_merging_changes_no_sum():
    generator = torch.Generator().manual_seed(0)
    pixels = [torch.randint(12, (R, bins, 6), generator=generator).sort().values.int() for bins in (H, W)]
    weights = [torch.randn(R, bins, 6, dtype=torch.float64, generator=generator) for bins in (H, W)]
    table = torch.randn(PIXELS, 5, dtype=torch.float64, generator=generator)
    plain = sparse_pool(table, *(AxisWeights(p, w) for p, w in zip(pixels, weights)))
    merged = sparse_pool(table, *(merge_taps(p, w) for p, w in zip(pixels, weights)))
    torch.testing.assert_close(merged, plain)
