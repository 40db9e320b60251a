import numpy as np
import pytest

from maskrcnn import Config, MaskRCNN
from maskrcnn.training.schedule import (
    FROZEN_STAGES,
    WARMUP_STEPS,
    RunClock,
    Trainable,
    lr_at,
    parameter_groups,
    parse_schedule,
)


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def lrs(decay_fraction: float) -> list[float]:
    """At each of 1000 steps, and at the end."""
    return [lr_at(step, step / 1000, 0.1, decay_fraction) for step in range(1001)]


def test_the_lr_warms_up_linearly():
    assert lrs(1.0)[0] == pytest.approx(0.1 / WARMUP_STEPS)
    warmup = [lr_at(step, 0.0, 0.1, 0.5) for step in range(WARMUP_STEPS + 20)]
    assert np.diff(warmup[:WARMUP_STEPS]) == pytest.approx(0.1 / WARMUP_STEPS)
    assert warmup[WARMUP_STEPS - 1 :] == pytest.approx([0.1] * 21)


def test_the_lr_decays_to_zero_half_as_far_in_the_middle():
    decay = lrs(1.0)[WARMUP_STEPS:]
    assert decay == sorted(decay, reverse=True)
    assert decay[0] > 0.099
    assert lrs(1.0)[500] == pytest.approx(0.05)
    assert lrs(1.0)[250] + lrs(1.0)[750] == pytest.approx(0.1)  # a cosine is symmetric about its middle
    assert lrs(1.0)[1000] == pytest.approx(0, abs=1e-12)


def test_every_trained_parameter_is_in_one_group_and_the_backbone_in_its_own():
    model = MaskRCNN(Config.small(frozen_stages=2))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    backbone, rest = ([names[id(p)] for p in group["params"]] for group in parameter_groups(model, 2.0))
    assert sorted(backbone + rest) == sorted(name for name, p in model.named_parameters() if p.requires_grad)
    assert {name.split(".")[0] for name in backbone} == {"backbone"}
    assert {name.split(".")[0] for name in rest} == {"rpn_head", "box_head", "mask_head"}
    assert [group["lr_factor"] for group in parameter_groups(model, 2.0)] == [1.0, 2.0]
    assert len(parameter_groups(model.backbone.requires_grad_(False), 2.0)) == 0
    assert [group["lr_factor"] for group in parameter_groups(model, 2.0)] == [2.0]  # nothing of the backbone is trained


def test_with_a_short_decay_the_lr_stays_at_its_peak_until_then():
    for step, lr in ((WARMUP_STEPS, 0.1), (599, 0.1), (600, 0.1), (800, 0.05), (1000, 0.0)):
        assert lrs(0.4)[step] == pytest.approx(lr, abs=1e-6), step
    assert lr_at(2000, 1.2, 0.1, 0.4) == pytest.approx(0, abs=1e-12)  # past the end, as the last step in minutes may be


def test_a_limit_in_minutes_includes_one_more_validation(clock):
    run = RunClock(total_steps=10, minutes=10, step=10**6)
    assert run.progress == 0
    clock[0] += 300
    assert run.progress == pytest.approx(0.5)
    assert run.seconds_left == 300
    run.validation_seconds = 100
    assert run.progress == pytest.approx(300 / 490)
    clock[0] += 190
    assert run.progress == 1


def test_a_resumed_run_counts_what_was_before(clock):
    run = RunClock(total_steps=10, minutes=10, seconds_before_resume=450)
    clock[0] += 30
    assert run.seconds == 480
    assert run.progress == pytest.approx(0.8)


def test_validation_takes_at_most_a_twentieth_of_the_time_and_never_more_epochs_than_are_left(clock):
    run = RunClock(total_steps=1, minutes=1000)
    assert run.epochs_until_validation(100) == 1
    run.step, run.validation_seconds = 100, 20.0
    clock[0] += 100  # an epoch takes 100 s, so that 20 s of validation are worth 4 of them
    assert run.epochs_until_validation(100) == 4
    run.validation_seconds = 5.0
    assert run.epochs_until_validation(100) == 1
    run.minutes, run.step, run.validation_seconds = (2000 + 1.1 * 6000) / 60, 1750, 6000
    clock[0] += 1650  # 250 steps are left before the last validation
    assert run.epochs_until_validation(100) == 3


def test_a_run_of_a_number_of_steps_validates_at_the_same_steps_on_any_machine(clock):
    run = RunClock(total_steps=2000, minutes=None, validation_steps=20.0)
    assert run.epochs_until_validation(100) == 1
    for seconds in (0.1, 1000):
        run.step, run.validation_seconds = 100, seconds
        clock[0] += seconds
        assert run.epochs_until_validation(100) == 4  # 20 steps are a twentieth of 400
    run.step = 1750
    assert run.epochs_until_validation(100) == 3


def test_a_clock_that_is_set_does_not_change_a_run(monkeypatch):
    run = RunClock(total_steps=10, minutes=10)
    monkeypatch.setattr("time.time", lambda: 1e12)
    assert run.seconds < 60


def test_a_remainder_shorter_than_an_epoch_is_merged(clock):
    run = RunClock(total_steps=2000, minutes=None, step=1650, validation_seconds=1.0)
    clock[0] += 1650
    assert run.epochs_until_validation(100) == 1
    run.step = 1850
    assert run.epochs_until_validation(100) == 2  # 150 steps are left: a whole epoch and a half
    run.step = 950
    assert run.epochs_until_validation(100, until=0.5) == 1
    run.step = 880
    assert run.epochs_until_validation(100, until=0.5) == 2


def test_a_run_is_over_when_hardly_anything_is_left(clock):
    run = RunClock(total_steps=2000, minutes=10)
    assert not run.finished(100)
    run.step = 1000
    clock[0] += 591  # of 600 seconds: some 15 steps more
    assert not run.finished(100)
    clock[0] += 5
    assert run.finished(100)
    counted = RunClock(total_steps=2000, minutes=None, step=1995)
    assert counted.finished(100)
    counted.step = 1985
    assert not counted.finished(100)


def learning(model):
    """Which of stem, res2 .. res5 learn."""
    return [all(p.requires_grad for p in stage.parameters()) for stage in model.backbone.resnet.children()]


def test_parts_are_those_of_matterport():
    model = MaskRCNN(Config.small(box_head_dim=8, mask_head_channels=32, fpn_channels=32))
    for part, frozen in FROZEN_STAGES.items():
        Trainable([(part, 1.0)]).apply(model, 0.0)
        assert learning(model) == [False] * frozen + [True] * (5 - frozen)
        assert all(p.requires_grad for name, p in model.named_parameters() if ".resnet." not in name)
    assert FROZEN_STAGES == {"heads": 5, "5+": 4, "4+": 3, "3+": 2, "all": 0}


def test_a_schedule_is_read_and_its_parts_follow_each_other():
    parts = parse_schedule("heads:20, all:40,5+:20")
    assert parts == [("heads", 20), ("all", 40), ("5+", 20)]
    trainable = Trainable(parts)
    times = (-0.5, 0, 0.249, 0.25, 0.749, 0.75, 1, 1.2)
    assert [trainable.at(time) for time in times] == ["heads"] * 3 + ["all"] * 2 + ["5+"] * 3
    model = MaskRCNN(Config.small(box_head_dim=8, mask_head_channels=32, fpn_channels=32))
    Trainable([("3+", 1.0), ("heads", 1.0)]).apply_all(model)
    assert learning(model) == [False, False, True, True, True]


@pytest.mark.parametrize("text", ["", "heads", "heads:0", "head:3", "heads:2,", "heads:1.5", "heads:-1"])
def test_what_is_no_schedule_is_refused(text):
    with pytest.raises(ValueError, match="such as heads:20"):
        parse_schedule(text)
