"""Pictures of a training run: predictions beside ground truth, and its curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.data import Dataset

from maskrcnn.drawing import COLOURS, draw_objects
from maskrcnn.evaluation.validate import MEASURES
from maskrcnn.heads import named_once
from maskrcnn.model import MaskRCNN
from maskrcnn.turns import detect


def comparison(
    examples: Sequence[tuple[Tensor, Mapping[str, Tensor], Mapping[str, Tensor]]],
    class_names: Sequence[str],
    min_score: float = 0.5,
) -> Figure:
    """Ground truth on the left, prediction on the right, a row an example (image, target, prediction)."""
    heights = [5 * image.shape[-2] / image.shape[-1] for image, _, _ in examples]
    figure = Figure(figsize=(10, sum(heights) + 0.5), layout="constrained")
    axes = figure.subplots(len(examples), 2, squeeze=False, height_ratios=heights)
    for (left, right), (image, target, prediction) in zip(axes, examples, strict=True):
        draw_objects(left, image, target, class_names)
        draw_objects(right, image, prediction, class_names, min_score)
    axes[0][0].set_title("ground truth")
    axes[0][1].set_title(f"prediction (score at least {min_score:g})")
    return figure


@torch.inference_mode()
def examples(
    model: MaskRCNN, dataset: Dataset[tuple[Tensor, dict[str, Tensor]]], precision: str = "auto", count: int = 5
) -> Figure:
    """`comparison` for `count` images, spread evenly over a data set with a length, of pairs of image and target."""
    model.eval()
    shown = []
    size = len(dataset)  # type: ignore[arg-type]
    for i in torch.linspace(0, size - 1, min(count, size)).long().tolist():
        image, target = dataset[i]
        prediction = detect(model, image, precision, turns=False)
        shown.append((image, target, {name: value.cpu() for name, value in named_once(prediction).items()}))
    return comparison(shown, model.config.class_names)


def curves(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Losses and average precision over the epochs; grey: practice. history: the lines of a run's log.jsonl."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    losses, precision = figure.subplots(1, 2)
    epochs = [line["epoch"] for line in history]
    for i, name in enumerate(history[0]["train"]):
        losses.plot(epochs, [line["train"][name] for line in history], color=COLOURS[i], label=name)
        losses.plot(epochs, [line["val"][name] for line in history], color=COLOURS[i], linestyle="--")
    losses.set(title="losses (solid: training, dashed: validation)", xlabel="epoch", ylabel="loss", ylim=(0, None))
    losses.legend(fontsize=8)
    for i, (kind, title) in enumerate(MEASURES.items()):
        for name, style in (("ap", "-"), ("ap50", "--")):
            values = [line[kind][name] for line in history]
            precision.plot(epochs, values, style, color=COLOURS[i], label=f"{title} {name.upper()}")
    precision.set(title="average precision on validation images", xlabel="epoch", ylabel="AP", ylim=(0, 1.02))
    precision.legend(fontsize=8)
    practice = [line["epoch"] for line in history if line.get("practice")]
    for ax in (losses, precision):
        if practice:
            ax.axvspan(0, practice[-1], color="grey", alpha=0.15, linewidth=0)
        ax.grid(alpha=0.3)
        ax.xaxis.get_major_locator().set_params(integer=True)
    return figure
