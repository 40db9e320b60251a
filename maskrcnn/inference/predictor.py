"""What `maskrcnn predict` does with one image after another, and what there is to warn of when all are done."""

import argparse
import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from maskrcnn.images import Size, image_size
from maskrcnn.inference.arguments import plural, some
from maskrcnn.inference.colours import Light
from maskrcnn.inference.detect import predict
from maskrcnn.inference.estimate import estimate_diameter, some_images
from maskrcnn.inference.export.finished import FinishedImage
from maskrcnn.inference.image_io import ImageError, load_image
from maskrcnn.inference.image_io import image_size as size_of_file
from maskrcnn.inference.inputs import Input
from maskrcnn.inference.objects import Objects, confident_objects
from maskrcnn.inference.scale import TrainingScale, choose_scale
from maskrcnn.inference.tiles import Tile
from maskrcnn.model import MaskRCNN

SHOWN = 3  # files in a message


class Predictor:
    """Finds the cells of images, all at one scale."""

    def __init__(
        self,
        model: MaskRCNN,
        args: argparse.Namespace,
        known: TrainingScale | None,
        light: Light,
        images: Sequence[Input],
        earlier_scale: float | None = None,
    ) -> None:
        """images: of which some are looked at if the size of cells is to be estimated; earlier_scale: that of the results
        that are gone on with, which is estimated once for all. Raises ValueError if the options on it cannot be
        followed."""
        self.model, self.args, self.known, self.light = model.eval(), args, known, light
        self.earlier_scale = earlier_scale
        self.shown = choose_scale(known, args.diameter, args.scale, functools.partial(self._estimate, images))

    def __call__(self, image: NDArray[np.uint8]) -> tuple[Objects, float]:
        """The cells of an image [H, W, 3], best first, and its scale: pixels of the model per pixel of the image."""
        pixels = torch.from_numpy(image).permute(2, 0, 1)
        args, scale = self.args, self.shown.scale
        change = self.light(pixels)
        objects = predict(self.model, pixels, args.precision, args.tta, scale, self.known, change=change, progress=_bar)
        cells = confident_objects(objects, args.score_threshold, args.keep_nested)
        return cells, scale or self.model.transform.scale_of(image_size(pixels))

    def warnings(self, images: Iterable[FinishedImage]) -> list[str]:
        """What to say about all images of the results, those of earlier calls, too."""
        diameters: list[float] = []  # in pixels of the model
        others: list[str] = []  # images of other magnifications
        count = limited = 0
        for image in images:
            count += 1
            limited += image.get("limited", False)
            found = [cell["measures"]["diameter_px"] * (image["scale"] or 1.0) for cell in image["cells"]]
            diameters += found
            if self.known and self.known.is_other_magnification(found):
                others.append(image["file"])
        warnings = [self.known.warning(diameters)] if self.known and count else []
        if 0 < len(others) < count:
            shown = some(others, SHOWN)
            warnings.append(
                f"warning: in {len(others)} of {count} images ({shown}) the cells found are much smaller or larger than "
                "those of training. One call has one scale: predict images of another magnification by themselves"
            )
        if limited and self.known:  # else it is a model of others, whose limits are as they are
            warnings.append(
                f"warning: in {plural(limited, 'image')} the model had more candidates in one place than it looks at, "
                "so cells may be missing; train with --override rpn_post_nms_top_n_test=1000 and box_detections_per_img=300"
            )
        return [warning for warning in warnings if warning]

    def _estimate(self, images: Sequence[Input], known: TrainingScale) -> float | None:
        if self.earlier_scale:
            return known.percentile(50) / self.earlier_scale
        sizes = dict[Path, Size]()
        for file, _ in images:
            with contextlib.suppress(ImageError):  # it is named when it is its turn
                sizes[file] = size_of_file(file)
        files = list(sizes)
        chosen = [files[i] for i in some_images(list(sizes.values()), known)]
        scales = functools.partial(tqdm, desc="estimating the size of cells", unit="scale", leave=False, disable=None)
        return estimate_diameter(self.model, _pixels(chosen), known, self.args.precision, self.light, scales)


def _pixels(files: Iterable[Path]) -> Iterator[Tensor]:
    """uint8 [3, H, W] of those that can be read."""
    for file in files:
        with contextlib.suppress(ImageError):
            yield torch.from_numpy(load_image(file)).permute(2, 0, 1)


def _bar(tiles: Sequence[Tile]) -> Iterable[Tile]:
    return tqdm(tiles, "tiles", unit="tile", leave=False, disable=None if len(tiles) > 1 else True)
