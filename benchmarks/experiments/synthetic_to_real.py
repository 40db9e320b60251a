"""What the synthetic smears are worth: how far a model trained on them alone gets on real ones, the other way round, and
whether synthetic smears are a better start than random weights at equal total time."""

import argparse
import json
from pathlib import Path

import torch

from benchmarks.experiments.train_runs import train
from data.dataset import SmearDataset
from data.opening import open_dataset
from data.splits import train_val_split
from data.synthetic.dataset import write_dataset
from data.synthetic.pretraining import pretraining_set
from maskrcnn.evaluation.validate import validate
from maskrcnn.inference.device import best_device
from maskrcnn.weights import load_checkpoint

SYNTHETIC_CELLS = 400  # in the synthetic smears that a model of real ones is tested on


def score(run: Path, images: SmearDataset) -> dict[str, float]:
    """Mask AP per class and class-agnostic."""
    model, _ = load_checkpoint(run / "last.pt")
    measured = validate(model.to(best_device()), [images[i] for i in range(len(images))])
    return {
        "class-agnostic mask AP50": measured["mask_class_agnostic"]["ap50"],
        "class-agnostic mask AP": measured["mask_class_agnostic"]["ap"],
        "mask AP50": measured["mask"]["ap50"],
        "mask AP": measured["mask"]["ap"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.synthetic_to_real", description=__doc__)
    add = parser.add_argument
    add("real", type=Path, metavar="REAL", help="folder of real images, as for train.py --data")
    add(
        "--out",
        type=Path,
        default=Path("runs/synthetic-to-real"),
        help="new folder for the runs (default: %(default)s)",
    )
    add(
        "--minutes",
        type=float,
        default=20,
        help="of each side; two of the three runs take half of it (default: %(default)s)",
    )
    add("--images", type=int, default=400, help="number of synthetic images (default: %(default)s)")
    add("--zoom", type=float, nargs=2, default=(1.0, 3.0), help="of the synthetic images (default: 1 3)")
    args = parser.parse_args()
    smears, half = args.out / "smears", args.minutes / 2
    real = train_val_split(open_dataset(args.real, progress=False))
    synthetic = pretraining_set(real.train, SYNTHETIC_CELLS, seed=1)  # at the scale of the real images
    write_dataset(smears, args.images, layout="wbc", val_fraction=0.05, zoom=tuple(args.zoom))
    train(args.out / "synthetic", "--data", smears, "--minutes", half, "--pretrain-fraction", 0)
    results = {f"synthetic smears only, {half:g} minutes": score(args.out / "synthetic", real.val)}
    print(json.dumps(results, indent=2), flush=True)
    train(args.out / "both", "--data", args.real, "--minutes", half, "--weights", args.out / "synthetic/last.pt")
    results[f"then real smears, {half:g} minutes more"] = score(args.out / "both", real.val)
    train(args.out / "real", "--data", args.real, "--minutes", args.minutes, "--pretrain-fraction", 0)
    results[f"real smears only, {args.minutes:g} minutes"] = score(args.out / "real", real.val)
    results["the same on synthetic smears"] = score(args.out / "real", synthetic)
    print(f"{torch.get_num_threads()} threads; last checkpoint of each run, on real validation images")
    print(json.dumps(results, indent=2))
    (args.out / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
