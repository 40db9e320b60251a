"""A page of examples: what each augmentation does to an image and to its masks."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from data import augment, colour
from data.augment import Augmentation, Sample
from data.laboratory import random_laboratory
from maskrcnn.visualization.drawing import draw_objects

COLUMNS = 4
# Factors on the strength of the stains: haematoxylin, eosin, the rest.
STRENGTHS = {"haematoxylin x 1.5": (1.5, 1, 1), "eosin x 1.5": (1, 1.5, 1), "both stains x 0.7": (0.7, 0.7, 1)}


def examples(sample: Sample, donors: Sequence[Sample]) -> dict[str, Sample]:
    """Title -> sample: each augmentation alone, then all together at random as in training. donors: at least one sample of
    the same image size."""
    image, target = sample
    height, width = image.shape[-2:]
    size = (height, width)
    smaller_window = (width // 8, height // 8, width * 7 // 8, height * 7 // 8)
    larger_window = (-width // 8, -height // 8, width * 9 // 8, height * 9 // 8)
    shown = {
        "original": sample,
        "horizontal flip": augment.flip_horizontally(image, target),
        "vertical flip": augment.flip_vertically(image, target),
        "quarter turn": augment.flip_vertically(*augment.transpose(image, target)),
        "zoom in": augment.crop_resize(image, target, smaller_window, size),
        "zoom out": augment.crop_resize(image, target, larger_window, size),
    }
    for title, strengths in STRENGTHS.items():
        shown[title] = colour.adjust_stain(image, torch.tensor(strengths).float()), target
    shown["light"] = colour.adjust_light(image, torch.tensor([1.05, 0.98, 0.88]), gamma=1.1), target
    shown["blur"] = colour.blur(image, sigma=height / 150), target
    for k in range(1, 5):
        shown[f"another laboratory ({k})"] = random_laboratory()(image), target
    shown["copy-paste"] = _paste_one(sample, donors)
    training_size = (256, round(256 * width / height))
    for k, donor in enumerate(donors[:4], start=1):
        shown[f"all together ({k})"] = Augmentation()(sample, training_size, [donor])
    return shown


def _paste_one(sample: Sample, donors: Sequence[Sample]) -> Sample:
    """The sample with a cell of the first donor that has one for which there is room."""
    height, width = sample[0].shape[-2:]
    everything, size = (0, 0, width, height), (height, width)
    image, target = augment.crop_resize(*sample, everything, size)
    for donor in donors:
        cells = augment.crop_resize(*augment.drop_border_cells(*donor), everything, size)
        pasted = augment.copy_paste(image, target, cells, augment.random_shifts(cells[1]["boxes"], size))
        if len(pasted[1]["labels"]) > len(target["labels"]):
            break
    return pasted


def augmentation_page(sample: Sample, donors: Sequence[Sample], class_names: tuple[str, ...]) -> Figure:
    """The `examples` as one figure, with the outlines and boxes that the model is trained on."""
    shown = examples(sample, donors)
    rows = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 3.5 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS).flat
    for ax, (title, (image, target)) in zip(axes, shown.items(), strict=True):
        draw_objects(ax, image, target, class_names)
        ax.set_title(title)
    return figure
