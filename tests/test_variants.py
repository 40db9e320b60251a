"""The variants of the paper's tables as whole models: they train, and they detect."""

import pytest
import torch

from benchmarks.experiments.paper_tables import TABLES, SeparateRPN, Variant, line
from maskrcnn import Config, MaskRCNN

VARIANTS = {name: variant for table in TABLES for name, variant in table.rows.items()}
TINY = {"min_size": 64, "max_size": 96, "fpn_channels": 32, "box_head_dim": 16, "mask_head_channels": 32}


@pytest.fixture
def batch():
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
    mask[:, 20:44, 16:40] = 1
    target = {"boxes": torch.tensor([[16.0, 20, 40, 44]]), "labels": torch.tensor([2]), "masks": mask}
    return [image], [target]


def build(variant: Variant) -> MaskRCNN:
    torch.manual_seed(0)
    changes = {"class_agnostic_boxes": False, "class_agnostic_masks": False, **variant.changes}
    return variant.kind(Config.small(**{**TINY, **changes}))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_part_of_a_variant_learns_and_it_detects(name, batch):
    model = build(VARIANTS[name])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    losses = []
    for _ in range(12):
        torch.manual_seed(1)
        loss = sum(model(*batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.85 * losses[0]
    heads = [name for name, p in model.mask_head.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert heads == []
    with torch.inference_mode():
        [found] = model.eval()(batch[0])
    assert found["masks"].shape == (len(found["scores"]), 1, 64, 64)
    assert 0 <= found["masks"].min() <= found["masks"].max() <= 1 if len(found["scores"]) else True


def test_a_separate_rpn_and_the_heads_do_not_touch_each_others_features(batch):
    model = build(Variant({}, (), kind=SeparateRPN))
    losses = model(*batch)
    (losses["loss_objectness"] + losses["loss_rpn_box_reg"]).backward()
    assert model.proposer.backbone.resnet.stem.conv.weight.grad.abs().sum() > 0
    assert model.backbone.resnet.stem.conv.weight.grad is None
    model.zero_grad()
    losses = model(*batch)
    (losses["loss_classifier"] + losses["loss_box_reg"] + losses["loss_mask"]).backward()
    assert model.backbone.resnet.stem.conv.weight.grad.abs().sum() > 0
    assert model.proposer.backbone.resnet.stem.conv.weight.grad is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_head": "unet"}, "mask_head must be fcn, softmax or mlp"),
        ({"mask_head": "softmax"}, "class_agnostic_masks needs mask_head fcn"),
    ],
)
def test_what_cannot_be_combined_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Config.small(**changes)


def test_a_row_has_the_mean_and_every_seed_beside_the_paper():
    runs = [{"mask": {"ap": ap, "ap50": 0.9, "ap75": 0.8}} for ap in (0.5, 0.7)]
    assert line("RoIPool", runs, "mask", (26.9, 48.8)).split() == [
        "RoIPool", "0.600", "(0.500,", "0.700)", "0.900", "0.800", "26.9", "48.8",
    ]  # fmt: skip
