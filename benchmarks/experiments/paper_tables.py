"""The paper's ablations on synthetic smears: tables 2b to 2e and 3 of He et al. 2017, each beside the paper's own.

Every variant is one change of one model, trained with the same seeds for the same number of steps from random weights. What
is compared is the order of the results, not their size: the paper trains on COCO, from ImageNet's weights, for 160,000
steps. A variant that is done is not trained again (--out), so an interrupted call goes on.
"""

import argparse
import dataclasses
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from data.dataset import SmearDataset
from data.image_size import model_sizes, size_for_cells
from data.loader import Loader
from data.opening import open_dataset
from data.splits import train_val_split
from data.synthetic.dataset import resolve_data
from maskrcnn import Config, MaskRCNN
from maskrcnn.evaluation.validate import validate
from maskrcnn.inference.device import autocast, best_device
from maskrcnn.model import Stage
from maskrcnn.training.schedule import lr_at, parameter_groups

LR, LR_DECAY, HEAD_LR_FACTOR, WEIGHT_DECAY, MAX_GRAD_NORM, BATCH = 3e-4, 0.3, 2.0, 0.05, 5.0, 2


class SeparateRPN(MaskRCNN):
    """The RPN has a backbone of its own, which learns from the RPN's losses alone, as in the paper's ablations (3.1)."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.proposer = MaskRCNN(config)

    def stages(
        self,
        images: Sequence[Tensor],
        targets: Sequence[dict[str, Tensor]] | None = None,
        scale: float | None = None,
    ) -> Iterator[Stage]:
        last = "proposals" if targets is None else "rpn_losses"
        found: dict[str, Any] = {}
        for name, output in self.proposer.stages(images, targets, scale):
            found[name] = output
            if name == last:
                break
        features = self.backbone(found["images"].pixels)
        boxes = found["proposals"].boxes
        if targets is None:
            yield from self._infer_second_stage(found["images"], features, boxes)
        else:
            yield from self._train_second_stage(features, boxes, found["targets"], found["rpn_losses"])


class Variant(NamedTuple):
    """A row of a table: what is changed; the paper's AP, AP50 and AP75 there, of masks or, in table 3, of boxes."""

    changes: dict[str, Any]
    paper: tuple[float, ...]
    without: str = ""  # a loss that is left out
    kind: type[MaskRCNN] = MaskRCNN


class Table(NamedTuple):
    """metric: what the paper compares there: "mask", or "regressed_box", boxes as the box head gives them, which are not
    drawn around masks."""

    title: str
    metric: str
    rows: dict[str, Variant]


PLAIN = "Mask R-CNN"
TABLES = (
    Table(
        "Table 2b (R50-C4): classes that compete for a pixel, and classes that do not",
        "mask",
        {
            "softmax": Variant({"mask_head": "softmax"}, (24.8, 44.1, 25.1)),
            PLAIN: Variant({}, (30.3, 51.2, 31.5)),
        },
    ),
    Table(
        "Table 2c (R50-C4): what a bin is made of",
        "mask",
        {
            "RoIPool": Variant({"roi_pooling": "pool"}, (26.9, 48.8, 26.4)),
            "RoIAlign, maximum": Variant({"roi_pooling": "align_max"}, (30.2, 51.0, 31.8)),
            PLAIN: Variant({}, (30.3, 51.2, 31.5)),
        },
    ),
    Table(
        "Table 2d (R50-C5, stride 32): the same for boxes",
        "regressed_box",
        {
            "RoIPool": Variant({"roi_pooling": "pool"}, (28.2, 52.7, 26.9)),
            PLAIN: Variant({}, (34.0, 55.3, 36.4)),
        },
    ),
    Table(
        "Table 2e (R50-FPN): masks from fully connected layers",
        "mask",
        {
            "MLP": Variant({"mask_head": "mlp"}, (31.5, 53.7, 32.8)),
            PLAIN: Variant({}, (33.6, 55.2, 35.3)),
        },
    ),
    Table(
        "Sec. 4.2, Class-Specific vs. Class-Agnostic Masks (R50-C4)",
        "mask",
        {
            "class-agnostic": Variant({"class_agnostic_masks": True}, (29.7,)),
            PLAIN: Variant({}, (30.3,)),
        },
    ),
    Table(
        "Table 3 (R101-FPN): what the mask head does for boxes",
        "regressed_box",
        {
            "without masks": Variant({}, (37.3, 59.6, 40.3), without="loss_mask"),
            PLAIN: Variant({}, (38.2, 60.3, 41.7)),
        },
    ),
    Table(
        "Sec. 4.1: features that the RPN shares, and an RPN of its own (no figures in the paper)",
        "mask",
        {
            "separate RPN": Variant({}, (), kind=SeparateRPN),
            PLAIN: Variant({}, ()),
        },
    ),
)


def train(variant: Variant, seed: int, steps: int, train_set: SmearDataset, val_set: SmearDataset) -> dict[str, Any]:
    """Train a variant and validate it. Returns the result of `validate`."""
    torch.manual_seed(seed)
    size = size_for_cells(train_set)
    base = {"min_size": size, "max_size": 2 * size, "class_agnostic_boxes": False, "class_agnostic_masks": False}
    config = Config.small(train_set.class_names, **{**base, **variant.changes})
    device = best_device()
    model = variant.kind(config).to(device)
    stored = train_set.downscaled(model_sizes(train_set, model.transform, [None] * len(train_set)))
    optimizer = torch.optim.AdamW(parameter_groups(model, HEAD_LR_FACTOR), lr=LR, weight_decay=WEIGHT_DECAY)
    loader = Loader(stored, BATCH, device, class_balance=0.5, seed=seed)
    batches = loader.epochs(math.ceil(steps / len(loader)))
    for step, (images, targets) in zip(tqdm(range(steps), leave=False, disable=None), batches, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step, step / steps, LR, LR_DECAY) * group["lr_factor"]
        with autocast(device, "auto"):
            losses = model(images, targets)
        loss = torch.stack([value for name, value in losses.items() if name != variant.without]).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
        optimizer.step()
    loader.close()
    result = validate(model, val_set)
    model.config = dataclasses.replace(config, boxes_around_masks=False)
    return {**result, "regressed_box": validate(model, val_set)["box"]}


def line(name: str, runs: Sequence[dict[str, Any]], metric: str, paper: Sequence[float]) -> str:
    """A row: AP as the mean over the seeds and each of them, AP50, AP75, and the paper's."""
    each = [run[metric] for run in runs]
    ap, ap50, ap75 = (statistics.mean(run[column] for run in each) for column in ("ap", "ap50", "ap75"))
    seeds = ", ".join(f"{run['ap']:.3f}" for run in each)
    theirs = " ".join(f"{value:.1f}" for value in paper) or "-"
    return f"  {name:20s} {ap:.3f} ({seeds})  {ap50:.3f}  {ap75:.3f}   {theirs}"


def main() -> None:
    """Train what is not there yet, and print every table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.paper_tables", description=__doc__)
    parser.add_argument("--data", default="synthetic", metavar="PATH", help="annotated images (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=360, help="of each run (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/paper-tables"), help="folder of the results (default: %(default)s)"
    )
    args = parser.parse_args()
    splits = train_val_split(open_dataset(resolve_data(args.data)), 0)
    args.out.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        metric = table.metric.replace("_", " ")
        print(f"{table.title}: {metric} AP (each seed), AP50, AP75; the paper's", flush=True)
        for name, variant in table.rows.items():
            runs = []
            for seed in range(args.seeds):
                key = f"{name}-{args.steps}-{seed}".replace(" ", "_").replace(",", "")
                path = args.out / f"{key}.json"
                if not path.exists():
                    path.write_text(json.dumps(train(variant, seed, args.steps, splits.train, splits.val)))
                runs.append(json.loads(path.read_text()))
            print(line(name, runs, table.metric, variant.paper), flush=True)


if __name__ == "__main__":
    main()
