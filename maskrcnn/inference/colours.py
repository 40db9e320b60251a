"""Whether an image has colours that the model was trained on, and what to do if not.

In colours that it has never seen a model misclassifies cells with high scores. What tells is a plain distance: how far the
dark, the middle and the bright values of red, green, blue and of their differences are from those of the most similar
training image. An image that is far from all of them is shown to the model in their light: with the white balance and the
brightness of training.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

# What is done with an image [3, H, W], and so with its tiles in 0..1, before the model sees it.
Light = Callable[[Tensor], Callable[[Tensor], Tensor]]

# White cells can be as few as a twentieth of the pixels, so their nuclei are the darkest and most colourful hundredth.
QUANTILES = {"dark (1st percentile)": 0.01, "middle (median)": 0.5, "bright (99th percentile)": 0.99}
MIN_LIMIT = 5.0  # grey levels: as much as a lamp changes from one day to the next
MAX_PIXELS = 20_000  # of an image are looked at; more would hardly change its quantiles


def colour_quantiles(image: Tensor) -> Tensor:
    """[3, 6]: the 1st, 50th and 99th percentile, each of red, green, blue (0..255), red - green, blue - green and red - blue
    (-255..255). image: [3, H, W], in 0..1 or of 8 bits.

    Without the differences, stains of another hue would look alike: red, green and blue have nearly the same percentiles.
    """
    step = max(1, image[0].numel() // MAX_PIXELS)
    pixels = image.flatten(1)[:, ::step].float()
    red, green, blue = pixels if image.is_floating_point() else pixels / 255
    values = torch.stack([red, green, blue, red - green, blue - green, red - blue])
    return 255 * torch.quantile(values, torch.tensor(list(QUANTILES.values())), dim=1)


@dataclass(frozen=True, eq=False)
class ColourRange:
    """The colours of N training images: quantiles [N, 3, 6], as `colour_quantiles` returns them."""

    quantiles: Tensor

    @classmethod
    def of(cls, images: Iterable[Tensor]) -> "ColourRange":
        """images: one or more, [3, H, W] in 0..1."""
        return cls(torch.stack([colour_quantiles(image) for image in images]))

    @classmethod
    def of_checkpoint(cls, saved: Mapping[str, Any]) -> "ColourRange | None":
        """saved: the entries of a checkpoint of train.py. None if it records no colours, as those of version 0.2."""
        return cls(saved["colours"]) if "colours" in saved else None

    @cached_property
    def limit(self) -> float:
        """Grey levels from which an image counts as different: twice the 95th percentile of the training images' distances
        to the most similar other one."""
        if len(self.quantiles) < 2:
            return MIN_LIMIT
        distances = _distances(self.quantiles, self.quantiles).fill_diagonal_(torch.inf)
        return max(MIN_LIMIT, 2 * float(distances.amin(dim=1).quantile(0.95)))

    def distances(self, quantiles: Tensor) -> Tensor:
        """Grey levels between each of M images and the training image that is most like it. quantiles: [M, 3, 6] -> [M].

        Squares of the quantiles' differences, averaged over colours and over differences of colours, and added: an image
        that is darker by d has a distance of d, and so has one of which red alone differs by d."""
        return _distances(quantiles, self.quantiles).amin(dim=1)

    def adapt(self, image: Tensor) -> Tensor:
        """The image [3, H, W] in 0..1 in the light of the training images, see `light_of`."""
        return self.light_of(image)(image)

    def light_of(self, image: Tensor) -> Callable[[Tensor], Tensor]:
        """What to do with an image [3, H, W], or with its tiles in 0..1, before the model sees it: nothing or, if it counts
        as different, each channel is multiplied so that its bright colour, the background of a smear, becomes the mean one
        of training.

        Only the background is adjusted, because it is the same in all smears; dark and middle colours depend on which cells
        are there and how they are stained, and carry their classes.
        """
        here = colour_quantiles(image)
        if float(self.distances(here[None])) <= self.limit:
            return _unchanged
        gains = self.quantiles.mean(dim=0)[-1, :3] / here[-1, :3].clamp(min=1)
        return lambda part: (gains[:, None, None] * part).clamp(0, 1)

    def warning(self, quantiles: Tensor) -> str:
        """What to say about M images, [M, 3, 6]; "" if none is different."""
        distances = self.distances(quantiles)
        different = int((distances > self.limit).sum())
        if not different:
            return ""
        return (
            f"warning: {different} of {len(quantiles)} images have other colours than the {len(self.quantiles)} training "
            f"images: up to {float(distances.max()):.0f} of 255 grey levels from the most similar one, where "
            f"{self.limit:.0f} is the limit. Their cells may be missed or get the wrong class, whatever the scores say"
        )


def as_shown(known: ColourRange | None, colours: str) -> Light:
    """What is done with an image, and so with its tiles, before the model sees it: see `light_of`. colours: the value of
    --colours; known: the colours of the model's checkpoint."""
    return known.light_of if known and colours == "adapt" else lambda image: _unchanged


def _unchanged(part: Tensor) -> Tensor:
    return part


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """[N, 3, 6] and [M, 3, 6] -> [N, M]."""
    # Means over 3 quantiles of 3 colours and of 3 differences, added: the sum of all squares by 9.
    return torch.cdist(a.flatten(1), b.flatten(1), compute_mode="donot_use_mm_for_euclid_dist") / 3


def colour_figure(known: ColourRange, quantiles: Tensor) -> Figure:
    """Dark, middle and bright colours of the training images (dots) and of M other images, [M, 3, 6] (squares), each drawn
    in its own colour at its amounts of red and blue; last, how purple and how blue the most colourful pixels are."""
    figure = Figure(figsize=(16, 4.8), layout="constrained")
    *panels, last = figure.subplots(1, len(QUANTILES) + 1)
    for values, marker, size, edge, label in (
        (known.quantiles, "o", 25, "none", f"{len(known.quantiles)} training images"),
        (quantiles, "s", 60, "black", f"{len(quantiles)} images here"),
    ):
        style: dict[str, Any] = {"s": size, "marker": marker, "edgecolors": edge, "label": label}
        for k, axes in enumerate(panels):
            rgb = values[:, k, :3].numpy()
            axes.scatter(rgb[:, 0], rgb[:, 2], c=rgb / 255, **style)
        differences = values[:, -1, 3:].numpy()
        last.scatter(differences[:, 0], differences[:, 1], c=values[:, 0, :3].numpy() / 255, **style)
    for axes, title in zip(panels, QUANTILES, strict=True):
        axes.set(title=title, xlabel="red", ylabel="blue")
    last.set(title="differences (99th percentile)", xlabel="red - green", ylabel="blue - green")
    figure.legend(*last.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
