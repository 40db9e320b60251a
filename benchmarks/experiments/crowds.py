"""How many of the cells of a crowded synthetic field are found: one field for each number of cells.

The field is as large as that number needs at the density of --spacing. A cell counts as found if the masks of a detection
and of the cell have an IoU of 0.5 or more.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch

from data.samples import cells_of_codes
from data.synthetic.smear import draw_smear
from maskrcnn.config import LISC_CLASSES
from maskrcnn.evaluation.instance_metrics import match_instances
from maskrcnn.inference.detect import predict
from maskrcnn.inference.device import best_device
from maskrcnn.inference.objects import confident_objects
from maskrcnn.inference.scale import TrainingScale
from maskrcnn.regions import paste_regions
from maskrcnn.weights import load_checkpoint


def main() -> None:
    """Print a line for each number."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="a run on synthetic smears, such as runs/synthetic"
    )
    parser.add_argument("--cells", type=int, nargs="+", default=[50, 80, 150])
    parser.add_argument("--spacing", type=float, default=140, help="pixels: one cell per square of this side")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model, saved = load_checkpoint(args.checkpoint)
    model.to(best_device()).eval()
    known = TrainingScale.of_checkpoint(saved)
    for number in args.cells:
        rng = np.random.default_rng([args.seed, number])
        side = math.sqrt(number) * args.spacing
        size = round(side * math.sqrt(5 / 4)), round(side / math.sqrt(5 / 4))
        pixels, codes = draw_smear([LISC_CLASSES[i % 5] for i in range(number)], rng, size)
        cells = cells_of_codes(codes)
        objects = predict(model, torch.from_numpy(pixels).permute(2, 0, 1), known=known)
        found = confident_objects(objects, 0.5)
        labels = torch.tensor([LISC_CLASSES.index(str(cell.label)) + 1 for cell in cells])
        masks = torch.from_numpy(paste_regions([cell.region for cell in cells], codes.shape))
        matches = match_instances(found.result(), {"labels": labels, "masks": masks})
        right = int((matches.pred_labels[matches.pred_indices] == matches.gt_labels[matches.gt_indices]).sum())
        print(
            f"{size[0]} x {size[1]} pixels, {len(cells)} cells: {len(matches.pred_indices)} found, {right} with the right "
            f"name, {len(found) - len(matches.pred_indices)} false positives{', a limit was reached' * objects.limited}",
            flush=True,
        )


if __name__ == "__main__":
    main()
