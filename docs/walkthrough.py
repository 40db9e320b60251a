"""Draw docs/walkthrough.jpg: the way of an image through the model. Every picture is a real output of a trained model, and
has the name of the file that computed it.

    python -m docs.walkthrough --checkpoint runs/synthetic
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from data.synthetic.smear import draw_smear
from maskrcnn import MaskRCNN
from maskrcnn.inference.objects import Objects, confident
from maskrcnn.visualization import stages as v
from maskrcnn.visualization.drawing import draw_image, draw_objects
from maskrcnn.weights import load_checkpoint

CELLS = ("neutrophil", "eosinophil", "lymphocyte", "monocyte", "basophil")
SIZE = (400, 300)  # width, height of the image
TRAINED_HEIGHT = 576  # of the images that the model was trained on
SCORE_THRESHOLD = 0.5
TITLES = (
    ("image", ""), ("normalised, resized, padded", "images.py"), ("features of P3", "backbone/resnet.py, fpn.py"),
    ("anchors of one location", "rpn/anchors.py"), ("objectness on P4", "rpn/head.py"), ("proposals", "rpn/proposals.py"),
    ("NMS: suppressed boxes are dashed", "rpn/nms.py"), ("level each RoI is pooled from", "roi/pooler.py"),
    ("RoI features, 7 x 7", "roi/align.py"), ("class and box", "heads/box.py, postprocess.py"),
    ("masks, 28 x 28", "heads/mask.py"), ("pasted into the image", "heads/paste.py"),
)  # fmt: skip


def synthetic_image(seed: int) -> Tensor:
    """A synthetic smear with one cell of each class, as far as there is room: [3, H, W]."""
    pixels, _ = draw_smear(CELLS, np.random.default_rng(seed), SIZE)
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


@torch.no_grad()
def walkthrough(model: MaskRCNN, image: Tensor) -> Figure:
    """Two rows of pictures, in the order of the stages. Raises ValueError if nothing is detected."""
    # The image shows part of a field of view: resize it by the same factor as a whole one.
    model.transform.min_size = round(model.config.min_size * SIZE[1] / TRAINED_HEIGHT)
    stages = dict(model.stages([image]))
    result = stages["results"][0]
    index = torch.tensor(confident(Objects.of_result(result), SCORE_THRESHOLD), dtype=torch.int64)
    objects = {name: value[index] for name, value in result.items()}
    if not len(index):
        raise ValueError("the model detects nothing in this image; train it longer, or choose another --seed")
    figure = Figure(figsize=(19, 6.6))
    axes = [figure.add_axes((0.005 + 0.1665 * (i % 6), 0.53 - 0.5 * (i // 6), 0.152, 0.36)) for i in range(12)]
    draw_image(axes[0], image)
    for i in (1, 3, 4, 5, 6, 7, 9):  # the pictures that are drawn on the image as the model gets it
        v.draw_batch(axes[i], stages["images"], model.transform)
    _draw_first_stage(axes, stages)
    _draw_second_stage(axes, stages, model.config.class_names, index)
    draw_objects(axes[11], image, objects, model.config.class_names)
    _add_titles(axes)
    return figure


def _draw_first_stage(axes: list[Axes], stages: dict[str, Any]) -> None:
    """Backbone and RPN: the third to the seventh picture."""
    proposals = stages["proposals"]
    v.draw_features(axes[2], stages["features"], level=1)
    v.draw_anchors(axes[3], stages["anchors"], (110, 80), levels=range(1, 3))
    v.draw_objectness(axes[4], stages["rpn"], stages["anchors"], level=2)
    v.draw_proposals(axes[5], proposals, count=60)
    v.draw_suppression(axes[6], proposals.boxes[0][:30], proposals.objectness[0][:30], 0.3)


def _draw_second_stage(axes: list[Axes], stages: dict[str, Any], names: tuple[str, ...], index: Tensor) -> None:
    """RoIs and heads: the eighth to the eleventh picture. index: of the detections whose masks are shown."""
    features = stages["roi_features"]
    v.draw_roi_levels(axes[7], stages["proposals"].boxes[0][:30], features.levels[:30])
    _draw_mosaic(axes[8], features.roi_features[:24].float().square().mean(dim=1).sqrt(), columns=6)
    v.draw_detections(axes[9], stages["detections"], names, score_threshold=SCORE_THRESHOLD)
    _draw_mosaic(axes[10], stages["mask_head"].probabilities()[index], columns=3)


def _draw_mosaic(ax: Axes, maps: Tensor, columns: int) -> None:
    """Maps [N, M, M] in rows, with a line between them."""
    framed = F.pad(maps, (0, 1, 0, 1), value=float(maps.max()))
    empty = framed.new_zeros(-len(maps) % columns, *framed.shape[1:])  # fills the last row
    rows = torch.cat([framed, empty]).split(columns)
    ax.imshow(torch.cat([torch.cat(list(row), dim=1) for row in rows]).numpy(), cmap="gray")
    ax.set_axis_off()


def _add_titles(axes: list[Axes]) -> None:
    """Titles, and an arrow from each picture to the next."""
    for i, (ax, (title, file)) in enumerate(zip(axes, TITLES, strict=True)):
        if (legend := ax.get_legend()) and i != 7:
            legend.remove()  # too small to be read at this size
        ax.set_title(f"{title}\n{file}", fontsize=11)
        if i % 6:
            ax.annotate("", (-0.005, 0.5), (-0.085, 0.5), xycoords="axes fraction", arrowprops={"arrowstyle": "->"})


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m docs.walkthrough", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="run folder of train.py, trained on synthetic smears"
    )
    parser.add_argument("--seed", type=int, default=17, help="of the image (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("docs/walkthrough.jpg"), help="default: %(default)s")
    args = parser.parse_args()
    try:
        model, _ = load_checkpoint(args.checkpoint)
        figure = walkthrough(model.eval(), synthetic_image(args.seed))
    except ValueError as error:
        parser.error(str(error))
    figure.savefig(args.out, dpi=80, pil_kwargs={"quality": 88})
    print(args.out)


if __name__ == "__main__":
    main()
