import torch

from maskrcnn import Config, MaskRCNN
from maskrcnn.learner import Learner
from maskrcnn.schedule import Schedule
from maskrcnn.weights import load_checkpoint, save_checkpoint


def learner_of(model, average):
    return Learner.of(model, Schedule(10, None, 1e-2), average)


def step(learner):
    """The sum of all squares is pulled towards 0."""
    learner.optimizer.zero_grad()
    sum(p.square().sum() for p in learner.model.parameters()).backward()
    learner.optimizer.step()
    learner.schedule.step += 1
    if learner.averaged:
        learner.averaged.update_parameters(learner.model)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def little_model():
    torch.manual_seed(0)
    return MaskRCNN(Config.lisc(fpn_channels=32, box_head_width=16, mask_head_width=16))


def test_a_run_that_was_saved_and_resumed_goes_on_as_if_it_had_not_stopped(tmp_path):
    for average in (0.0, 0.5):
        learner = learner_of(little_model(), average)
        for _ in range(3):
            step(learner)
        save_checkpoint(tmp_path / "last.pt", learner.best_guess, **learner.state())
        model, state = load_checkpoint(tmp_path / "last.pt")
        assert torch.equal(weights(model), weights(learner.best_guess))
        resumed = learner_of(model, average)
        resumed.resume(state)
        assert resumed.schedule.step == 3
        for one in (learner, resumed):
            step(one)
        assert torch.equal(weights(resumed.model), weights(learner.model))
        assert torch.equal(weights(resumed.best_guess), weights(learner.best_guess))


def test_the_best_guess_is_the_average_if_there_is_one():
    model = little_model()
    assert learner_of(model, 0.0).best_guess is model
    averaging = learner_of(model, 0.9)
    for _ in range(3):
        step(averaging)
    assert not torch.equal(weights(averaging.best_guess), weights(model))


def test_frozen_weights_are_not_touched():
    model = MaskRCNN(Config.lisc(fpn_channels=32, box_head_width=16, mask_head_width=16, frozen_stages=2))
    before = model.backbone.resnet.stem.conv.weight.clone()
    learner = learner_of(model, 0.0)
    assert sum(len(group["params"]) for group in learner.optimizer.param_groups) < len(list(model.parameters()))
    step(learner)
    assert torch.equal(model.backbone.resnet.stem.conv.weight, before)
