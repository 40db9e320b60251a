"""Draw docs/walkthrough.jpg: a field enters on the left, its cells leave on the right; every stage in between is a picture
of what a trained model really gave, under the name of its file.

    python docs/walkthrough.py --weights runs/synthetic
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data.dataset import make_sample
from data.lisc import Field
from data.smear import draw_smear
from maskrcnn import MaskRCNN
from maskrcnn import visualize as v
from maskrcnn.drawing import draw_image, draw_objects
from maskrcnn.heads import named_once
from maskrcnn.weights import load_checkpoint

CELLS = ("neutrophil", "eosinophil", "lymphocyte", "monocyte", "basophil")
SIZE, WHOLE = (400, 300), 576  # of the field: width, height; height of the fields that the model was trained on
TITLES = (
    ("image", ""), ("normalised, resized, padded", "images.py"), ("features of P3", "backbone/resnet.py, fpn.py"),
    ("anchors of one place", "rpn/anchors.py"), ("objectness on P4", "rpn/head.py"), ("proposals", "rpn/proposals.py"),
    ("NMS: dashed is struck out", "rpn/nms.py"), ("which map each is cut from", "roi/levels.py"),
    ("RoI features, 7 x 7", "roi/align.py"), ("class and box", "heads/box.py, detections.py"),
    ("masks, 28 x 28", "heads/mask.py"), ("pasted over the image", "heads/paste.py"),
)  # fmt: skip


def draw_field(seed: int) -> torch.Tensor:
    """An artificial field with a cell of each class, as far as there is room: [3, H, W]."""
    pixels, mask = draw_smear(CELLS, np.random.default_rng(seed), SIZE)
    sample = make_sample(pixels, mask, Field(Path("field"), Path("field"), None))
    return sample.image.permute(2, 0, 1).float() / 255


@torch.no_grad()
def walkthrough(model: MaskRCNN, image: torch.Tensor) -> Figure:
    """Two rows of stages, from left to right. The field is part of one, so it is shown at that one's scale.

    Raises ValueError if nothing is found in it.
    """
    model.transform.min_size = round(model.config.min_size * SIZE[1] / WHOLE)
    stages = dict(model.stages([image]))
    names, batch, proposals = model.config.class_names, stages["images"], stages["proposals"]
    found = stages["results"][0]
    result = named_once({**found, "place": torch.arange(len(found["scores"]))})
    sure = {name: value[result["scores"] >= 0.5] for name, value in result.items()}
    if not len(sure["scores"]):
        raise ValueError("this model finds nothing in this field; train it longer, or take another --seed")
    best = proposals.boxes[0][:30]
    figure = Figure(figsize=(19, 6.6))
    axes = [figure.add_axes((0.005 + 0.1665 * (i % 6), 0.53 - 0.5 * (i // 6), 0.152, 0.36)) for i in range(12)]

    def on_image(i: int) -> Axes:
        return v.draw_batch(axes[i], batch, model.transform)

    draw_image(axes[0], image)
    on_image(1)
    v.draw_features(axes[2], stages["features"], level=1)
    v.draw_anchors(on_image(3), stages["anchors"], (110, 80), levels=range(1, 3))
    v.draw_objectness(on_image(4), stages["rpn"], stages["anchors"], level=2)
    v.draw_proposals(on_image(5), proposals, count=60)
    v.draw_suppression(on_image(6), best, proposals.objectness[0][:30], 0.3)
    v.draw_roi_levels(on_image(7), best, stages["roi_features"].levels[:30])
    _mosaic(axes[8], stages["roi_features"].roi_features[:24].float().square().mean(dim=1).sqrt(), columns=6)
    v.draw_detections(on_image(9), stages["detections"], names, min_score=0.5)
    _mosaic(axes[10], stages["mask_head"].probabilities()[sure["place"]], columns=3)
    draw_objects(axes[11], image, sure, names)
    for i, (ax, (title, file)) in enumerate(zip(axes, TITLES, strict=True)):
        if (legend := ax.get_legend()) and ax is not axes[7]:
            legend.remove()  # too small to be read at this size; the lessons show the same with it
        ax.set_title(f"{title}\n{file}", fontsize=11)
        if i % 6:
            ax.annotate("", (-0.005, 0.5), (-0.085, 0.5), xycoords="axes fraction", arrowprops={"arrowstyle": "->"})
    return figure


def _mosaic(ax: Axes, maps: torch.Tensor, columns: int) -> None:
    """Maps [N, M, M] beside and below each other, with a line between."""
    framed = torch.nn.functional.pad(maps, (0, 1, 0, 1), value=float(maps.max()))
    places = torch.zeros(-(-len(maps) // columns) * columns, *framed.shape[1:])
    places[: len(maps)] = framed
    rows = [torch.cat(list(row), dim=1) for row in places.split(columns)]
    ax.imshow(torch.cat(rows).numpy(), cmap="gray")
    ax.set_axis_off()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--weights", type=Path, required=True, help="a run folder of train.py, trained on synthetic smears"
    )
    parser.add_argument("--seed", type=int, default=17, help="of the field (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("docs/walkthrough.jpg"), help="default: %(default)s")
    args = parser.parse_args()
    model, _ = load_checkpoint(args.weights)
    try:
        figure = walkthrough(model.eval(), draw_field(args.seed))
    except ValueError as error:
        parser.error(str(error))
    figure.savefig(args.out, dpi=80, pil_kwargs={"quality": 88})
    print(args.out)


if __name__ == "__main__":
    main()
