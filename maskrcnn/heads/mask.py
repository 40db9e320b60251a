"""The mask head: for each RoI one small mask a class, each class by its own sigmoid (He et al. 2017, sec. 3, fig. 4 right).

Glossary: R RoIs of all images together; K classes without background; M the side of a mask (28).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn.describe import description
from maskrcnn.roi.align import roi_align


class MaskPrediction(NamedTuple):
    """mask_logits [R, K, M, M]: class k (1..K) has channel k - 1; labels [R] in 1..K, the class whose mask counts."""

    mask_logits: Tensor
    labels: Tensor

    def __repr__(self) -> str:
        return description(self)

    def of_label(self) -> Tensor:
        """The logits of each RoI's own class, [R, M, M]."""
        return self.mask_logits[torch.arange(len(self.labels), device=self.labels.device), self.labels - 1]

    def probabilities(self) -> Tensor:
        """The mask of each RoI's own class as probabilities, [R, M, M]."""
        return self.of_label().sigmoid()


class MaskTargets(NamedTuple):
    """masks [R, M, M] in 0..1, with soft edges: what the mask head should say of each RoI."""

    masks: Tensor

    def __repr__(self) -> str:
        return description(self)


class MaskHead(nn.Module):
    """3x3 convolutions, a deconvolution to twice the size, and a 1x1 convolution to K masks.

    roi_features [R, channels, 14, 14] -> [R, K, 28, 28]. width: channels of the hidden layers; depth: how many of them.
    class_agnostic: one mask is learnt for all K classes (sec. 4.2, Class-Specific vs. Class-Agnostic Masks: nearly as good
    on COCO; where a class has a dozen examples it learns its outlines from those of the others). norm: what follows each
    3x3 convolution, from random weights best GroupNorm (Wu and He 2018, sec. 4.2).
    """

    def __init__(
        self,
        channels: int,
        width: int,
        depth: int,
        num_classes: int,
        class_agnostic: bool = False,
        norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        inputs = [channels] + [width] * (depth - 1)
        # A norm takes the place of the bias before it.
        self.convs = nn.ModuleList(nn.Conv2d(c, width, 3, padding=1, bias=norm is None) for c in inputs)
        self.norms = nn.ModuleList(nn.Identity() if norm is None else norm(width) for _ in inputs)
        self.deconv = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.mask_logits = nn.Conv2d(width, 1 if class_agnostic else num_classes, 1)
        for layer in (*self.convs, self.deconv):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        # Small, so that training begins with "perhaps" for every pixel (a loss of log 2) rather than with a loud guess.
        nn.init.normal_(self.mask_logits.weight, std=0.001)
        nn.init.zeros_(self.mask_logits.bias)  # type: ignore[arg-type]

    def forward(self, roi_features: Tensor, labels: Tensor) -> MaskPrediction:
        """labels: int64 [R] in 1..K, the class of each RoI: the true one in training, the detected one after it."""
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
    """Each RoI's object, cut to the RoI by RoIAlign as its features are. size: M.

    For each image: boxes [R_i, 4], matched [R_i] indices into its masks [N_i, H, W].
    """
    targets = []
    for boxes_i, matched_i, masks_i in zip(boxes, matched, masks, strict=True):
        rois = torch.cat([matched_i[:, None].to(boxes_i.dtype), boxes_i], dim=1)  # the "image" of an RoI is its mask
        targets.append(roi_align(masks_i[:, None].to(boxes_i.dtype), rois, size, aligned=aligned)[:, 0])
    return MaskTargets(torch.cat(targets))


def mask_loss(prediction: MaskPrediction, targets: MaskTargets) -> Tensor:
    """Mean binary cross-entropy on the true class's mask only: classes do not compete (sec. 3, L_mask; table 2b).

    Returns a scalar; 0, still attached to the graph, where there is no RoI.
    """
    logits = prediction.of_label()
    return F.binary_cross_entropy_with_logits(logits, targets.masks, reduction="sum") / max(1, logits.numel())
