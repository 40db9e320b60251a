"""The heads of the C4 models (He et al. 2017, fig. 4 left): what follows res5, which box and mask head have in common.

RoIAlign pools 14 x 14 from C4, and res5 with its stride of 2 makes [R, 2048, 7, 7] of it. Not much is left to the heads.
Glossary: R RoIs of all images together; K classes without background, which is class 0.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn.heads.box import BoxPrediction
from maskrcnn.heads.mask import MaskPrediction


class C4BoxHead(nn.Module):
    """The mean over the RoI, as in a ResNet that classifies, then class logits (softmax) and box deltas per class.

    roi_features [R, channels, 7, 7], of res5 -> BoxPrediction. class_agnostic: see BoxHead.
    """

    def __init__(self, channels: int, num_classes: int, class_agnostic: bool = False) -> None:
        super().__init__()
        self.class_logits = nn.Linear(channels, num_classes + 1)
        self.box_deltas = nn.Linear(channels, 4 if class_agnostic else (num_classes + 1) * 4)
        # Small initial weights (Girshick 2015, 4.1): without hidden layers the features of res5, which are large, decide.
        for layer, std in ((self.class_logits, 0.01), (self.box_deltas, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, roi_features: Tensor) -> BoxPrediction:
        x = roi_features.mean(dim=(2, 3))  # [R, 2048, 7, 7] -> [R, 2048]
        # Back to float32: box decoding and the losses need the precision.
        logits = self.class_logits(x).float()  # [R, K + 1]
        deltas = self.box_deltas(x).float().unflatten(1, (-1, 4))  # [R, K + 1 or 1, 4]
        return BoxPrediction(logits, deltas.expand(-1, logits.shape[1], -1))


class C4MaskHead(nn.Module):
    """A deconvolution to twice the size, and a 1x1 convolution to K masks: MaskHead without its 3x3 convolutions.

    roi_features [R, channels, 7, 7], of res5 -> [R, K, 14, 14]. hidden_channels: of the deconvolution. class_agnostic: see
    MaskHead.
    """

    def __init__(self, channels: int, hidden_channels: int, num_classes: int, class_agnostic: bool = False) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.deconv = nn.ConvTranspose2d(channels, hidden_channels, 2, stride=2)
        self.mask_logits = nn.Conv2d(hidden_channels, 1 if class_agnostic else num_classes, 1)
        nn.init.kaiming_normal_(self.deconv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.mask_logits.weight, std=0.001)  # every pixel starts at probability 0.5 (a loss of log 2)
        for layer in (self.deconv, self.mask_logits):
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, roi_features: Tensor, labels: Tensor) -> MaskPrediction:
        """labels: int64 [R] in 1..K, the class of each RoI: the true one in training, the predicted one at inference."""
        x = F.relu(self.deconv(roi_features))  # [R, 256, 14, 14]
        logits = self.mask_logits(x).float()  # [R, K or 1, 14, 14]
        return MaskPrediction(logits.expand(-1, self.num_classes, -1, -1), labels)
