"""How a model stands images of another size than those of training: crops, mosaics, other magnifications.

The validation images of a data set, whole and changed, each shown to the model in three ways: "shorter side", as
photographs are (He et al. 2017, sec. 3.1); "given", at the scale of training, the size of the cells being told (--diameter);
"auto", that size being estimated (--diameter auto).
"""

import argparse
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from data.image_size import training_scale
from data.opening import open_dataset
from data.splits import train_val_split
from maskrcnn import MaskRCNN
from maskrcnn.boxes import masks_to_boxes
from maskrcnn.evaluation.average_precision import AveragePrecision
from maskrcnn.evaluation.instance_metrics import InstanceMetrics, metrics
from maskrcnn.images import image_size, resize
from maskrcnn.inference.detect import predict
from maskrcnn.inference.device import best_device
from maskrcnn.inference.estimate import estimate_diameter, some_images
from maskrcnn.inference.objects import confident_objects
from maskrcnn.inference.scale import TrainingScale, choose_scale
from maskrcnn.weights import load_checkpoint

Sample = tuple[Tensor, dict[str, Tensor]]  # image [3, H, W] in 0..1; labels [N], masks uint8 [N, H, W]
MIN_SCORE = 0.05  # of a detection that average precision counts
MIN_VISIBLE = 0.5  # fraction of a cell's area that is left of it in a crop, for it to count

# Name -> how many times as large as before cells are, and the change.
VARIANTS: dict[str, tuple[float, Callable[[Sequence[Sample]], list[Sample]]]] = {
    "whole": (1, list),
    "quarters": (1, lambda samples: [quarter for sample in samples for quarter in quarters(sample)]),
    "2 x 2 stitched": (1, lambda samples: mosaics(samples, 2)),
    "3 x 3 stitched": (1, lambda samples: mosaics(samples, 3)),
    "enlarged by 2": (2, lambda samples: [resized(sample, 2) for sample in samples]),
    "reduced by 2": (0.5, lambda samples: [resized(sample, 0.5) for sample in samples]),
}


def quarters(sample: Sample) -> list[Sample]:
    """The four quarters of an image. Cells of which less than half is left may be found or not."""
    image, target = sample
    height, width = image_size(image)
    areas = target["masks"].sum(dim=(1, 2))
    parts = []
    for top, left in itertools.product((0, height // 2), (0, width // 2)):
        rows, columns = slice(top, top + height // 2), slice(left, left + width // 2)
        masks = target["masks"][:, rows, columns]
        left_of_it = masks.sum(dim=(1, 2))
        crowd = (left_of_it < MIN_VISIBLE * areas).long()
        parts.append((image[:, rows, columns], _target(masks, target["labels"], crowd)))
    return parts


def mosaics(samples: Sequence[Sample], side: int) -> list[Sample]:
    """side x side images of one size stitched together; those left over are left out."""
    stitched = []
    for group in zip(*[iter(samples)] * side**2, strict=False):
        rows = [torch.cat([image for image, _ in group[i : i + side]], dim=2) for i in range(0, side**2, side)]
        image = torch.cat(rows, dim=1)
        masks = []
        for k, (part, target) in enumerate(group):
            height, width = image_size(part)
            right, down = (k % side) * width, (k // side) * height
            margins = right, image.shape[2] - right - width, down, image.shape[1] - down - height
            masks.append(F.pad(target["masks"], margins))
        stitched.append((image, _target(torch.cat(masks), torch.cat([target["labels"] for _, target in group]))))
    return stitched


def resized(sample: Sample, factor: float) -> Sample:
    """An image `factor` times as large."""
    image, target = sample
    size = round(image.shape[1] * factor), round(image.shape[2] * factor)
    masks = target["masks"]
    if len(masks):
        masks = resize(masks[:, None].float(), size, antialias=True)[:, 0].round().byte()
    else:
        masks = masks.new_zeros(0, *size)
    return resize(image[None], size, antialias=True)[0], _target(masks, target["labels"])


def _target(masks: Tensor, labels: Tensor, crowd: Tensor | None = None) -> dict[str, Tensor]:
    """Of the cells of which a pixel is left."""
    visible = masks.flatten(1).any(dim=1).bool()
    target = {"masks": masks[visible], "labels": labels[visible], "boxes": masks_to_boxes(masks[visible])}
    return target if crowd is None else {**target, "iscrowd": crowd[visible]}


def measure(
    model: MaskRCNN, samples: Iterable[Sample], precision: str, scale: float | None, known: TrainingScale | None
) -> tuple[float, float]:
    """Class-agnostic mask AP50 of objects that are each counted once, as predict.py does, and the fraction of the cells
    found with a score of 0.5 or more that have the right name."""
    masks = AveragePrecision(model.config.class_names, "mask")
    cells = InstanceMetrics(model.config.class_names)
    for image, target in samples:
        objects = predict(model, image, precision, scale=scale, known=known)
        masks.update(confident_objects(objects, MIN_SCORE).result(), target)
        cells.update(confident_objects(objects, cells.score_threshold).result(), target)
    return masks.compute(class_agnostic=True).ap50, float(metrics(cells.total())["accuracy"][0])


def compare(model: MaskRCNN, samples: Sequence[Sample], known: TrainingScale, factor: float, precision: str) -> str:
    """A row of the table, of images whose cells are `factor` times as large as in training."""
    chosen = some_images([image_size(image) for image, _ in samples], known)
    guess = estimate_diameter(model, [samples[i][0] for i in chosen], known, precision)
    given = known.scale_for(known.diameter * factor)
    auto = choose_scale(known, "auto", None, lambda _: guess).scale
    row = f"{len(samples):8d}"
    for scale, training in ((None, None), (given, known), (auto, known)):
        ap50, accuracy = measure(model, tqdm(samples, leave=False, disable=None), precision, scale, training)
        row += f"{ap50:.3f}, {accuracy:.3f}".rjust(20)
    return row + (f"{guess / (known.diameter * factor):10.2f}" if guess else f"{'-':>10}")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a run folder or a checkpoint of train.py")
    parser.add_argument(
        "--data", type=Path, required=True, help="the images that it was trained on, for those of --split"
    )
    parser.add_argument("--images", type=int, help="only so many validation images")
    parser.add_argument("--precision", default="auto")
    args = parser.parse_args()
    model, saved = load_checkpoint(args.checkpoint)
    model.to(best_device()).eval()
    splits = train_val_split(open_dataset(args.data), 0)
    known = TrainingScale.of_checkpoint(saved) or training_scale(splits.train, model.transform)
    samples = [splits.val[i] for i in range(len(splits.val))][: args.images]
    print(f"{'':16}{'':8}{'shorter side':>20}{'given':>20}{'auto':>20}{'estimate':>10}")
    for name, (factor, change) in VARIANTS.items():
        row = compare(model, change(samples), known, factor, args.precision)
        print(f"{name:16}{row}", flush=True)
    print("class-agnostic mask AP50, and the fraction of the cells found that have the right name")


if __name__ == "__main__":
    main()
