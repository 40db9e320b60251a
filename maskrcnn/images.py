"""From a list of images of any size to one tensor, and the same for their ground truth.

Glossary: B images in a batch; H, W the padded size of the batch. A size is (height, width) in pixels. Padding is added at
the right and the bottom only, so it moves no coordinate; results are scaled back by the size before padding.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from maskrcnn.describe import described

Size = tuple[int, int]

MAX_PIXEL = 10  # well above 1, so that normalised images pass, and well below 255


@described
class Batch(NamedTuple):
    """pixels [B, 3, H, W], normalised and padded; sizes after resizing, before padding; sizes of the images given."""

    pixels: Tensor
    sizes: list[Size]
    original_sizes: list[Size]


@described
class Targets(NamedTuple):
    """Ground truth of a batch, in pixels of the resized images. One entry per image, with N_i objects each."""

    boxes: list[Tensor]  # [N_i, 4] float
    labels: list[Tensor]  # [N_i] int64 in 1..K
    masks: list[Tensor]  # [N_i, H_i, W_i] float in 0..1


class ImageTransform:
    """Normalises, resizes and pads images (He et al. 2017, sec. 3.1: the shorter side becomes 800 pixels).

    The scale is the largest at which the shorter side is at most `min_size` and the longer one at most `max_size`.
    Height and width are padded to multiples of `size_divisible`, so that the pyramid's levels divide them.
    `mask_interpolation` is "bilinear" (soft edges, no shift) or "nearest" (as torchvision does). `antialias`: when an image
    is reduced, each new pixel averages all pixels that it covers, not only the nearest four (as torchvision does).
    """

    def __init__(
        self,
        min_size: int,
        max_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        size_divisible: int,
        mask_interpolation: str = "bilinear",
        antialias: bool = False,
    ) -> None:
        self.min_size, self.max_size = min_size, max_size
        self.mean, self.std = tuple(mean), tuple(std)
        self.size_divisible = size_divisible
        self.mask_interpolation = mask_interpolation
        self.antialias = antialias

    def scale_of(self, size: Size) -> float:
        """The scale at which an image of this size is shown to the model, if no other is given."""
        return min(self.min_size / min(size), self.max_size / max(size))

    def resized_size(self, size: Size) -> Size:
        """The size that an image of this size is resized to."""
        scale = self.scale_of(size)
        return max(1, math.floor(size[0] * scale)), max(1, math.floor(size[1] * scale))

    def preprocess(self, images: Sequence[Tensor], scale: float | None = None) -> Batch:
        """images: float [3, H_i, W_i] in 0..1, each of its own size. scale: by which all are resized, 1 to normalise and pad
        only; None: each by its own, see `resized_size`. Raises ValueError for anything else."""
        if not len(images):
            raise ValueError("no images: give a list of at least one float tensor [3, H, W]")
        for i, image in enumerate(images):
            check_image(image, i)
        mean = images[0].new_tensor(self.mean)[:, None, None]
        std = images[0].new_tensor(self.std)[:, None, None]
        normalised = [((image - mean) / std)[None] for image in images]
        given = [image_size(image) for image in images]
        sizes = [self.resized_size(size) if scale is None else scaled_size(size, scale) for size in given]
        resized = [resize(x, size, antialias=self.antialias) for x, size in zip(normalised, sizes, strict=True)]
        height = _round_up(max(h for h, _ in sizes), self.size_divisible)
        width = _round_up(max(w for _, w in sizes), self.size_divisible)
        # Padding with 0 after normalising is padding with the mean colour.
        padded = [F.pad(image, (0, width - image.shape[-1], 0, height - image.shape[-2])) for image in resized]
        pixels = torch.cat(padded).contiguous(memory_format=torch.channels_last)
        return Batch(pixels, sizes, given)

    def denormalize(self, batch: Batch, i: int) -> Tensor:
        """Image i of a batch in its original colours, padding included: [3, H, W] in 0..1."""
        mean, std = (batch.pixels.new_tensor(x)[:, None, None] for x in (self.mean, self.std))
        return (batch.pixels[i] * std + mean).clamp(0, 1)

    def preprocess_targets(self, targets: Sequence[dict[str, Tensor]], batch: Batch, num_classes: int) -> Targets:
        """Check ground truth (its form: see `MaskRCNN`) and resize it to the batch's sizes. Raises ValueError."""
        if len(targets) != len(batch.sizes):
            raise ValueError(f"{len(batch.sizes)} images but {len(targets)} targets: give one target per image")
        for i, target in enumerate(targets):
            check_target(target, i, batch.original_sizes[i], num_classes)
        sizes = list(zip(batch.original_sizes, batch.sizes, strict=True))
        return Targets(
            boxes=[scale_boxes(t["boxes"].float(), *s) for t, s in zip(targets, sizes, strict=True)],
            labels=[t["labels"].long() for t in targets],
            masks=[self._resize_masks(t["masks"].float(), s[1]) for t, s in zip(targets, sizes, strict=True)],
        )

    def _resize_masks(self, masks: Tensor, size: Size) -> Tensor:
        if not len(masks):
            return masks.new_zeros((0, *size))
        antialias = self.antialias and self.mask_interpolation == "bilinear"
        return resize(masks[:, None], size, self.mask_interpolation, antialias)[:, 0]


def scale_boxes(boxes: Tensor, size: Size, new_size: Size) -> Tensor:
    """Boxes [N, 4] in an image of `size` -> the same boxes when that image is resized to `new_size`."""
    y, x = new_size[0] / size[0], new_size[1] / size[1]
    return boxes * boxes.new_tensor([x, y, x, y])


def scaled_size(size: Size, scale: float) -> Size:
    """A size times a scale, in whole pixels, 1 or more."""
    # 480 * (256 / 480) may be a rounding below 256.
    return max(1, math.floor(size[0] * scale + 1e-6)), max(1, math.floor(size[1] * scale + 1e-6))


def image_size(image: Tensor) -> Size:
    """(height, width) of a tensor [..., H, W]."""
    return int(image.shape[-2]), int(image.shape[-1])


def check_image(image: Tensor, i: int) -> None:
    """Raise ValueError, naming image i of the batch, unless it is a float tensor [3, H, W]."""
    if not isinstance(image, Tensor):
        raise ValueError(f"image {i} is a {type(image).__name__}; expected a torch tensor [3, H, W]")
    if image.dim() != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise ValueError(f"image {i} has shape {tuple(image.shape)}; expected [3, H, W] (one RGB image)")
    if not image.is_floating_point():
        raise ValueError(f"image {i} is {image.dtype}; expected float in 0..1: divide 8-bit pixels by 255")
    if not image.is_cuda and not float(image.amax()) < MAX_PIXEL:  # reading values from a GPU would synchronise
        raise ValueError(
            f"image {i} has values up to {float(image.amax()):g}; expected 0..1: divide 8-bit pixels by 255"
        )


def check_target(target: dict[str, Tensor], i: int, size: Size, num_classes: int) -> None:
    """Raise ValueError, naming target i of the batch and what is wrong, unless it can be trained on."""
    if not isinstance(target, Mapping):
        raise ValueError(f"target {i} is a {type(target).__name__}; expected a dict with boxes, labels and masks")
    missing = {"boxes", "labels", "masks"} - target.keys()
    if missing:
        raise ValueError(f"target {i} lacks {', '.join(sorted(missing))}")
    boxes, labels, masks = target["boxes"], target["labels"], target["masks"]
    n = len(labels)
    if boxes.shape != (n, 4) or masks.shape != (n, *size):
        raise ValueError(
            f"target {i}: {n} labels, boxes {tuple(boxes.shape)}, masks {tuple(masks.shape)}; "
            f"expected boxes ({n}, 4) and masks {(n, *size)} for an image of {size[0]} x {size[1]} (height x width)"
        )
    check_boxes(boxes, labels, f"target {i}", num_classes)
    if n and not masks.is_cuda and float(masks.max()) > 1.01:  # interpolation may leave a soft mask a rounding above 1
        raise ValueError(f"target {i} has masks with values up to {float(masks.max()):g}; expected 0 and 1")


def check_boxes(boxes: Tensor, labels: Tensor, where: str, num_classes: int) -> None:
    """Raise ValueError, saying where, unless boxes are [N, 4] with an area and labels [N] in 1..num_classes."""
    if boxes.dim() != 2 or boxes.shape[1] != 4 or labels.shape != boxes.shape[:1]:
        raise ValueError(
            f"{where} has boxes {tuple(boxes.shape)} and labels {tuple(labels.shape)}; expected [N, 4] and [N]"
        )
    has_area = (boxes[:, 2:] > boxes[:, :2]).all(dim=1) & boxes.isfinite().all(dim=1)
    if not bool(has_area.all()):
        bad = boxes[~has_area][0].tolist()
        raise ValueError(
            f"{where} has a box without finite area, {bad}; boxes are (x1, y1, x2, y2) with x2 > x1 and y2 > y1"
        )
    if len(labels) and (int(labels.min()) < 1 or int(labels.max()) > num_classes):
        raise ValueError(
            f"{where} has labels {labels.unique().tolist()}; expected 1 to {num_classes} (0 is background)"
        )


def resize(images: Tensor, size: Size, mode: str = "bilinear", antialias: bool = False) -> Tensor:
    """[B, C, H, W] -> [B, C, *size]. mode: "bilinear" or "nearest"; antialias: see `ImageTransform`."""
    if image_size(images) == size:
        return images
    align_corners = False if mode == "bilinear" else None
    return F.interpolate(images, size=size, mode=mode, align_corners=align_corners, antialias=antialias)


def _round_up(length: int, divisor: int) -> int:
    return math.ceil(length / divisor) * divisor
