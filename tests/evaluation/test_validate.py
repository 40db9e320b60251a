"""One pass over labelled images, with a small model whose weights are random."""

import pytest
import torch

from maskrcnn import Config, MaskRCNN
from maskrcnn.evaluation.average_precision import AveragePrecision
from maskrcnn.evaluation.validate import selection_metric, validate


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    small = Config.small(("a", "b"), min_size=64, max_size=96, fpn_channels=32, box_head_dim=32, mask_head_channels=32)
    return MaskRCNN(small)


@pytest.fixture(scope="module")
def samples():
    generator = torch.Generator().manual_seed(0)
    pairs = []
    for label in (1, 2):
        masks = torch.zeros(1, 64, 80, dtype=torch.uint8)
        masks[0, 10:40, 20:60] = 1
        target = {"boxes": torch.tensor([[20.0, 10, 60, 40]]), "labels": torch.tensor([label]), "masks": masks}
        pairs.append((torch.rand(3, 64, 80, generator=generator), target))
    return pairs


def test_losses_are_means_over_images_and_ap_is_that_of_the_detections(model, samples):
    measured = validate(model.eval(), samples, "float32")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        losses = [model.losses([image], [target]) for image, target in samples]
    for name, value in measured["val"].items():
        assert value == pytest.approx(sum(float(of_image[name]) for of_image in losses) / 2, rel=1e-5)
    for kind in ("box", "mask"):
        ap = AveragePrecision(("a", "b"), kind)
        with torch.no_grad():
            for image, target in samples:
                ap.update(model([image])[0], target)
        assert measured[kind]["ap"] == pytest.approx(ap.compute().ap)
        assert set(measured[kind]["per_class"]) == {"a", "b"}
    assert measured["mask_class_agnostic"]["ap"] == pytest.approx(ap.compute(class_agnostic=True).ap)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_and_the_random_state_are_left_as_they_were(model, samples, training):
    torch.manual_seed(123)  # not the seed that is set inside
    model.train(training)
    before = torch.random.get_rng_state()
    assert validate(model, samples, "float32") == validate(model, samples, "float32")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.training == training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_without_images_there_is_nothing_to_validate_on(model):
    with pytest.raises(ValueError, match="no images"):
        validate(model, [], "float32")


def test_checkpoints_are_chosen_by_per_class_and_class_agnostic_mask_ap():
    assert selection_metric({"mask": {"ap": 0.5}, "mask_class_agnostic": {"ap": 0.8}}) == pytest.approx(0.65)
