"""How a model stands colours that it was not trained on: the validation images in a fixed list of other colours.

Only light and gamma are changed by the formula that training uses. The column "distance" says how far the colours are from
those of the training images, in grey levels (see maskrcnn/inference/colours.py).
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from data.colour import adjust_light, from_bytes, to_bytes
from data.opening import open_dataset
from data.splits import train_val_split
from maskrcnn.evaluation.validate import validate
from maskrcnn.inference.arguments import add_colours
from maskrcnn.inference.colours import ColourRange, as_shown
from maskrcnn.inference.device import best_device
from maskrcnn.weights import load_checkpoint

Recolouring = Callable[[Tensor], Tensor]  # [3, H, W] in 0..1, both
METRICS = {"class-agnostic AP50": ("mask_class_agnostic", "ap50"), "AP50": ("mask", "ap50"), "AP": ("mask", "ap")}


def turn_hue(degrees: int) -> Recolouring:
    """Hue of the HSV colour space."""

    def change(image: Tensor) -> Tensor:
        hsv = np.array(Image.fromarray(to_bytes(image)).convert("HSV"))
        hsv[..., 0] += np.uint8(round(degrees / 360 * 256) % 256)  # uint8 wraps around, as hue does
        return from_bytes(np.array(Image.fromarray(hsv, "HSV").convert("RGB")))

    return change


def saturate(factor: float) -> Recolouring:
    """Distance of each pixel from its own grey."""

    def change(image: Tensor) -> Tensor:
        grey = image.mean(dim=0, keepdim=True)
        return (grey + factor * (image - grey)).clamp(0, 1)

    return change


def light(red: float, green: float, blue: float, gamma: float = 1.0) -> Recolouring:
    """Lamp, white balance, and the camera's curve."""
    gains = torch.tensor([red, green, blue])
    return lambda image: adjust_light(image, gains, gamma)


def contrast(factor: float) -> Recolouring:
    """Distance of each pixel from white: paler or darker stain."""
    return lambda image: (1 - factor * (1 - image)).clamp(0, 1)


def mix(*rows: tuple[float, float, float]) -> Recolouring:
    """Another camera's primaries."""
    matrix = torch.tensor(rows)
    return lambda image: torch.einsum("ij,jhw->ihw", matrix, image).clamp(0, 1)


RECOLOURINGS: dict[str, Recolouring] = {
    "hue + 30 degrees": turn_hue(30),
    "hue - 30 degrees": turn_hue(-30),
    "hue + 60 degrees": turn_hue(60),
    "hue - 60 degrees": turn_hue(-60),
    "yellow lamp": light(1.1, 1.0, 0.65),
    "blue lamp": light(0.75, 0.85, 1.15),
    "dim lamp": light(0.6, 0.6, 0.6),
    "overexposed": light(1.25, 1.25, 1.25),
    "gamma 0.6": light(1, 1, 1, 0.6),
    "gamma 1.7": light(1, 1, 1, 1.7),
    "a third of the saturation": saturate(0.33),
    "twice the saturation": saturate(2.0),
    "pale stain": contrast(0.55),
    "strong stain": contrast(1.5),
    "other primaries": mix((0.6, 0.0, 0.4), (0.2, 0.8, 0.0), (0.0, 0.3, 0.7)),
    "blue and green exchanged in part": mix((1.0, 0.0, 0.0), (0.0, 0.3, 0.7), (0.0, 0.7, 0.3)),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.recoloured", description=__doc__)
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="RUN", help="a run folder or a checkpoint of train.py")
    add("data", type=Path, metavar="PATH", help="its data; the validation images are used")
    add_colours(parser)
    args = parser.parse_args()
    model, saved = load_checkpoint(args.checkpoint)
    model.to(best_device())
    dataset = open_dataset(args.data, progress=False)
    samples, known = list(train_val_split(dataset).val), ColourRange.of_checkpoint(saved)
    shown = as_shown(known, args.colours)
    rows: dict[str, list[float]] = {}
    for name, change in tqdm({"as they are": torch.clone, **RECOLOURINGS}.items(), disable=None):
        changed = [(change(image), target) for image, target in samples]
        measured = validate(model, ((shown(image)(image), target) for image, target in changed))
        rows[name] = [measured[kind][metric] for kind, metric in METRICS.values()]
        if known:
            rows[name].append(float(known.distances(ColourRange.of(image for image, _ in changed).quantiles).median()))
    columns = [*METRICS, "distance"] if known else list(METRICS)
    print(f"{'':34s}" + "".join(f"{column:>22s}" for column in columns))
    recoloured = [statistics.mean(values) for values in zip(*list(rows.values())[1:], strict=True)]
    for name, values in {**rows, "mean of the recoloured": recoloured}.items():
        print(f"{name:34s}" + "".join(f"{value:22.3f}" for value in values))
    print(json.dumps({"as they are": rows["as they are"], "recoloured": recoloured}))


if __name__ == "__main__":
    main()
