"""An exponential moving average of a model's weights: less noise than the last step's, at the price of a copy."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of the model whose weights follow it: after every step call `update_parameters(model)`, then use `.module`.

    decay: the weight of the past at each step. In the first steps less, so that the random start is soon forgotten: after n
    steps at most (1 + n) / (10 + n).
    """

    def follow(averages: Sequence[Tensor], weights: Sequence[Tensor], steps: Any) -> None:
        past = min(decay, (1 + int(steps)) / (10 + int(steps)))
        torch._foreach_lerp_(list(averages), list(weights), 1 - past)

    rule: Callable[[Sequence[Tensor], Sequence[Tensor], Any], None] = follow
    return AveragedModel(model, multi_avg_fn=torch.no_grad()(rule))
