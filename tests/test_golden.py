"""Three training steps of record: a default that is changed by accident changes these numbers.

They are not right or wrong. Where a change is meant, run the test and write down what it prints.
"""

import pytest
import torch

from maskrcnn import Config, MaskRCNN

SMALL = {"min_size": 96, "max_size": 128}
CONFIGS = {
    "lisc": Config.lisc(**SMALL),
    "small": Config.small(**SMALL),
    # The paper's defaults, but for what needs published weights, and with fewer layers.
    "paper": Config(**SMALL, backbone="resnet18", norm="groupnorm", frozen_stages=0),
}
# Per step: loss_classifier, loss_box_reg, loss_mask, loss_objectness, loss_rpn_box_reg.
RECORDED = {
    "lisc": [
        [1.748332, 0.049020, 0.652281, 0.696877, 0.003576],
        [1.751867, 0.049017, 0.652272, 0.720732, 0.003576],
        [1.752025, 0.049014, 0.652252, 0.700623, 0.003575],
    ],
    "small": [
        [1.799700, 0.240537, 0.704649, 0.608694, 0.001690],
        [1.802785, 0.240525, 0.704641, 0.603166, 0.001690],
        [1.798034, 0.240505, 0.704627, 0.601950, 0.001689],
    ],
    "paper": [
        [1.698465, 0.023284, 0.810633, 1.391505, 0.017270],
        [1.688807, 0.023279, 0.809210, 1.720313, 0.017206],
        [1.670342, 0.023319, 0.806720, 1.165867, 0.017079],
    ],
}


def rectangle(height, width, box, label):
    """An image of noise with one dark rectangle, and its target."""
    x1, y1, x2, y2 = box
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(5)) * 0.1 + 0.8
    image[:, y1:y2, x1:x2] -= 0.5
    mask = torch.zeros(1, height, width, dtype=torch.uint8)
    mask[:, y1:y2, x1:x2] = 1
    return image, {"boxes": torch.tensor([box]).float(), "labels": torch.tensor([label]), "masks": mask}


@pytest.mark.parametrize("preset", CONFIGS)
def test_three_training_steps_give_the_recorded_losses(preset):
    torch.manual_seed(0)
    model = MaskRCNN(CONFIGS[preset]).train()
    with torch.no_grad():
        model.rpn_head.objectness.weight.mul_(30)  # else scores are nearly equal, and rounding decides their order
        model.mask_head.mask_logits.weight.mul_(30)  # else the loss is log 2, whatever the target
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9)
    samples = [rectangle(150, 200, (60, 30, 125, 95), 3), rectangle(180, 150, (15, 50, 110, 160), 5)]
    images, targets = zip(*(samples if preset == "small" else samples[:1]))  # one is slow enough
    losses = []
    for _ in range(3):
        step = model(images, targets)
        optimizer.zero_grad()
        sum(step.values()).backward()
        optimizer.step()
        losses.append([loss.item() for loss in step.values()])
    print(*losses, sep="\n")
    torch.testing.assert_close(torch.tensor(losses), torch.tensor(RECORDED[preset]), atol=1e-6, rtol=1e-3)
