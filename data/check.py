"""What is in a folder of smears, and is it right? A report to read and a contact sheet to look at."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from data.dataset import PARTS
from data.leakage import of_splits
from data.splits import Splits, open_splits
from maskrcnn.drawing import draw_objects

COLUMNS, ROWS = 6, 8  # of the contact sheet


def report(splits: Splits) -> str:
    """Images, cells of each class, sizes, what was left out and why, repeated fields."""
    sets = {"training": splits.train, "validation": splits.val}
    names = splits.val.class_names
    lines = [f"{'':14s}" + "".join(f"{name:>12s}" for name in ("images", *names))]
    for name, dataset in sets.items():
        cells = Counter(names[label - 1] for sample in dataset.samples for label in sample.labels.tolist())
        lines.append(f"{name:14s}{len(dataset):12d}" + "".join(f"{cells[label]:12d}" for label in names))
    samples = [*splits.train.samples, *splits.val.samples]
    sizes = Counter(f"{s.ids.shape[1]} x {s.ids.shape[0]}" for s in samples)
    lines.append("sizes: " + ", ".join(f"{size} ({count})" for size, count in sizes.most_common()))
    lines.append("cells an image: " + _spread([len(s.labels) for s in samples]))
    sides = [max(box[2] - box[0], box[3] - box[1]) for s in samples for box in s.boxes.tolist()]
    lines.append(f"longer side of a cell's box, pixels: {_spread(sides)}")
    lines.append(f"fragments of masks too small to be a cell, left out: {sum(s.fragments for s in samples)}")
    for field, sample in zip([*splits.train.fields, *splits.val.fields], samples, strict=True):
        if sample.contradiction:
            lines.append(f"in doubt: {field.mask}: {sample.contradiction}; the folder {field.label} is believed")
    lines += _repeats(splits)
    lines.append(f"files left out: {len(splits.skipped) or 'none'}")
    lines += [f"  {item}" for item in splits.skipped]
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    low, middle, high = np.percentile(values, (0, 50, 100))
    return f"{low:g} to {high:g}, median {middle:g}"


def _repeats(splits: Splits) -> list[str]:
    """The fields that are there more than once, and whether that matters."""
    fields = [*splits.train.fields, *splits.val.fields]
    members: dict[int, list[int]] = {}
    for i, group in enumerate(splits.groups):
        members.setdefault(group, []).append(i)
    repeated = [indices for indices in members.values() if len(indices) > 1]
    lines = [f"fields shown more than once: {len(repeated) or 'none'}"]
    for indices in repeated:
        names = " = ".join(f"{fields[i].image.parent.name}/{fields[i].image.name}" for i in indices)
        remarks = []
        if len({fields[i].label for i in indices}) > 1:
            remarks.append("under different classes")
        if min(indices) < len(splits.train) <= max(indices):
            remarks.append("in training and in validation")
        lines.append(f"  {names}" + (f"  ({', '.join(remarks)})" if remarks else ""))
    if splits.straddling:
        lines.append(
            f"  {len(splits.straddling)} validation fields are known from training; --folds divides the data without that"
        )
    return lines


def contact_sheet(splits: Splits, count: int = COLUMNS * ROWS) -> Figure:
    """Fields with outline and class of every cell, spread over the data set, those with most cells included."""
    train = [(splits.train, i) for i in range(len(splits.train))]
    everything = train + [(splits.val, i) for i in range(len(splits.val))]
    chosen = [everything[i] for i in np.linspace(0, len(everything) - 1, min(count, len(everything))).astype(int)]
    rows = -(-len(chosen) // COLUMNS)
    figure = Figure(figsize=(3 * COLUMNS, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, (dataset, i) in zip(axes.flat, chosen, strict=False):
        image, target = dataset[i]
        draw_objects(ax, image, target, dataset.class_names)
        file = dataset.fields[i].image
        ax.set_title(f"{file.parent.name}/{file.name}", fontsize=8)
    return figure


def write(splits: Splits, folder: Path) -> str:
    """Into a run's folder: data.txt, the report and the control of the background (see leakage.py), which is returned; and
    contact-sheet.png."""
    control = of_splits(splits.train, splits.val, splits.groups)
    (folder / "data.txt").write_text(f"{report(splits)}\n{control}\n", encoding="utf-8")
    contact_sheet(splits).savefig(folder / "contact-sheet.png", dpi=80)
    return control


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m data.lisc",
        description="Check a folder of smears, say what is in it, and draw a contact sheet with every cell's outline.",
        epilog="example: python -m data.lisc data/LISC",
    )
    add = parser.add_argument
    add("path", type=Path, metavar="PATH", help="folder in LISC's or the tutorial's layout")
    add("--sheet", type=Path, default=Path("contact-sheet.png"), help="the picture (default: %(default)s)")
    add("--strict", action="store_true", help="fail if any file has to be left out")
    add("--target", choices=PARTS, default="cell", help="outline whole cells or their nuclei (default: %(default)s)")
    args = parser.parse_args()
    try:
        splits = open_splits(args.path, strict=args.strict, part=args.target)
        print(report(splits), flush=True)
        contact_sheet(splits).savefig(args.sheet, dpi=80)
    except (ValueError, OSError) as error:
        print(f"data.lisc: {error}", file=sys.stderr)
        return 2
    print(f"contact sheet: {args.sheet}")
    return 0
