"""A set of artificial stained smears with exact masks, in the folders of LISC or of the tutorial.

It stands in for LISC, which may not be passed on: enough to train on, to test with and to look at. How a field is drawn is
in smear.py, how a white cell is in cells.py.
"""

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from data.lisc import CLASSES, MASK_MARGIN, MIXED, DataError
from data.smear import SIZE, draw_smear

IMAGES = 240  # as many as LISC has
EMBEDDED = Path("data/synthetic-smears")  # where the set of --data synthetic is drawn


class Planned(NamedTuple):
    """What image k of a set shows. It depends on k and the seed alone, so a longer set begins with the shorter one."""

    kind: str  # a class, MIXED, or "" for a field without a mask
    number: int  # within its kind, from 1
    val: bool


def plan(images: int, layout: str, val_fraction: float) -> list[Planned]:
    """The classes take turns; LISC's layout has mixed fields and fields without masks in between."""
    counts: Counter[str] = Counter()
    planned = []
    for k in range(images):
        kind = CLASSES[k % len(CLASSES)]
        if layout == "lisc" and k % 20 in (11, 17):
            kind = MIXED if k % 20 == 11 else ""
        counts[kind] += 1
        # Spread evenly, beginning with each class's second: floor(n f) grows at every 1 / f-th n.
        before, after = (round((counts[kind] + n) * val_fraction, 9) // 1 for n in (-3, -2))
        planned.append(Planned(kind, counts[kind], val=after > before))
    return planned


def make(
    root: Path | str,
    images: int,
    seed: int = 0,
    layout: str = "wbc",
    size: tuple[int, int] = SIZE,
    val_fraction: float = 0.2,
    zoom: tuple[float, float] = (1.0, 1.0),
    progress: bool = True,
) -> None:
    """Write a set of `images` fields of size (width, height) below root. The same arguments write the same pixels.

    layout "wbc": the tutorial's folders, PNG, one class and one to three cells a field, split into train and val.
    layout "lisc": LISC's own folders, BMP, masks without the outer 4 pixels, mostly one cell a field, no split; a few fields
    show several classes, a few have no mask.
    zoom: each field is magnified by a factor between these two, against LISC's 6 pixels a micrometre.
    Raises DataError if root holds files already, ValueError on senseless arguments.
    """
    if images < 1 or layout not in ("wbc", "lisc") or not 0 <= val_fraction < 1:
        raise ValueError("images must be 1 or more, layout wbc or lisc, val_fraction in 0..1")
    if not 0 < zoom[0] <= zoom[1] or min(size) / zoom[1] < 128:
        raise ValueError("zoom must be above 0, low before high, and leave both sides of a field 128 pixels before it")
    root = Path(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError(f"{root}: is there already; choose a folder that is empty or new")
    usual = (0.4, 0.35, 0.25) if layout == "wbc" else (0.92, 0.06, 0.02)  # one, two, three cells
    fields = plan(images, layout, val_fraction)
    for k, planned in enumerate(tqdm(fields, "drawing", unit="image", disable=not progress)):
        rng = np.random.default_rng([seed, k])
        labels = [planned.kind or str(rng.choice(CLASSES))] * int(rng.choice([1, 2, 3], p=usual))
        if planned.kind == MIXED:
            labels = [str(name) for name in rng.permutation(CLASSES)[: rng.integers(2, 4)]]
        image, mask = draw_magnified(labels, rng, size, float(rng.uniform(*zoom)))
        image_path, mask_path = paths(planned, layout)
        _save(image, root / image_path)
        if mask_path:
            inner = slice(MASK_MARGIN, -MASK_MARGIN) if layout == "lisc" else slice(None)
            _save(mask[inner, inner], root / mask_path)


def draw_magnified(
    labels: Sequence[str], rng: Generator, size: tuple[int, int], zoom: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """`draw_smear` under another objective: the same cells larger by the factor zoom, on a field of the same size."""
    if zoom == 1:
        return draw_smear(labels, rng, size)
    image, mask = draw_smear(labels, rng, (round(size[0] / zoom), round(size[1] / zoom)))
    how = Image.Resampling.BICUBIC, Image.Resampling.NEAREST
    large = [np.asarray(Image.fromarray(x).resize(size, h)) for x, h in zip((image, mask), how, strict=True)]
    return large[0], large[1]


def embedded(root: Path) -> Path:
    """The set that stands in for data of one's own: drawn into root the first time, then only named. Returns root."""
    if not root.exists():
        print(f"drawing {IMAGES} synthetic smears into {root}")
        # Under another name until it is whole: an interrupted drawing must not pass for the set.
        partial = root.with_name(root.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        make(partial, IMAGES)
        partial.rename(root)
    return root


def folder_of(data: str) -> Path:
    """What --data means: a folder, or for the word "synthetic" a set that is drawn the first time it is asked for."""
    return embedded(EMBEDDED) if data == "synthetic" else Path(data)


def paths(planned: Planned, layout: str) -> tuple[Path, Path | None]:
    """Of image and mask, from the root of the set."""
    kind, number, val = planned
    if layout == "wbc":
        side, name = Path("val" if val else "train"), f"{kind.title()}/{kind.title()}_{number:03d}.png"
        return side / "image" / name, side / "mask" / name
    if not kind:
        return Path("More Dataset without Ground Truth", "alll", f"{number}.bmp"), None
    folder = {"basophil": "Baso"}.get(kind, kind[:4])  # as LISC writes them
    truth = Path("Ground Truth Segmentation", folder, "areaforexpert1", f"{number}_expert.bmp")
    return Path("Main Dataset", folder, f"{number}.bmp"), truth


def _save(pixels: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # For PNG: noise does not compress, and trying hard would take half of the time. BMP does without.
    Image.fromarray(pixels).save(path, compress_level=1)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m data.synthetic",
        description="Draw artificial stained smears with exact masks of their white cells.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""examples:
  python -m data.synthetic lisc --images 250 --seed 1   the folders, names, sizes and grey codes of LISC as unzipped
  python -m data.synthetic smears --layout wbc          the tutorial's: train|val/image|mask/<Class>/*.png
  python -m data.synthetic near --zoom 1 3              cells up to three times as large, for another microscope

Image k depends on the seed and k alone: a set of 500 begins with the set of 240.""",
    )
    add = parser.add_argument
    add("out", type=Path, metavar="OUT", help="new folder to write to")
    add("--images", type=int, default=IMAGES, help="how many fields (default: %(default)s)")
    add("--seed", type=int, default=0, help="another seed, other fields (default: %(default)s)")
    add(
        "--layout",
        choices=("wbc", "lisc"),
        default="lisc",
        help="LISC's folders or the tutorial's (default: %(default)s)",
    )
    add("--zoom", type=float, nargs=2, default=(1.0, 1.0), metavar=("LOW", "HIGH"), help="magnify each field by a factor "
        "between these, against LISC's 6 pixels a micrometre (default: 1 1)")  # fmt: skip
    add("--val-fraction", type=float, default=0.2, help="for validation, wbc only (default: %(default)s)")
    args = parser.parse_args()
    try:
        make(args.out, args.images, args.seed, args.layout, val_fraction=args.val_fraction, zoom=tuple(args.zoom))
    except (ValueError, OSError) as error:
        print(f"data.synthetic: {error}", file=sys.stderr)
        return 2
    print(f"{args.images} fields are in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
