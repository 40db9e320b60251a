"""Large data sets: how long repeated fields are looked for among many images, and how much memory many large images take.

python -m benchmarks.speed.large_sets fields --images 10000
python -m benchmarks.speed.large_sets memory --images 1000 --size 4000 3000
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from data.duplicates import duplicate_groups
from data.loader import Loader, stored_size
from data.opening import open_dataset
from data.splits import train_val_split
from data.synthetic.smear import draw_smear
from maskrcnn.config import LISC_CLASSES

SMEAR, FIELD = (360, 288), (250, 200)  # width, height of a smear, and of the image that is cut out of it
TWINS = 10  # images of the last fields, once more, shifted and with noise
SHORTER_SIDE = 320  # at which images are trained on


def peak_gib() -> float:
    """Peak resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def field(seed: int) -> NDArray[np.uint8]:
    """A smear, as large as several images of it need."""
    torch.set_num_threads(1)
    return draw_smear(["neutrophil"], np.random.default_rng(seed), SMEAR)[0]


def cut(smear: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """An image at a random place of a smear."""
    (width, height), (full_width, full_height) = FIELD, SMEAR
    x, y = rng.integers(0, (full_width - width) // 2), rng.integers(0, (full_height - height) // 2)
    return np.ascontiguousarray(smear[y : y + height, x : x + width])


def repeated_fields(count: int) -> None:
    """Draw images, TWINS of them of fields that others show, and look for these."""
    with multiprocessing.Pool() as pool:
        smears = list(
            tqdm(pool.imap(field, range(count - TWINS), chunksize=20), "drawing", count - TWINS, disable=None)
        )
    rng = np.random.default_rng(0)
    again = [cut(smear, rng) * 0.95 + rng.normal(0, 4, (*FIELD[::-1], 3)) for smear in smears[-TWINS:]]
    images = [cut(smear, rng) for smear in smears] + [np.clip(image, 0, 255).astype(np.uint8) for image in again]
    del smears
    before, begun = peak_gib(), time.perf_counter()
    groups = duplicate_groups(images)
    seconds = time.perf_counter() - begun
    found = sum(groups[count - 2 * TWINS + k] == groups[count - TWINS + k] for k in range(TWINS))
    wrong = count - len(set(groups)) - found
    print(f"{count} images: {seconds:.0f} s, {found} of {TWINS} repeated fields found, {wrong} wrong")
    print(f"peak memory {before:.1f} GiB with the images, {peak_gib():.1f} GiB after the search")


def write_large_images(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Photographs of that size, (width, height), of synthetic smears, a fifth of them for validation."""
    smears = [draw_smear(list(LISC_CLASSES), np.random.default_rng(k), (1000, 750)) for k in range(12)]
    for k in tqdm(range(count), "writing", disable=None):
        image, mask = smears[k % len(smears)]
        shift = np.random.default_rng(k).integers(0, 750, 2).tolist()
        side, label = "val" if k % 5 == 0 else "train", LISC_CLASSES[k // 5 % len(LISC_CLASSES)]
        for kind, pixels in (("image", image), ("mask", np.where(mask > 0, 255, 0).astype(np.uint8))):
            path = folder / side / kind / label / f"{k}.{'jpg' if kind == 'image' else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            shifted = Image.fromarray(np.roll(pixels, shift, (0, 1)))
            shifted.resize(size, Image.Resampling.NEAREST).save(path)


def memory(count: int, size: tuple[int, int]) -> None:
    """Write large images, read them as train.py does, and make the batches of an epoch."""
    with tempfile.TemporaryDirectory() as name:
        write_large_images(Path(name), count, size)
        written, begun = peak_gib(), time.perf_counter()
        train = train_val_split(open_dataset(name)).train
        print(f"{count} images of {size[0]} x {size[1]} read in {time.perf_counter() - begun:.0f} s")
        sizes = [stored_size((SHORTER_SIDE, round(SHORTER_SIDE * s.size[1] / s.size[0]))) for s in train.samples]
        loader = Loader(train.downscaled(sizes), 2, torch.device("cpu"), workers=1)
        cells = sum(len(target["labels"]) for _, targets in loader for target in targets)
    print(f"{cells} cells in an epoch of {len(train)} training images")
    print(f"peak memory {peak_gib():.1f} GiB (with the writing of the files alone {written:.1f} GiB)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("fields", "memory"))
    parser.add_argument("--images", type=int, default=1000, help="how many (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=(4000, 3000), help="of an image (default: 4000 3000)")
    args = parser.parse_args()
    if args.what == "fields":
        repeated_fields(args.images)
    else:
        memory(args.images, tuple(args.size))


if __name__ == "__main__":
    main()
