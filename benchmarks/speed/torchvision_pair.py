"""The two sides of every comparison: torchvision's Mask R-CNN and ours with the same weights, and inputs for both.

The weights are random, but scaled as a trained network's are: residual branches that do not explode, logits that spread.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN as TorchvisionMaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from maskrcnn import Config, MaskRCNN
from maskrcnn.boxes import masks_to_boxes
from maskrcnn.weights import load


def scatter_weights(model: nn.Module, num_classes: int) -> None:
    generator = torch.Generator().manual_seed(1)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, FrozenBatchNorm2d):
                uniform(module.running_mean, -0.2, 0.2)
                uniform(module.running_var, 0.5, 2.0)
                uniform(module.weight, 0.1, 0.4) if name.endswith("bn3") else uniform(module.weight, 0.7, 1.3)
                uniform(module.bias, -0.1, 0.1)
        for name, scale in (
            ("rpn.head.cls_logits.weight", 20),
            ("rpn.head.bbox_pred.weight", 5),
            ("roi_heads.box_predictor.cls_score.weight", 40 if num_classes > 10 else 10),
            ("roi_heads.box_predictor.bbox_pred.weight", 20),
        ):
            model.get_parameter(name).mul_(scale)


def both(num_classes: int, min_size: int, max_size: int, rois: int = 512) -> tuple[TorchvisionMaskRCNN, MaskRCNN]:
    """What maskrcnn_resnet50_fpn builds when it loads published weights, without downloading them; and ours.

    rois: sampled in an image when training. Both are in evaluation mode.
    """
    torch.manual_seed(0)
    norm = partial(FrozenBatchNorm2d, eps=0.0)
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=norm, trainable_layers=3)
    theirs = TorchvisionMaskRCNN(
        backbone, num_classes, min_size=min_size, max_size=max_size, box_batch_size_per_image=rois
    )
    scatter_weights(theirs, num_classes)
    ours = MaskRCNN(
        Config.torchvision(num_classes, min_size=min_size, max_size=max_size, box_batch_size_per_image=rois)
    )
    report = load(ours, theirs.state_dict())
    assert [report.missing, report.unexpected, report.skipped] == [[], [], {}]
    return theirs.eval(), ours.eval()


def smooth_images(*sizes: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    coarse = [torch.rand(1, 3, h // 16, w // 16, generator=generator) for h, w in sizes]
    return [
        nn.functional.interpolate(c, size=s, mode="bicubic")[0].clamp(0, 1) for c, s in zip(coarse, sizes, strict=True)
    ]


def ellipse_targets(sizes: list[tuple[int, int]], num_classes: int, count: int = 4) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(3)
    targets = []
    for height, width in sizes:
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        masks = []
        for _ in range(count):
            cx, cy, rx, ry = (
                torch.rand(4, generator=generator) * torch.tensor([0.6 * width, 0.6 * height, 40, 40])
            ).tolist()
            cx, cy, rx, ry = cx + 0.2 * width, cy + 0.2 * height, rx + 12, ry + 12
            mask = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1
            masks.append(mask)
        labels = torch.randint(1, num_classes, (count,), generator=generator)
        stacked = torch.stack(masks)
        targets.append({"boxes": masks_to_boxes(stacked), "labels": labels, "masks": stacked.to(torch.uint8)})
    return targets
