"""The training loop of train.py, step by step, with a model of one weight in place of the detector."""

import argparse
import importlib.util
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from data.augment import Augmentation
from maskrcnn import Config
from maskrcnn.images import ImageTransform
from maskrcnn.inference.scale import TrainingScale
from maskrcnn.interrupts import Interrupts
from maskrcnn.training.schedule import WARMUP_STEPS, lr_at

ROOT = Path(__file__).parents[1]
NAN = float("nan")


class Pulled(nn.Module):
    """One weight, which each image's mean pulls on with that strength; two losses, as a detector has five."""

    config = Config.small()
    transform = ImageTransform(256, 512, (0, 0, 0), (1, 1, 1), 32)

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0]))
        self.frozen = nn.Parameter(torch.tensor([5.0]), requires_grad=False)

    def forward(self, images, targets, scale):
        self.scale = scale
        pull = torch.stack([image.mean() for image in images]).mean()
        return {"pull": (self.weight * self.frozen / 5).sum() * pull, "rest": torch.ones(())}


KNOWN = TrainingScale(0.5, True, (480, 640), (60.0,) * 7)
SAMPLE = (torch.zeros(3, 4, 4), {})  # a training image, whose colours are recorded


class PulledWithStages(Pulled):
    """The stem and res2 to res5 have a weight each."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.resnet = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(5)))
        for stage in self.backbone.resnet:
            nn.init.ones_(stage.weight)

    def forward(self, images, targets, scale):
        losses = super().forward(images, targets, scale)
        return {**losses, "pull": losses["pull"] * self.backbone.resnet(torch.ones(1, 1)).sum()}

    def moved(self) -> list[bool]:
        return [self.weight.item() != 1, *(stage.weight.item() != 1 for stage in self.backbone.resnet)]


class Images(list):
    """In place of a data set."""

    samples = ()
    class_names = ("neutrophil",)


class PulledWithBackbone(Pulled):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.backbone.weight)

    def forward(self, images, targets, scale):
        losses = super().forward(images, targets, scale)
        return {**losses, "pull": losses["pull"] * self.backbone.weight.sum()}


class Batches:
    """In place of a Loader: batches whose images have these means, over and over."""

    copy_paste_on = False
    wait_seconds, epoch, shown = 0.0, 0, (0,)
    batches = SimpleNamespace(dataset=SimpleNamespace(records=[SimpleNamespace(image="a.png")]))
    closed_at: int | None = None  # the step at which its phase has ended
    steps = 0

    def __init__(self, *means: float) -> None:
        self.means = means

    def __len__(self) -> int:
        return len(self.means)

    def epochs(self, count: int, skip: int = 0):
        for mean in (self.means * count)[skip:]:
            self.steps += 1
            yield [torch.full((3, 4, 4), float(mean))], [{}]

    def close(self) -> None:
        assert self.closed_at is None, "closed twice"
        self.closed_at = self.steps


class Run:
    """One call of train(), with everything around the loop replaced. Collects what the loop saves and logs."""

    def __init__(self, monkeypatch, tmp_path) -> None:
        spec = importlib.util.spec_from_file_location("train", ROOT / "train.py")
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        self.model, self.saved, self.history, self.metrics = Pulled(), {}, [], []
        self.splits = SimpleNamespace(train=Images([SAMPLE] * 2), val=Images())
        self.tmp_path, self.monkeypatch = tmp_path, monkeypatch
        for name, stub in {
            "open_splits": lambda args, *known: self.splits,
            "new_model": lambda args, of_weights, dataset, overrides: self.model,
            "fingerprints": lambda dataset: [],
            "check_same_content": lambda *values: None,
            "content_of": lambda splits: {},
            "training_scale": lambda *values: KNOWN,
            "write_config": lambda *values: None,
            "describe_run": lambda *values: None,
            "report_best": lambda *values: None,
            "validate": self.validate,
            "save_checkpoint": self.save,
            "write_log": lambda folder, history: self.history.append(history[-1]) or "",
        }.items():
            monkeypatch.setattr(self.module, name, stub)
        # How many epochs are worth a validation depends on how fast the machine is.
        monkeypatch.setattr(self.module.RunClock, "epochs_until_validation", lambda *values: 1)

    def validate(self, model, samples, precision, scales):
        ap = self.metrics.pop(0) if self.metrics else 0.5
        return {key: {"ap": ap} for key in ("mask", "mask_class_agnostic")} | {"validated": weight(model)}

    def save(self, path, model, previous=None, **state):
        copies = {name: torch.tensor(value.detach().tolist()) for name, value in model.state_dict().items()}
        self.saved[path.name] = {"model": copies, **state}

    def __call__(self, *phases, **options) -> int:
        self.monkeypatch.setattr(self.module, "open_phases", lambda *values: list(phases))
        defaults = {
            "resume": None, "out": self.tmp_path / "run", "data": "x", "seed": 0, "epochs": 1, "minutes": None,
            "batch_size": 1, "lr": 1e-3, "lr_decay_fraction": 0.5, "ema_decay": 0.0, "pretrain_fraction": 0.0,
            "head_lr_factor": 1.0, "override": [], "augment": "full", "precision": "float32", "weights": None, "changes": {},
            "preset": "lisc", "trainable": None, "schedule": None, "steps": None, "save_every": 5.0, "skip_nonfinite": False,
        }  # fmt: skip
        return self.module.train(argparse.Namespace(**{**defaults, **options}), Interrupts())


def weight(model) -> float:
    return model.weight.item()


def test_what_learns_changes_with_the_schedule(run):
    """Two epochs of the heads, one from res4 on, one of everything; each of two steps."""
    run.model, seen = PulledWithStages(), []
    validate = run.validate
    run.module.validate = lambda model, *rest: seen.append(run.model.moved()) or validate(model, *rest)
    assert run((Batches(1.0, 1.0), 1.0), schedule="heads:2,4+:1,all:1", epochs=4) == 0
    heads, from_res4 = [True] + [False] * 5, [True, False, False, False, True, True]  # of: heads, stem, res2 .. res5
    assert seen == [heads, heads, from_res4, [True] * 6]


@pytest.fixture
def run(monkeypatch, tmp_path) -> Run:
    return Run(monkeypatch, tmp_path)


def test_a_step_is_as_large_as_the_schedule_says(run):
    """AdamW's first step is the learning rate itself, whatever the gradient; beside it, its weight decay."""
    run.splits.train = Images([SAMPLE])
    run((Batches(2.0), 1.0), lr=0.1, lr_decay_fraction=1.0)
    lr = 0.1 / WARMUP_STEPS
    assert weight(run.model) == pytest.approx(1 - lr - 0.05 * lr, abs=1e-6)
    assert run.history[0]["train"] == pytest.approx({"pull": 2.0, "rest": 1.0})
    assert run.history[0]["step"] == 1


def test_the_learning_rate_is_set_before_every_step(run, monkeypatch):
    rates = []
    step = torch.optim.AdamW.step

    def record(optimizer, *values):
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *values)

    monkeypatch.setattr(torch.optim.AdamW, "step", record)
    run.splits.train = Images([SAMPLE] * 4)
    run((Batches(1, 1, 1, 1), 1.0), lr=0.1, lr_decay_fraction=0.5, epochs=2)
    assert rates == pytest.approx([lr_at(k, k / 8, 0.1, 0.5) for k in range(8)])


@pytest.mark.parametrize(("augment", "scale"), [("full", 1.0), ("flips", None)])
def test_images_that_the_augmentation_has_resized_or_cropped_are_not_resized_again(run, augment, scale):
    run((Batches(1), 1.0), augment=augment)
    assert run.model.scale is scale or run.model.scale == scale


@pytest.mark.parametrize(
    ("names", "fraction"), [(("neutrophil", "blast"), 0.35), (("cell",), 0.0), (("Blast", "smudge cell"), 0.0)]
)
def test_synthetic_smears_come_first_if_they_show_a_class_of_the_data(run, names, fraction):
    args = argparse.Namespace(pretrain_fraction=None)
    run.monkeypatch.setattr(run.module, "write_config", lambda folder, arguments, model: vars(args).update(arguments))
    run.splits.train.class_names = names
    run((Batches(1), 1.0), pretrain_fraction=None)
    assert args.pretrain_fraction == fraction
    run((Batches(1), 1.0), pretrain_fraction=0.2)
    assert args.pretrain_fraction == 0.2


def test_rpn_and_heads_take_larger_steps_than_the_backbone(run):
    """AdamW's first step does not depend on the gradient, so the steps are as the learning rates."""
    run.model = PulledWithBackbone()
    run.splits.train = Images([SAMPLE])
    run((Batches(2.0), 1.0), lr=0.1, lr_decay_fraction=1.0, head_lr_factor=3.0)
    lr = 0.1 / WARMUP_STEPS
    assert run.model.backbone.weight.item() == pytest.approx(1 - lr - 0.05 * lr, abs=1e-6)
    assert weight(run.model) == pytest.approx(1 - 3 * (lr + 0.05 * lr), abs=1e-6)


def test_crops_pasted_cells_and_other_colours_are_shown_until_the_rate_falls(run):
    shown = lambda images, batch_size, device, augmentation, sizes, class_balance, seed: augmentation  # noqa: E731
    run.monkeypatch.setattr(run.module, "Loader", shown)
    args = argparse.Namespace(batch_size=2, class_balance=0.5, lr_decay_fraction=0.3, pretrain_fraction=0.0, seed=0)
    images = SimpleNamespace(samples=[], downscaled=lambda sizes: None)
    augmentation = Augmentation(zoom=1.5, stain=0.2, light=0.3, blur=2.0, laboratory=0.4, copies=3.0, crop=90)
    phases = run.module.open_phases(args, run.model, images, False, augmentation, KNOWN)
    last = Augmentation(zoom=1.5, stain=0.2, light=0.3, blur=2.0, laboratory=0.0, copies=0.0, crop=0)
    assert phases == [(augmentation, pytest.approx(0.7)), (last, 1.0)]
    assert run.module.open_phases(args, run.model, images, False, None, KNOWN) == [
        (None, pytest.approx(0.7)),
        (None, 1.0),
    ]


def test_the_large_images_of_torchvisions_preset_are_cropped_on_demand_only(run):
    def crop(preset: str, *override: str) -> int:
        args = argparse.Namespace(override=list(override), augment="full", preset=preset)
        return run.module.read_overrides(args)[1].crop

    assert crop("lisc") == Augmentation().crop > 0
    assert crop("torchvision") == 0
    assert crop("torchvision", "crop=256") == 256


def test_colours_of_other_laboratories_are_those_of_pretraining_first(run):
    shown = lambda images, batch_size, device, augmentation, sizes, class_balance, seed: (images, augmentation)  # noqa: E731
    run.monkeypatch.setattr(run.module, "Loader", shown)
    drawn = Images()
    drawn.downscaled = lambda sizes: "synthetic"
    run.monkeypatch.setattr(run.module, "pretraining_set", lambda *args, **options: drawn)
    real = SimpleNamespace(samples=[], downscaled=lambda sizes: "real")
    args = argparse.Namespace(
        batch_size=2, class_balance=0.5, lr_decay_fraction=0.3, pretrain_fraction=0.2, seed=0, compartment="whole-cell"
    )
    augmentation = Augmentation(laboratory=0.1, pretrain_laboratory=0.6)
    phases = run.module.open_phases(args, run.model, real, True, augmentation, KNOWN)
    shares = [(images, augmentation.laboratory) for (images, augmentation), _ in phases]
    assert shares == [("synthetic", 0.6), ("real", 0.1), ("real", 0.0)]


def test_losses_are_means_over_the_steps_taken_and_pretraining_stops_at_its_fraction(run):
    run.splits.train = [SAMPLE] * 3  # three steps per epoch: six in all, of which half is pre-training
    run((Batches(1, 2, 6, 100), 0.5), (Batches(4, 4, 4), 1.0), lr=1e-9, pretrain_fraction=0.5)
    assert [(entry["pretraining"], entry["step"]) for entry in run.history] == [(True, 3), (False, 6)]
    assert [entry["train"]["pull"] for entry in run.history] == [pytest.approx(3), pytest.approx(4)]


def test_the_workers_of_a_phase_end_with_it(run):
    pretraining, images = Batches(1.0, 1.0), Batches(2.0, 2.0)
    run((pretraining, 0.5), (images, 1.0), epochs=2, pretrain_fraction=0.5)
    assert (pretraining.closed_at, images.closed_at) == (pretraining.steps, images.steps)
    assert pretraining.steps > 0


def test_a_gradient_is_clipped_to_the_largest_norm(run):
    run.splits.train = Images([SAMPLE])
    run((Batches(1e4), 1.0))
    assert run.model.weight.grad.item() == pytest.approx(run.module.MAX_GRAD_NORM, rel=1e-4)
    run((Batches(2), 1.0))
    assert run.model.weight.grad.item() == pytest.approx(2, rel=1e-3)


def test_gradients_do_not_add_up_over_steps(run):
    run((Batches(2, 2), 1.0), lr=1e-9)
    assert run.model.weight.grad.item() == pytest.approx(2)


def test_frozen_weights_are_not_trained(run):
    run((Batches(1, 1), 1.0))
    assert run.model.frozen.item() == 5
    assert len(run.saved["last.pt"]["optimizer"]["param_groups"][0]["params"]) == 1


def test_a_loss_that_is_not_finite_ends_the_run_before_it_spoils_the_weights(run):
    with pytest.raises(
        FloatingPointError, match=r"^pull is nan at step 1, of a\.png; .*diverged\.pt\. Try a lower --lr"
    ):
        run((Batches(1, NAN), 1.0))
    assert run.model.weight.isfinite().all()
    study = run.saved["diverged.pt"]
    assert study["images"][0].isnan().all()
    assert study["losses"] == {"pull": pytest.approx(NAN, nan_ok=True), "rest": 1.0}
    assert run.saved["last.pt"]["step"] == 0  # as it was before


def test_a_step_whose_loss_is_not_finite_can_be_left_out(run, capsys):
    run((Batches(1, NAN, 3), 1.0), skip_nonfinite=True, lr=1e-9, epochs=2)
    assert "left out: pull is nan at step 1, of a.png" in capsys.readouterr().err
    assert run.history[0]["train"]["pull"] == pytest.approx(2)
    assert run.history[0]["step"] == 2
    with pytest.raises(FloatingPointError, match="none of 2 steps had a finite loss"):
        run((Batches(NAN, NAN), 1.0), skip_nonfinite=True)


def test_the_moving_average_follows_the_weights_and_is_what_is_validated_and_saved(run):
    """By hand: the first update copies the weight; from then on average n moves by 1 - min(decay, (1 + n) / (10 + n))."""
    weights = []
    step = torch.optim.AdamW.step

    def record(optimizer, *values):
        step(optimizer, *values)
        weights.append(weight(run.model))

    run.monkeypatch.setattr(torch.optim.AdamW, "step", record)
    run.splits.train = [SAMPLE] * 20
    run((Batches(*[1.0] * 20), 1.0), lr=0.1, lr_decay_fraction=1.0, ema_decay=0.5)
    average = weights[0]
    for n, new in enumerate(weights[1:], start=1):
        kept = min(0.5, (1 + n) / (10 + n))
        average = kept * average + (1 - kept) * new
    assert 0.001 < abs(average - weights[-1]) < abs(average - 1)  # neither the last weight nor the first
    for saved in run.saved.values():
        assert saved["model"]["weight"].item() == pytest.approx(average, abs=1e-6)
    assert run.history[-1]["validated"] == pytest.approx(average, abs=1e-6)
    assert run.saved["last.pt"]["weights"]["weight"].item() == pytest.approx(weights[-1])


def test_without_an_average_the_weights_themselves_are_saved(run):
    run((Batches(1, 1), 1.0), lr=0.1)
    assert run.saved["last.pt"]["model"]["weight"].item() == weight(run.model) != 1
    assert "weights" not in run.saved["last.pt"]


def test_only_a_better_validation_replaces_the_best_checkpoint(run):
    run.metrics = [0.3, 0.5, 0.4]
    run((Batches(1, 1), 1.0), lr=0.1, epochs=3)
    assert [entry["mask"]["ap"] for entry in run.history] == [0.3, 0.5, 0.4]
    best, last = run.saved["best.pt"], run.saved["last.pt"]
    assert [entry["epoch"] for entry in best["history"]] == [1, 2]
    assert [entry["epoch"] for entry in last["history"]] == [1, 2, 3]
    assert best["model"]["weight"].item() == pytest.approx(run.history[1]["validated"])


def test_after_a_kill_a_worse_checkpoint_does_not_replace_a_best_one_that_the_last_one_does_not_know(run, monkeypatch):
    run.metrics = [0.3, 0.5]
    monkeypatch.setattr(run.module, "best_so_far", lambda folder: 0.4)
    run((Batches(1, 1), 1.0), lr=0.1, epochs=2)
    assert [entry["epoch"] for entry in run.saved["best.pt"]["history"]] == [1, 2]
    run.metrics = [0.3]
    monkeypatch.setattr(run.module, "best_so_far", lambda folder: 0.4)
    del run.saved["best.pt"]
    run((Batches(1, 1), 1.0), lr=0.1)
    assert "best.pt" not in run.saved


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_a_run_that_was_interrupted_and_resumed_ends_as_if_it_had_not_stopped(monkeypatch, tmp_path, ema_decay):
    options = {"lr": 0.1, "epochs": 4, "ema_decay": ema_decay}
    whole = Run(monkeypatch, tmp_path)
    whole((Batches(1, 2), 1.0), **options)

    stopped = Run(monkeypatch, tmp_path)
    validate = stopped.validate

    def interrupt(*values):
        if len(stopped.history) == 2:
            raise KeyboardInterrupt
        return validate(*values)

    monkeypatch.setattr(stopped.module, "validate", interrupt)
    assert stopped((Batches(1, 2), 1.0), **options) == 130
    state = stopped.saved["last.pt"]
    assert state["step"] == 6  # the third epoch was trained, but not validated

    resumed = Run(monkeypatch, tmp_path)
    model = Pulled()
    model.load_state_dict(state["model"])
    monkeypatch.setattr(resumed.module, "load_run", lambda args: (model, state))
    resumed((Batches(1, 2), 1.0), **options, resume=tmp_path / "run")
    assert resumed.saved["last.pt"]["step"] == whole.saved["last.pt"]["step"] == 8
    assert weight(model) == weight(whole.model)
    assert torch.equal(resumed.saved["last.pt"]["model"]["weight"], whole.saved["last.pt"]["model"]["weight"])


def test_a_run_in_minutes_that_ends_before_the_first_validation_says_so(run, monkeypatch):
    now = iter(range(0, 10**9, 100))
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    with pytest.raises(ValueError, match="--minutes 1 ended before the first validation"):
        run((Batches(1), 1.0), minutes=1)


def test_the_clock_knows_how_long_a_validation_takes(run, monkeypatch):
    """By it the run chooses how often to validate, and how much of --minutes to keep for the last validation."""
    now = [1000.0]

    def tick() -> float:
        now[0] += 0.001
        return now[0]

    monkeypatch.setattr(time, "monotonic", tick)
    validate = run.module.validate

    def slow(*values):
        now[0] += 70
        return validate(*values)

    monkeypatch.setattr(run.module, "validate", slow)
    run((Batches(1, 1), 1.0))
    assert run.saved["last.pt"]["validation_seconds"] == pytest.approx(70, abs=0.1)
