"""The mask head: for each RoI one small mask per class, each with its own sigmoid (He et al. 2017, sec. 3, fig. 4 right).

Glossary: R RoIs of all images together; K classes without background; M the side of a mask (28).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn.describe import described
from maskrcnn.roi.align import roi_align


@described
class MaskPrediction(NamedTuple):
    """mask_logits [R, K, M, M]: class k (1..K) is channel k - 1; labels [R] in 1..K, the class whose mask is used."""

    mask_logits: Tensor
    labels: Tensor

    def select_class(self) -> Tensor:
        """The logits of each RoI's class, [R, M, M]."""
        return self.mask_logits[torch.arange(len(self.labels), device=self.labels.device), self.labels - 1]

    def probabilities(self) -> Tensor:
        """The mask of each RoI's class as probabilities, [R, M, M]."""
        return self.select_class().sigmoid()


@described
class MaskTargets(NamedTuple):
    """masks [R, M, M] in 0..1, with soft edges: the ground truth of each RoI, cropped to it."""

    masks: Tensor


class MaskHead(nn.Module):
    """3x3 convolutions, a deconvolution to twice the size, and a 1x1 convolution to K masks.

    roi_features [R, channels, 14, 14] -> [R, K, 28, 28]. hidden_channels, num_convs: of the 3x3 convolutions.
    class_agnostic: all classes share one mask (sec. 4.2, Class-Specific vs. Class-Agnostic Masks: nearly as good on COCO,
    and a class with a dozen examples learns its masks from the others). norm: after each 3x3 convolution; GroupNorm when
    training from random weights (Wu and He 2018, sec. 4.2).
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        num_convs: int,
        num_classes: int,
        class_agnostic: bool = False,
        norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        inputs = [channels] + [hidden_channels] * (num_convs - 1)
        # A norm makes the bias before it redundant.
        self.convs = nn.ModuleList(nn.Conv2d(c, hidden_channels, 3, padding=1, bias=norm is None) for c in inputs)
        self.norms = nn.ModuleList(nn.Identity() if norm is None else norm(hidden_channels) for _ in inputs)
        self.deconv = nn.ConvTranspose2d(hidden_channels, hidden_channels, 2, stride=2)
        self.mask_logits = nn.Conv2d(hidden_channels, 1 if class_agnostic else num_classes, 1)
        for layer in (*self.convs, self.deconv):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        # Small initial weights: every pixel starts at probability 0.5 (a loss of log 2).
        nn.init.normal_(self.mask_logits.weight, std=0.001)
        nn.init.zeros_(self.mask_logits.bias)  # type: ignore[arg-type]

    def forward(self, roi_features: Tensor, labels: Tensor) -> MaskPrediction:
        """labels: int64 [R] in 1..K, the class of each RoI: the true one in training, the predicted one at inference."""
        x = roi_features
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
        x = F.relu(self.deconv(x))  # [R, 256, 28, 28]
        logits = self.mask_logits(x).float()  # [R, K or 1, 28, 28]
        return MaskPrediction(logits.expand(-1, self.num_classes, -1, -1), labels)


@torch.no_grad()
def mask_targets(
    boxes: list[Tensor], matched: list[Tensor], masks: list[Tensor], size: int, aligned: bool
) -> MaskTargets:
    """Each RoI's ground-truth mask, cropped to the RoI by RoIAlign, as its features are. size: M.

    For each image: boxes [R_i, 4], matched [R_i] indices into its masks [N_i, H, W].
    """
    targets = []
    for boxes_i, matched_i, masks_i in zip(boxes, matched, masks, strict=True):
        # RoIAlign's "image" of an RoI is the mask of its object.
        rois = torch.cat([matched_i[:, None].to(boxes_i.dtype), boxes_i], dim=1)  # [R_i, 5]
        targets.append(roi_align(masks_i[:, None].to(boxes_i.dtype), rois, size, aligned=aligned)[:, 0])
    return MaskTargets(torch.cat(targets))


def mask_loss(prediction: MaskPrediction, targets: MaskTargets) -> Tensor:
    """Mean binary cross-entropy on the mask of the true class only: classes do not compete (sec. 3, L_mask; table 2b).

    Returns a scalar; 0, still attached to the graph, where there is no RoI.
    """
    logits = prediction.select_class()
    return F.binary_cross_entropy_with_logits(logits, targets.masks, reduction="sum") / max(1, logits.numel())
