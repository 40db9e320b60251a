"""What the mask head is compared with (He et al. 2017, sec. 4.2): classes that compete (table 2b), and no convolutions
(table 2e).

Glossary: R RoIs of all images together; K classes without background; M the side of a mask (28).
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn.describe import described
from maskrcnn.heads.mask import MaskHead, MaskPrediction, MaskTargets


@described
class SoftmaxMaskPrediction(NamedTuple):
    """mask_logits [R, K + 1, M, M]: channel 0 is background, which every pixel may belong to; labels [R] in 1..K."""

    mask_logits: Tensor
    labels: Tensor

    def select_class(self) -> Tensor:
        """[R, M, M]: the logit of "the RoI's class, and no other", of which `probabilities` is the sigmoid."""
        index = self.labels[:, None, None, None].expand(-1, 1, *self.mask_logits.shape[2:])
        others = self.mask_logits.scatter(1, index, -torch.inf).logsumexp(dim=1)
        return self.mask_logits.gather(1, index)[:, 0] - others

    def probabilities(self) -> Tensor:
        """How probable it is, by the softmax over all classes, that a pixel belongs to the RoI's class: [R, M, M]."""
        return self.select_class().sigmoid()


class SoftmaxMaskHead(MaskHead):
    """The mask head with one output more, for background, whose classes compete for each pixel (table 2b: 5.5 points of AP
    worse than a sigmoid each). Arguments: those of MaskHead, all masks of a class of their own."""

    def __init__(self, channels: int, hidden_channels: int, num_convs: int, num_classes: int, **options: Any) -> None:
        super().__init__(channels, hidden_channels, num_convs, num_classes + 1, **options)

    def forward(self, roi_features: Tensor, labels: Tensor) -> SoftmaxMaskPrediction:  # type: ignore[override]
        return SoftmaxMaskPrediction(*super().forward(roi_features, labels))


def softmax_mask_loss(prediction: SoftmaxMaskPrediction, targets: MaskTargets) -> Tensor:
    """Mean cross-entropy of the pixels over all classes: the RoI's class where its mask is, background elsewhere. Returns a
    scalar; 0, still attached to the graph, where there is no RoI."""
    classes = prediction.labels[:, None, None] * (targets.masks >= 0.5)  # [R, M, M]
    return F.cross_entropy(prediction.mask_logits, classes, reduction="sum") / max(1, classes.numel())


class MLPMaskHead(nn.Module):
    """Two hidden layers and one output per class and pixel (table 2e: 2 points of AP worse than convolutions, which keep
    the place of a feature).

    roi_features [R, channels, resolution, resolution] -> MaskPrediction with masks of twice that side. dim: units of each
    hidden layer.
    """

    def __init__(self, channels: int, resolution: int, num_classes: int, dim: int = 1024) -> None:
        super().__init__()
        self.shape = (num_classes, 2 * resolution, 2 * resolution)
        self.fc1 = nn.Linear(channels * resolution * resolution, dim)
        self.fc2 = nn.Linear(dim, dim)
        self.mask_logits = nn.Linear(dim, num_classes * (2 * resolution) ** 2)
        nn.init.normal_(self.mask_logits.weight, std=0.001)
        nn.init.zeros_(self.mask_logits.bias)

    def forward(self, roi_features: Tensor, labels: Tensor) -> MaskPrediction:
        """labels: int64 [R] in 1..K, see MaskHead."""
        x = F.relu(self.fc1(roi_features.flatten(1)))
        x = F.relu(self.fc2(x))
        return MaskPrediction(self.mask_logits(x).float().unflatten(1, self.shape), labels)
