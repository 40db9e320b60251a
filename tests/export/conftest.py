"""Small models with weights that scatter as a trained network's do: scores far from each other, boxes that move."""

import pytest
import torch

from benchmarks.speed.torchvision_pair import smooth_images
from maskrcnn import MaskRCNN
from maskrcnn.backbone import FrozenBatchNorm2d


def scatter(model):
    generator = torch.Generator().manual_seed(1)

    def uniform(tensor, low, high):
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, FrozenBatchNorm2d | torch.nn.BatchNorm2d | torch.nn.GroupNorm):
                uniform(module.weight, 0.5, 1.0)
                uniform(module.bias, -0.2, 0.2)
            if isinstance(module, FrozenBatchNorm2d | torch.nn.BatchNorm2d):
                uniform(module.running_mean, -0.2, 0.2)
                uniform(module.running_var, 0.5, 2.0)
        model.rpn_head.objectness.weight.mul_(20)
        model.rpn_head.deltas.weight.mul_(5)
        model.box_head.box_deltas.weight.mul_(10)
        model.mask_head.mask_logits.weight.mul_(300)
        logits = dict(model.stages(smooth_images((160, 224))))["box_head"].class_logits
        scale = 1.5 / logits.std(dim=0)  # all classes compete
        model.box_head.class_logits.weight.mul_(scale[:, None])
        model.box_head.class_logits.bias.copy_(-scale * logits.mean(dim=0))


@pytest.fixture(scope="session")
def scattered():
    """config -> a model in evaluation mode."""

    def make(config):
        torch.manual_seed(0)
        model = MaskRCNN(config).eval()
        scatter(model)
        return model

    return make
