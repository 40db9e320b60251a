"""One picture of synthetic and real fields, shuffled: does it take a second look? The answer is printed."""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from data.image_files import load_image
from data.lisc import CLASSES, find
from data.synthetic import draw_magnified

ROWS, COLUMNS, SIZE = 4, 4, (400, 300)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.synthetic_beside_real", description=__doc__)
    add = parser.add_argument
    add("real", type=Path, metavar="REAL", help="folder of real images, as for train.py --data")
    add(
        "--zoom",
        type=float,
        default=2.3,
        help="of the synthetic ones, to show cells as large as the real ones (default: 2.3)",
    )
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path("beside.png"), help="the picture (default: %(default)s)")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    found = find(args.real).train
    tiles, answer = [], []
    for k in rng.permutation(ROWS * COLUMNS):
        if k % 2:
            label = CLASSES[k // 2 % len(CLASSES)]
            image, _ = draw_magnified([label], rng, (640, 480), args.zoom)
            answer.append(f"synthetic {label}")
        else:
            field = found[rng.integers(len(found))]
            image = load_image(field.image)
            answer.append(f"real {field.label}")
        tiles.append(np.asarray(Image.fromarray(image).resize(SIZE, Image.Resampling.LANCZOS)))
    rows = [np.concatenate(tiles[i : i + COLUMNS], axis=1) for i in range(0, len(tiles), COLUMNS)]
    Image.fromarray(np.concatenate(rows)).save(args.out)
    for i in range(0, len(tiles), COLUMNS):
        print(", ".join(answer[i : i + COLUMNS]))


if __name__ == "__main__":
    main()
