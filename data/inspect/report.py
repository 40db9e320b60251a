"""What a data set contains, and whether its annotation is right: a report to read and a contact sheet to look at."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from data.dataset import listed
from data.duplicates import members_by_group
from data.inspect.background_control import control_of_splits
from data.records import ImageRecord
from data.samples import Sample
from data.splits import Splits
from maskrcnn.images import scaled_size
from maskrcnn.inference.arguments import plural
from maskrcnn.inference.image_io import readable
from maskrcnn.visualization.drawing import class_colour, draw_objects

COLUMNS, ROWS = 6, 8  # of the contact sheet, at most
SHEET, LARGEST = 18, 6  # inches: the width of the sheet, and of an image in it if there are few
THUMBNAIL = 480  # pixels, the longer side of an image in it
TITLE = 36  # letters that fit above an image
ROOM_FOR_NAME = 0.1  # side of a cell that has room for its name, as a fraction of the longer side of the image
SHOWN_SIZES, SHOWN_LINES = 6, 20  # of the report: sizes, lines about one thing


def dataset_report(splits: Splits) -> str:
    """Images, cells per class, sizes, doubtful classes, repeated fields, and the files that were left out and why."""
    names = splits.val.class_names
    widths = [max(12, len(name) + 2) for name in names]
    lines = [f"{'':14s}{'images':>12s}" + "".join(f"{name:>{w}s}" for name, w in zip(names, widths, strict=True))]
    for name, dataset in {"training": splits.train, "validation": splits.val}.items():
        cells = Counter(names[label - 1] for sample in dataset.samples for label in sample.labels.tolist())
        counts = "".join(f"{cells[label]:{w}d}" for label, w in zip(names, widths, strict=True))
        lines.append(f"{name:14s}{len(dataset):12d}{counts}")
    samples = [*splits.train.samples, *splits.val.samples]
    lines.append(f"sizes: {_sizes(samples)}")
    if reduced := sum(s.file_size is not None for s in samples):
        lines.append(f"  kept smaller, at the size that training needs: {reduced}")
    lines.append(f"images without a cell: {sum(not len(s.labels) for s in samples) or 'none'}")
    lines.append(f"cells per image: {_range([len(s.labels) for s in samples])}")
    sides = [max(box[2] - box[0], box[3] - box[1]) / s.scale for s in samples for box in s.boxes.tolist()]
    lines.append(f"longer side of a cell's box, pixels: {_range(sides)}")
    lines.append(f"fragments of masks too small to be a cell, left out: {sum(s.fragments for s in samples)}")
    lines += _first_fragment([*splits.train.records, *splits.val.records], samples)
    if vanished := sum(s.vanished for s in samples):
        lines.append(f"cells too small for the size that training needs, left out: {vanished}")
    records = [*splits.train.records, *splits.val.records]
    lines += _first([line for pair in zip(records, samples, strict=True) for line in _class_in_doubt(*pair)])
    lines += _repeated_fields(splits)
    lines += splits.notes
    lines.append(f"files left out: {len(splits.skipped) or 'none'}")
    lines += [f"  {line}" for line in listed(splits.skipped)]
    return readable("\n".join(lines))


def contact_sheet(splits: Splits, count: int = COLUMNS * ROWS) -> Figure:
    """`count` images, spread evenly over the data set, with the outline and class of every cell."""
    images = [(dataset, i) for dataset in (splits.train, splits.val) for i in range(len(dataset))]
    chosen = [images[i] for i in np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)]
    columns = min(COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    side = min(SHEET / columns, LARGEST)
    figure = Figure(figsize=(side * columns, 0.93 * side * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    unnamed = set[int]()  # classes of cells that are too small for their names
    for ax, (dataset, i) in zip(axes.flat, chosen, strict=False):
        size = dataset.samples[i].size
        image, target = dataset.subset([i]).downscaled([scaled_size(size, THUMBNAIL / max(size))])[0]
        file = dataset.records[i].image
        title, names = f"{file.parent.name}/{file.name}", dataset.class_names
        sides = (target["boxes"][:, 2:] - target["boxes"][:, :2]).amax(dim=1)
        if len(sides) and float(sides.median()) < ROOM_FOR_NAME * max(image.shape[1:]):  # names would hide the cells
            counts = Counter(names[label - 1] for label in target["labels"].tolist())
            title += f"\n{', '.join(f'{count} {name}' for name, count in counts.items())}"
            unnamed |= set(target["labels"].tolist())
            names = ("",) * len(names)
        draw_objects(ax, image, target, names)
        lines = [shortened(line) for line in readable(title).split("\n")]
        ax.set_title("\n".join(lines), fontsize=8, parse_math=False)
    if len(unnamed) > 1:
        handles = [Patch(color=class_colour(k), label=readable(splits.val.class_names[k - 1])) for k in sorted(unnamed)]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), columns + 1), fontsize=8)
    return figure


def write_dataset_report(splits: Splits, folder: Path) -> str:
    """Write data.txt, the report and the background control, and contact-sheet.png. Returns the line of the control."""
    control = control_of_splits(splits)
    (folder / "data.txt").write_text(f"{dataset_report(splits)}\n{control}\n", encoding="utf-8")
    contact_sheet(splits).savefig(folder / "contact-sheet.png", dpi=80)
    return control


def shortened(line: str, length: int = TITLE) -> str:
    """A line without its middle, if it is longer: the end of a name tells it from others, the beginning where it is."""
    left = (length - 1) // 2
    return line if len(line) <= length else f"{line[:left]}\N{HORIZONTAL ELLIPSIS}{line[left + 1 - length :]}"


def _sizes(samples: Sequence[Sample]) -> str:
    """The sizes of the files, the most common first; of many their range."""
    sizes = Counter(sample.file_size or sample.size for sample in samples)
    common = [f"{width} x {height} ({count})" for (height, width), count in sizes.most_common(SHOWN_SIZES)]
    if len(sizes) > SHOWN_SIZES:
        heights, widths = zip(*sizes, strict=True)
        ranges = f"widths {min(widths)} to {max(widths)}, heights {min(heights)} to {max(heights)}"
        common.append(f"and {len(sizes) - SHOWN_SIZES} others: {ranges}")
    return ", ".join(common)


def _first_fragment(records: Sequence[ImageRecord], samples: Sequence[Sample]) -> list[str]:
    first = next((record for record, sample in zip(records, samples, strict=True) if sample.fragments), None)
    if first is None:
        return []
    remedy = (
        "if they are cells, such as platelets, write their masks with a number for each cell, or a class of their own"
    )
    return [f"  the first in {first.annotation}; {remedy}"]


def _class_in_doubt(record: ImageRecord, sample: Sample) -> list[str]:
    if not sample.class_conflict:
        return []
    used = " and ".join(dict.fromkeys(label for label in record.labels if label))
    return [f"class in doubt: {record.annotation}: {sample.class_conflict}; its folder's, {used}, is used"]


def _first(lines: Sequence[str]) -> list[str]:
    rest = len(lines) - SHOWN_LINES
    return [*lines[:SHOWN_LINES], f"  ... and {rest} more like these"] if rest > 0 else list(lines)


def _range(values: Sequence[float]) -> str:
    low, median, high = np.percentile(values, (0, 50, 100))
    return f"{low:g} to {high:g}, median {median:g}"


def _repeated_fields(splits: Splits) -> list[str]:
    """The fields of view that several images show, and whether that matters."""
    records = [*splits.train.records, *splits.val.records]
    labels = [set(sample.labels.tolist()) for sample in (*splits.train.samples, *splits.val.samples)]
    repeated = [indices for indices in members_by_group(splits.groups).values() if len(indices) > 1]
    lines = []
    for indices in repeated:
        files = " = ".join(f"{records[i].image.parent.name}/{records[i].image.name}" for i in indices)
        remarks = []
        shown = [
            labels[i] for i in indices if labels[i]
        ]  # one field, cut differently, may show more or fewer of its cells
        if shown and not set.intersection(*shown):
            remarks.append("under different classes")
        if min(indices) < len(splits.train) <= max(indices):
            remarks.append("in training and in validation")
        lines.append(f"  {files}" + (f"  ({', '.join(remarks)})" if remarks else ""))
    lines = [f"fields shown more than once: {len(repeated) or 'none'}", *_first(lines)]
    if splits.shared_with_train:
        count = len(splits.shared_with_train)
        lines.append(
            f"warning: {plural(count, 'validation image')} of {len(splits.val)} with a field of the training set, so "
            "results are too good; --folds makes a split without that"
        )
    return lines
