"""Data augmentation that keeps the class of every cell: flips, zoom, crops, stain, light, focus, copy-paste.

A smear has no up and no left; stain and light differ between laboratories; any cell could lie on any slide. Each function
changes image, boxes and masks together; `Augmentation` samples the amounts.

    python -m data augmentations PATH        shows each of them on an image
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from data.colour import adjust_light, adjust_stain, background_colour, blur
from data.laboratory import random_laboratory
from maskrcnn import boxes as box_algebra
from maskrcnn.boxes import masks_to_boxes
from maskrcnn.images import Size, resize

# image [3, H, W] in 0..1; target with boxes [N, 4], labels [N], masks [N, H, W]
Sample = tuple[Tensor, dict[str, Tensor]]
Window = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels

# A pasted cell fades over this many pixels, an even number; a white cell is about 60 across.
FEATHER = 6
MIN_VISIBLE = 0.15  # a cell of which a crop leaves a smaller fraction is removed from the target
WORTH_CROPPING = 0.6  # an image is cropped if that leaves less than this fraction of it


def flip_horizontally(image: Tensor, target: dict[str, Tensor]) -> Sample:
    """Mirror left and right. An edge at x goes to W - x, in continuous coordinates."""
    boxes = box_algebra.flip_horizontally(target["boxes"], image.shape[-1])
    return image.flip(-1), {**target, "boxes": boxes, "masks": target["masks"].flip(-1)}


def transpose(image: Tensor, target: dict[str, Tensor]) -> Sample:
    """Mirror along the diagonal: rows become columns. With flips it makes every quarter turn."""
    boxes = box_algebra.transpose(target["boxes"])
    masks = target["masks"].transpose(-1, -2)
    return image.transpose(-1, -2), {**target, "boxes": boxes, "masks": masks}


def flip_vertically(image: Tensor, target: dict[str, Tensor]) -> Sample:
    """Mirror up and down. An edge at y goes to H - y."""
    return transpose(*flip_horizontally(*transpose(image, target)))


def coin() -> bool:
    """True or False, equally likely."""
    return torch.rand(1).item() < 0.5


def random_dihedral(image: Tensor, target: dict[str, Tensor], transposed: bool) -> Sample:
    """The image in one of the four symmetries of a rectangle, each equally likely; transposed, too, if it is to be. With a
    coin for `transposed` each of the eight symmetries of the square (dihedral group D4) is equally likely."""
    for change in (flip_horizontally, flip_vertically):
        if coin():
            image, target = change(image, target)
    return transpose(image, target) if transposed else (image, target)


def crop_resize(image: Tensor, target: dict[str, Tensor], window: Window, size: Size) -> Sample:
    """Crop a window and resize it to size (height, width). Masks get soft edges: float in 0..1.

    Where the window extends beyond the image it is filled with the background colour. Cells of which less than MIN_VISIBLE
    is inside the window are removed.
    """
    x1, y1, x2, y2 = window
    height, width = image.shape[-2:]
    inside = slice(max(y1, 0), min(y2, height)), slice(max(x1, 0), min(x2, width))
    masks = target["masks"][:, inside[0], inside[1]]
    left = masks.sum((1, 2)) / target["masks"].sum((1, 2)).clamp(min=1)
    keep = left >= MIN_VISIBLE
    masks = masks[keep].float()
    margins = (max(-x1, 0), max(x2 - width, 0), max(-y1, 0), max(y2 - height, 0))
    pixels = image[:, inside[0], inside[1]]
    if any(margins):
        fill = background_colour(image)[:, None, None]
        pixels = F.pad(pixels - fill, margins) + fill
        masks = F.pad(masks, margins)
    scale = torch.tensor([size[1] / (x2 - x1), size[0] / (y2 - y1)]).repeat(2)
    changed = {**target, "boxes": masks_to_boxes(masks) * scale, "labels": target["labels"][keep]}
    resized = resize(masks[None], size, antialias=True)[0] if len(masks) else masks.new_zeros((0, *size))
    return resize(pixels[None], size, antialias=True)[0], {**changed, "masks": resized}


def copy_paste(image: Tensor, target: dict[str, Tensor], donor: Sample, shifts: Sequence[tuple[int, int]]) -> Sample:
    """Copy-paste (Ghiasi et al. 2021): cells of another image, pasted into this one where there is room.

    donor: an image of the same size, with whole cells only. shifts: (down, right) in pixels, one to be tried for each of
    the donor's cells. A cell is not pasted if it would leave the image or come near another. Pasted pixels are scaled to the
    background colour of this image.
    """
    pixels, cells = donor
    lit = (pixels * (background_colour(image) / background_colour(pixels).clamp(min=0.05))[:, None, None]).clamp(0, 1)
    boxes, labels, masks = ([target[name]] for name in ("boxes", "labels", "masks"))
    height, width = image.shape[-2:]
    taken = target["masks"].amax(0) if len(target["masks"]) else image.new_zeros(height, width)
    for box, label, mask, (down, right) in zip(cells["boxes"], cells["labels"], cells["masks"], shifts, strict=True):
        moved = box + box.new_tensor([right, down, right, down])
        if bool((moved[:2] < 0).any()) or moved[2] > width or moved[3] > height:
            continue
        alpha, pasted, colour = (_shift(x, down, right) for x in (feathered_alpha(mask), mask, lit))
        if bool(((alpha > 0) & (taken > 0)).any()):
            continue
        image = image * (1 - alpha) + colour * alpha
        taken = torch.maximum(taken, alpha)
        for values, value in zip((boxes, labels, masks), (moved, label, pasted), strict=True):
            values.append(value[None].to(values[0].dtype))
    return image, {**target, "boxes": torch.cat(boxes), "labels": torch.cat(labels), "masks": torch.cat(masks)}


def feathered_alpha(mask: Tensor) -> Tensor:
    """[H, W] in 0..1: the opacity of each pasted pixel. 1 on the cell and FEATHER / 2 pixels around it, then falling to 0
    over FEATHER more.

    With a sharp edge the network learns where the annotator drew the outline instead of where the cell ends.
    """
    alpha = torch.zeros_like(mask, dtype=torch.float32)
    x1, y1, x2, y2 = masks_to_boxes(mask[None])[0].int().tolist()
    near = slice(max(y1 - 2 * FEATHER, 0), y2 + 2 * FEATHER), slice(max(x1 - 2 * FEATHER, 0), x2 + 2 * FEATHER)
    wide = F.max_pool2d(mask[near][None].float(), 2 * FEATHER + 1, 1, FEATHER)
    alpha[near] = F.avg_pool2d(wide, FEATHER + 1, 1, FEATHER // 2, count_include_pad=False)[0]
    return alpha


def _shift(image: Tensor, down: int, right: int) -> Tensor:
    """[..., H, W] shifted by so many pixels; what enters at the border is 0."""
    return F.pad(image, (right, -right, down, -down))


def drop_border_cells(image: Tensor, target: dict[str, Tensor]) -> Sample:
    """Without the cells that touch the border: pasted elsewhere they would end in a straight line."""
    height, width = image.shape[-2:]
    boxes = target["boxes"]
    inside = (boxes[:, :2] >= 1).all(dim=1) & (boxes[:, 2] <= width - 1) & (boxes[:, 3] <= height - 1)
    return image, {**target, **{name: target[name][inside] for name in ("boxes", "labels", "masks")}}


def random_shifts(boxes: Tensor, size: Size) -> list[tuple[int, int]]:
    """A random (down, right) for each box [N, 4] that keeps it inside an image of that size (height, width)."""
    low = (-boxes[:, [1, 0]]).ceil()
    high = (torch.tensor(size) - boxes[:, [3, 2]]).floor()
    shifts = low + (torch.rand(len(boxes), 2) * (high - low + 1).clamp(min=1)).floor()
    return [(int(down), int(right)) for down, right in shifts.tolist()]


def _random_start(begin: float, end: float, length: int, full: int) -> int:
    """Where a window of that length starts, along one side of an image of length `full`, that shows all from begin to end
    (or, if it is too short for that, lies within) and does not leave the image."""
    low, high = sorted((end - length, begin))
    start = round(low + (high - low) * float(torch.rand(1)))
    return min(max(start, min(0, full - length)), max(0, full - length))


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes. The defaults suit stained smears; 0 switches a change off.

    zoom: largest factor of magnification and reduction. stain, light: standard deviation of their relative strength.
    blur: largest standard deviation of the Gaussian, in pixels of the training size; applied to one image in four.
    laboratory: fraction of the images that are recoloured as if from another laboratory (see laboratory.py), instead of
    stain and light; pretrain_laboratory: of the synthetic images of pre-training. copies: the mean number of other images
    whose cells are pasted in, where there is room.
    crop: side of the square around a random cell that is cut out of a larger image, in pixels of the training size; most
    of such an image shows no white cell, and a step on the square takes a fraction of the time.
    """

    zoom: float = 1.25
    stain: float = 0.12
    light: float = 0.06
    blur: float = 1.0
    laboratory: float = 0.0
    pretrain_laboratory: float = 0.5
    copies: float = 1.5
    crop: int = 192

    def __call__(self, sample: Sample, size: Size, donors: Sequence[Sample] = ()) -> Sample:
        """An augmented sample. size: (height, width) of the whole image in training. donors: whose cells are pasted; of the
        same image size. The sample has that size or, where the image is cropped, `cropped_size`."""
        image, target = self.random_zoom(sample, size)
        for donor in donors:
            # Before and after the zoom: neither the image's border nor the window's may have cut a pasted cell.
            others = drop_border_cells(*self.random_zoom(drop_border_cells(*donor), size))
            shifts = random_shifts(others[1]["boxes"], self.cropped_size(size))
            image, target = copy_paste(image, target, others, shifts)
        return self.colour(image), target

    def cropped_size(self, size: Size) -> Size:
        """The size of a sample whose whole image would have this size: smaller where a square saves much."""
        saves = 0 < self.crop <= min(size) and self.crop**2 < WORTH_CROPPING * size[0] * size[1]
        return (self.crop, self.crop) if saves else size

    def random_zoom(self, sample: Sample, size: Size) -> Sample:
        """Crop a window that is smaller or larger than the sample's size by a random zoom, at a random position; where it
        is to be much smaller than the image, around a random cell."""
        height, width = sample[0].shape[-2:]
        scale = self.zoom ** float(1 - 2 * torch.rand(1)) if self.zoom > 0 else 1.0
        cropped = self.cropped_size(size)
        h, w = round(height * scale * cropped[0] / size[0]), round(width * scale * cropped[1] / size[1])
        boxes = sample[1]["boxes"]
        if cropped != size and len(boxes):
            left, top, right, bottom = boxes[int(len(boxes) * torch.rand(1))].tolist()
            y1, x1 = _random_start(top, bottom, h, height), _random_start(left, right, w, width)
        else:
            y1, x1 = (int((full - side) * torch.rand(1)) for full, side in ((height, h), (width, w)))
        return crop_resize(*sample, (x1, y1, x1 + w, y1 + h), cropped)

    def colour(self, image: Tensor) -> Tensor:
        """Random changes of stain, light and focus."""
        elsewhere = self.laboratory > 0 and torch.rand(1) < self.laboratory
        image = random_laboratory()(image) if elsewhere else self._another_slide(image)
        if self.blur > 0 and torch.rand(1) < 0.25:
            image = blur(image, self.blur * float(torch.rand(1)))
        return image

    def _another_slide(self, image: Tensor) -> Tensor:
        """Stain and light of another slide of the same laboratory."""
        if self.stain > 0:
            image = adjust_stain(image, (self.stain * torch.randn(3)).exp())
        if self.light > 0:
            gains = (self.light * (torch.randn(1) + 0.5 * torch.randn(3))).exp()
            image = adjust_light(image, gains, float((2 * self.light * torch.randn(1)).exp()))
        return image
