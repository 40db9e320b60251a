import pytest
import torch
from torch import nn

from maskrcnn import Config, MaskRCNN
from maskrcnn.learner import MAX_GRADIENT, Learner
from maskrcnn.schedule import WARMUP_STEPS, Schedule
from maskrcnn.weights import load_checkpoint, save_checkpoint


class Pulled(nn.Module):
    """One weight, which each image's mean pulls on with that strength; two losses, as a detector has five."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0]))

    def forward(self, images, targets):
        pull = torch.stack([image.mean() for image in images]).mean()
        return {"pull": self.weight.sum() * pull, "rest": torch.ones(())}


def batches(*pulls):
    return [([torch.full((3, 4, 4), float(pull))], [{}]) for pull in pulls]


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def little_model():
    torch.manual_seed(0)
    return MaskRCNN(Config.lisc(min_size=64, max_size=96, fpn_channels=32, box_head_width=16, mask_head_width=16))


def a_batch():
    mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
    mask[:, 10:40, 10:40] = 1
    target = {"boxes": torch.tensor([[10.0, 10, 40, 40]]), "labels": torch.tensor([1]), "masks": mask}
    return [torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))], [target]


def train(learner, steps):
    """Steps whose sampling is the same whatever was drawn before."""
    for _ in range(steps):
        torch.manual_seed(learner.schedule.step)
        learner.train([a_batch()], 1, "float32")


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_a_run_that_was_saved_and_resumed_goes_on_as_if_it_had_not_stopped(tmp_path, average):
    learner = Learner.of(little_model(), Schedule(10, None, 1e-3), average)
    train(learner, 3)
    learner.schedule.validation_seconds = 7.0
    save_checkpoint(tmp_path / "last.pt", learner.best_guess, **learner.state())
    model, state = load_checkpoint(tmp_path / "last.pt")
    assert torch.equal(weights(model), weights(learner.best_guess))
    resumed = Learner.of(model, Schedule(10, None, 1e-3), average)
    resumed.resume(state)
    assert (resumed.schedule.step, resumed.schedule.validation_seconds) == (3, 7.0)
    for one in (learner, resumed):
        train(one, 2)
    assert torch.equal(weights(resumed.model), weights(learner.model))
    assert torch.equal(weights(resumed.best_guess), weights(learner.best_guess))


def test_the_best_guess_is_the_average_if_there_is_one():
    model = little_model()
    assert Learner.of(model, Schedule(10, None, 1e-3)).best_guess is model
    averaging = Learner.of(model, Schedule(10, None, 1e-3), 0.9)
    train(averaging, 3)
    assert not torch.equal(weights(averaging.best_guess), weights(model))


def test_frozen_weights_are_not_touched():
    torch.manual_seed(0)
    model = MaskRCNN(Config.lisc(fpn_channels=32, box_head_width=16, mask_head_width=16, frozen_stages=2))
    before = model.backbone.resnet.stem.conv.weight.clone()
    learner = Learner.of(model, Schedule(10, None, 1e-3))
    assert sum(len(group["params"]) for group in learner.optimizer.param_groups) < len(list(model.parameters()))
    train(learner, 1)
    assert torch.equal(model.backbone.resnet.stem.conv.weight, before)


def test_a_step_is_as_large_as_the_schedule_says():
    """AdamW's first step is the rate itself, whatever the gradient; beside it, its decay of the weight."""
    learner = Learner.of(Pulled(), Schedule(1000, None, 0.1))
    means = learner.train(batches(2.0), 1, "float32")
    rate = 0.1 / WARMUP_STEPS
    assert learner.model.weight.item() == pytest.approx(1 - rate - 0.05 * rate, abs=1e-6)
    assert learner.schedule.step == 1
    assert means == pytest.approx({"pull": 2.0, "rest": 1.0})


def test_losses_are_means_over_the_steps_taken_and_the_end_comes_at_the_fraction():
    learner = Learner.of(Pulled(), Schedule(100, None, 1e-9))
    means = learner.train(batches(1, 2, 6, 100), 4, "float32", until=0.03)
    assert learner.schedule.step == 3
    assert means["pull"] == pytest.approx(3)


def test_a_gradient_is_cut_to_its_largest_norm():
    learner = Learner.of(Pulled(), Schedule(1000, None, 1e-3))
    learner.train(batches(1e4), 1, "float32")
    assert learner.model.weight.grad.item() == pytest.approx(MAX_GRADIENT, rel=1e-4)
    learner.train(batches(2), 1, "float32")
    assert learner.model.weight.grad.item() == pytest.approx(2)


def test_a_loss_that_is_no_number_ends_the_run_before_it_spoils_the_weights():
    learner = Learner.of(Pulled(), Schedule(100, None, 1e-3))
    with pytest.raises(FloatingPointError, match="nan at step 1; try a lower --rate"):
        learner.train(batches(1, float("nan")), 2, "float32")
    assert learner.model.weight.isfinite().all()
