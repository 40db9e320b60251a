"""Training steps and inference of the whole model, against torchvision's Mask R-CNN with the same weights."""

import statistics
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.timing import Comparison, interleaved, stopwatch
from benchmarks.speed.torchvision_pair import both, ellipse_targets, smooth_images
from maskrcnn.inference.device import autocast

CLASSES = 6  # five kinds of cells and background
TUTORIAL_STEPS = 4500  # 75 epochs of 60 steps, in 27 hours on a CPU
# The sides and their precision: torchvision as it comes, ours in the same and in its default precision.
SIDES = {"theirs": "float32", "ours": "float32", "ours, auto": "auto"}


def models(device: torch.device, height: int, width: int, rois: int = 512) -> dict[str, nn.Module]:
    """The model of each side, for images of this size; both sides of ours share one."""
    theirs, ours = both(CLASSES, min(height, width), max(height, width), rois)
    theirs, ours = theirs.to(device), ours.to(device)
    return {"theirs": theirs, "ours": ours, "ours, auto": ours}


def inputs(
    height: int, width: int, batch: int, device: torch.device, objects: int = 4
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    sizes = [(height, width)] * batch
    images = [image.to(device) for image in smooth_images(*sizes)]
    targets = [
        {k: v.to(device) for k, v in target.items()} for target in ellipse_targets(sizes, CLASSES, count=objects)
    ]
    return images, targets


def training_step(
    side: str, model: nn.Module, images: list[Tensor], targets: list[dict[str, Tensor]]
) -> Callable[[], None]:
    """Losses, gradients and the optimizer. The learning rate is 0, so that every run does the same work."""
    model.train()
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=0.0, momentum=0.9, fused=True)

    def run() -> None:
        with autocast(images[0].device, SIDES[side]):
            losses = model(images, targets)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()

    return run


def training_steps(
    device: torch.device, height: int, width: int, batch: int, rois: int, objects: int = 4
) -> dict[str, Callable[[], None]]:
    """A training step of each side, on the same images and targets."""
    data = inputs(height, width, batch, device, objects)
    return {side: training_step(side, model, *data) for side, model in models(device, height, width, rois).items()}


def inference(side: str, model: nn.Module, images: list[Tensor]) -> Callable[[], None]:
    model.eval()

    def run() -> None:
        with torch.inference_mode(), autocast(images[0].device, SIDES[side]):
            model(images)

    return run


def measure_training(device: torch.device) -> Iterator[Comparison]:
    """At 720 x 576, batch 2, 512 RoIs; and the job of the 2019 tutorial."""
    for name, size, batch, rois, goals in (
        ("training step, 720 x 576, batch 2", (576, 720), 2, 512, (1.5, 3.0)),
        ("the tutorial's step, 768 x 768, batch 1", (768, 768), 1, 200, (None, 3.0)),
    ):
        times = interleaved(training_steps(device, *size, batch, rois), seconds=40)
        yield Comparison(f"{name}, float32", times["ours"], times["theirs"], goals[0])
        yield Comparison(f"{name}, default precision", times["ours, auto"], times["theirs"], goals[1])


def measure_inference(device: torch.device) -> Iterator[Comparison]:
    images, _ = inputs(576, 720, 1, device)
    runs = {side: inference(side, model, images) for side, model in models(device, 576, 720).items()}
    times = interleaved(runs, seconds=20)
    yield Comparison("inference, 720 x 576, float32", times["ours"], times["theirs"], 1.3)
    yield Comparison("inference, 720 x 576, default precision", times["ours, auto"], times["theirs"], 2.5)


def fraction_of_peak(device: torch.device) -> dict[str, float]:
    """FLOPs per second of the training step over those of the fastest matrix product here, at both precisions."""
    fractions = {}
    steps = training_steps(device, 576, 720, batch=2, rois=512)
    for side, dtype in (("ours", torch.float32), ("ours, auto", torch.bfloat16)):
        step = steps[side]
        step()
        with FlopCounterMode(display=False) as counter:
            step()
        seconds = statistics.median(stopwatch(step) for _ in range(5))
        fractions[SIDES[side]] = counter.get_total_flops() / seconds / best_product(dtype, device)
    return fractions


def best_product(dtype: torch.dtype, device: torch.device) -> float:
    """FLOPs per second of the fastest of a few square matrix products."""
    rates = []
    for side in (1024, 2048, 4096):
        a, b = torch.randn(2, side, side, device=device).to(dtype).unbind(0)
        rates += [2 * side**3 / stopwatch(partial(torch.mm, a, b)) for _ in range(5)]
    return max(rates)
