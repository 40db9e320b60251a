"""A page of pictures that shows what each change of a training image does to it and to its masks."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure

from data import augment
from data.augment import Augmentation, Sample
from data.splits import open_splits
from maskrcnn.drawing import draw_objects


def changes(sample: Sample, donors: Sequence[Sample]) -> dict[str, Sample]:
    """Every change by itself, by name, then all together as training draws them."""
    image, target = sample
    height, width = image.shape[-2:]
    size, whole = (height, width), (0, 0, width, height)
    near = (width // 8, height // 8, width * 7 // 8, height * 7 // 8)
    far = (-width // 8, -height // 8, width * 9 // 8, height * 9 // 8)
    strengths = {
        "first stain stronger": (1.5, 1, 1),
        "second stain stronger": (1, 1.5, 1),
        "both weaker": (0.7, 0.7, 1),
    }
    shown = {
        "as it is": sample,
        "flipped left and right": augment.flip_horizontally(image, target),
        "flipped up and down": augment.flip_vertically(image, target),
        "turned by a quarter": augment.flip_vertically(*augment.transpose(image, target)),
        "nearer": augment.view(image, target, near, size),
        "farther": augment.view(image, target, far, size),
    }
    shown |= {name: (augment.restain(image, torch.tensor(s).float()), target) for name, s in strengths.items()}
    shown["another lamp"] = augment.relight(image, torch.tensor([1.05, 0.98, 0.88]), gamma=1.1), target
    shown["out of focus"] = augment.blur(image, sigma=height / 150), target
    soft, *others = [
        augment.view(*one, whole, size) for one in (sample, *(augment.whole_cells(*donor) for donor in donors))
    ]
    for other in others:  # until one of the cells finds room
        pasted = augment.copy_cells(*soft, other, augment.random_shifts(other[1]["boxes"], size))
        if len(pasted[1]["labels"]) > len(target["labels"]):
            break
    shown["with a cell of another field"] = pasted
    small = (256, round(256 * width / height))
    for k, donor in enumerate(donors[:4]):
        shown[f"all together ({k + 1})"] = Augmentation()(sample, small, [donor])
    return shown


def page(sample: Sample, donors: Sequence[Sample], class_names: tuple[str, ...]) -> Figure:
    """`changes` as a picture, with the outline and box that the model is trained on."""
    shown = changes(sample, donors)
    columns = 4
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4 * columns, 3.5 * rows), layout="constrained")
    axes = figure.subplots(rows, columns).flat
    for ax, (name, (image, target)) in zip(axes, shown.items(), strict=True):
        draw_objects(ax, image, target, class_names)
        ax.set_title(name)
    return figure


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m data.augment", description="Draw a page that shows what augmentation does to a training image."
    )
    add = parser.add_argument
    add("path", type=Path, metavar="PATH", help="folder of the images, as for train.py --data")
    add("--image", type=int, default=0, help="which training image (default: %(default)s)")
    add("--seed", type=int, default=0, help="of what is random (default: %(default)s)")
    add("--out", type=Path, default=Path("augmentations.png"), help="the picture (default: %(default)s)")
    args = parser.parse_args()
    try:
        train = open_splits(args.path).train
        torch.manual_seed(args.seed)
        donors = [train[i] for i in torch.randint(len(train), (8,)).tolist()]
        page(train[args.image % len(train)], donors, train.class_names).savefig(args.out, dpi=70)
    except (ValueError, OSError) as error:
        print(f"data.augment: {error}", file=sys.stderr)
        return 2
    print(f"augmentations of {train.fields[args.image % len(train)].image}: {args.out}")
    return 0
