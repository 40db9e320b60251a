"""Plots of a training run: predictions beside ground truth, and its curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.data import Dataset

from maskrcnn.evaluation.validate import METRICS
from maskrcnn.inference.detect import predict
from maskrcnn.inference.objects import confident_objects
from maskrcnn.inference.scale import TrainingScale
from maskrcnn.model import MaskRCNN
from maskrcnn.visualization.drawing import COLOURS, draw_objects

SCORE_THRESHOLD = 0.5


def plot_predictions(
    examples: Sequence[tuple[Tensor, Mapping[str, Tensor], Mapping[str, Tensor]]],
    class_names: Sequence[str],
    score_threshold: float = SCORE_THRESHOLD,
) -> Figure:
    """Ground truth on the left, predictions on the right, one row per example (image, target, prediction)."""
    heights = [5 * image.shape[-2] / image.shape[-1] for image, _, _ in examples]
    figure = Figure(figsize=(10, sum(heights) + 0.5), layout="constrained")
    axes = figure.subplots(len(examples), 2, squeeze=False, height_ratios=heights)
    for (left, right), (image, target, prediction) in zip(axes, examples, strict=True):
        draw_objects(left, image, target, class_names)
        draw_objects(right, image, prediction, class_names, score_threshold)
    axes[0][0].set_title("ground truth")
    axes[0][1].set_title(f"predictions (score at least {score_threshold:g})")
    return figure


@torch.inference_mode()
def plot_examples(
    model: MaskRCNN,
    dataset: Dataset[tuple[Tensor, dict[str, Tensor]]],
    precision: str = "auto",
    count: int = 5,
    scales: Sequence[float | None] = (),
    known: TrainingScale | None = None,
) -> Figure:
    """`plot_predictions` for `count` images, spread evenly over a data set with a length, of pairs of image and target.
    scales, known: see `evaluate`."""
    model.eval()
    examples = []
    size = len(dataset)  # type: ignore[arg-type]
    for i in torch.linspace(0, size - 1, min(count, size)).long().tolist():
        image, target = dataset[i]
        objects = predict(model, image, precision, scale=scales[i] if scales else None, known=known)
        examples.append((image, target, confident_objects(objects, SCORE_THRESHOLD).result()))
    return plot_predictions(examples, model.config.class_names)


def plot_curves(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Losses and average precision over the epochs; grey: pre-training. history: the lines of a run's log.jsonl."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    losses, precision = figure.subplots(1, 2)
    epochs = [line["epoch"] for line in history]
    for i, name in enumerate(history[0]["train"]):
        losses.plot(epochs, [line["train"][name] for line in history], color=COLOURS[i], label=name)
        losses.plot(epochs, [line["val"][name] for line in history], color=COLOURS[i], linestyle="--")
    losses.set(title="losses (solid: training, dashed: validation)", xlabel="epoch", ylabel="loss", ylim=(0, None))
    losses.legend(fontsize=8)
    for i, (key, title) in enumerate(METRICS.items()):
        for name, style in (("ap", "-"), ("ap50", "--")):
            values = [line[key][name] for line in history]
            precision.plot(epochs, values, style, color=COLOURS[i], label=f"{title} {name.upper()}")
    precision.set(title="average precision on validation images", xlabel="epoch", ylabel="AP", ylim=(0, 1.02))
    precision.legend(fontsize=8)
    pretraining = [line["epoch"] for line in history if line.get("pretraining")]
    for ax in (losses, precision):
        if pretraining:
            ax.axvspan(0, pretraining[-1], color="grey", alpha=0.15, linewidth=0)
        ax.grid(alpha=0.3)
        ax.xaxis.get_major_locator().set_params(integer=True)
    return figure
