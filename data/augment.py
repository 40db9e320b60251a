"""Changes of a training image that leave its cells' classes as they are: where it lies, how near, how stained, how lit.

A smear has no up and no left; its stain and its light differ from laboratory to laboratory; any cell could have lain on any
slide. Each function changes image, boxes and masks together; `Augmentation` draws the amounts.

    python -m data.augment PATH        draws a page that shows each
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Sample = tuple[
    Tensor, dict[str, Tensor]
]  # image [3, H, W] in 0..1; target with boxes [N, 4], labels [N], masks [N, H, W]
Size = tuple[int, int]  # height, width
Window = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels

# How haematoxylin, eosin and diaminobenzidine absorb red, green and blue (Ruifrok and Johnston 2001). Blood stains are near
# enough to the first two; the third takes what is left.
STAINS = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])

RIM = 6  # pixels around a pasted cell over which it fades, even; a white cell is some 60 across

MIN_LEFT = 0.15  # a cell of which a crop leaves less than this is no longer a cell to be found


def flip_horizontally(image: Tensor, target: dict[str, Tensor]) -> Sample:
    """Mirror left and right. An edge at x goes to W - x, in continuous coordinates."""
    width = image.shape[-1]
    x1, y1, x2, y2 = target["boxes"].unbind(1)
    boxes = torch.stack([width - x2, y1, width - x1, y2], dim=1)
    return image.flip(-1), {**target, "boxes": boxes, "masks": target["masks"].flip(-1)}


def transpose(image: Tensor, target: dict[str, Tensor]) -> Sample:
    """Mirror along the diagonal: rows become columns. With flips it makes every quarter turn."""
    boxes = target["boxes"][:, [1, 0, 3, 2]]
    masks = target["masks"].transpose(-1, -2)
    return image.transpose(-1, -2), {**target, "boxes": boxes, "masks": masks}


def flip_vertically(image: Tensor, target: dict[str, Tensor]) -> Sample:
    """Mirror up and down. An edge at y goes to H - y."""
    return transpose(*flip_horizontally(*transpose(image, target)))


def random_flips_and_turns(samples: Sequence[Sample], generator: torch.Generator | None = None) -> list[Sample]:
    """Lay each image of a batch down in one of its eight ways, each equally likely.

    Turning by a quarter is for all or for none: an upright image beside a lying one would be padded to a square.
    """
    turn = torch.rand(1, generator=generator).item() < 0.5
    laid = []
    for image, target in samples:
        for change, coin in zip((flip_horizontally, flip_vertically), torch.rand(2, generator=generator), strict=True):
            if coin < 0.5:
                image, target = change(image, target)
        laid.append(transpose(image, target) if turn else (image, target))
    return laid


def view(image: Tensor, target: dict[str, Tensor], window: Window, size: Size) -> Sample:
    """What a window of the image shows, resized to size (height, width). Masks get soft edges: float in 0..1.

    Outside the image the window shows empty glass. Cells of which hardly anything is in the window are left out.
    """
    x1, y1, x2, y2 = window
    height, width = image.shape[-2:]
    inside = slice(max(y1, 0), min(y2, height)), slice(max(x1, 0), min(x2, width))
    masks = target["masks"][:, inside[0], inside[1]]
    left = masks.sum((1, 2)) / target["masks"].sum((1, 2)).clamp(min=1)
    keep = left >= MIN_LEFT
    masks = masks[keep].float()
    margins = (max(-x1, 0), max(x2 - width, 0), max(-y1, 0), max(y2 - height, 0))
    pixels = image[:, inside[0], inside[1]]
    if any(margins):
        shade = glass(image)[:, None, None]
        pixels = F.pad(pixels - shade, margins) + shade
        masks = F.pad(masks, margins)
    scale = torch.tensor([size[1] / (x2 - x1), size[0] / (y2 - y1)]).repeat(2)
    changed = {**target, "boxes": mask_boxes(masks) * scale, "labels": target["labels"][keep]}
    return _resize(pixels, size), {**changed, "masks": _resize(masks, size)}


def _resize(images: Tensor, size: Size) -> Tensor:
    """[C, H, W] as the model resizes: bilinear, smaller images as means of all pixels."""
    if not len(images):
        return images.new_zeros((0, *size))
    return F.interpolate(images[None], size, mode="bilinear", align_corners=False, antialias=True)[0]


def mask_boxes(masks: Tensor) -> Tensor:
    """[N, H, W] -> the smallest boxes [N, 4] that hold all that is not 0 of each mask, none of which may be empty."""
    boxes = []
    for mask in masks:
        columns, rows = (torch.nonzero(mask.amax(dim)).flatten() for dim in (0, 1))
        boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


def glass(image: Tensor) -> Tensor:
    """[3]: the colour of the empty slide, as bright as the lamp makes it."""
    pixels = image.flatten(1)[:, ::17]  # a few hundred are enough
    return pixels.kthvalue(max(1, int(0.9 * pixels.shape[1])), dim=1).values


def restain(image: Tensor, strengths: Tensor) -> Tensor:
    """As if each stain [3] had taken so much more (above 1) or less strongly (Beer and Lambert: absorbances add up)."""
    absorbance = -image.clamp(min=1 / 255).log().flatten(1)  # [3, H W]
    stains = F.normalize(STAINS, dim=1)
    mixing = stains.T @ torch.diag(strengths) @ torch.linalg.inv(stains.T)
    return (-(mixing @ absorbance)).exp().clamp(0, 1).reshape(image.shape)


def relight(image: Tensor, gains: Tensor, gamma: float) -> Tensor:
    """A lamp of another colour and brightness (gains [3]) and a camera of another contrast."""
    return (image.clamp(min=1e-4) ** gamma * gains[:, None, None]).clamp(0, 1)


def blur(image: Tensor, sigma: float) -> Tensor:
    """Out of focus: a Gaussian of this standard deviation in pixels; edges repeat what is there."""
    if sigma <= 0:
        return image
    reach = max(1, round(3 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(image[:, None], (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[None, None, None, :]), kernel[None, None, :, None])[:, 0]


def copy_cells(image: Tensor, target: dict[str, Tensor], donor: Sample, shifts: Sequence[tuple[int, int]]) -> Sample:
    """Copy-paste (Ghiasi et al. 2021): cells of another field, laid onto this one where there is room.

    donor: an image of the same size, with whole cells only. shifts: (down, right) in pixels, one to be tried for each of
    the donor's cells. A cell stays away if it would leave the image or come near another. What is pasted takes on the
    light of its new slide.
    """
    pixels, given = donor
    lit = (pixels * (glass(image) / glass(pixels).clamp(min=0.05))[:, None, None]).clamp(0, 1)
    boxes, labels, masks = ([target[name]] for name in ("boxes", "labels", "masks"))
    height, width = image.shape[-2:]
    taken = target["masks"].amax(0) if len(target["masks"]) else image.new_zeros(height, width)
    for box, label, mask, (down, right) in zip(given["boxes"], given["labels"], given["masks"], shifts, strict=True):
        moved = box + box.new_tensor([right, down, right, down])
        if bool((moved[:2] < 0).any()) or moved[2] > width or moved[3] > height:
            continue
        cover, cell, colour = (shifted(x, down, right) for x in (faded_rim(mask), mask, lit))
        if bool(((cover > 0) & (taken > 0)).any()):
            continue
        image = image * (1 - cover) + colour * cover
        taken = torch.maximum(taken, cover)
        for values, value in zip((boxes, labels, masks), (moved, label, cell), strict=True):
            values.append(value[None].to(values[0].dtype))
    return image, {**target, "boxes": torch.cat(boxes), "labels": torch.cat(labels), "masks": torch.cat(masks)}


def faded_rim(mask: Tensor) -> Tensor:
    """[H, W]: how much of each pixel is pasted. All of the cell and RIM / 2 pixels around, and less and less of RIM more.

    Narrower, it would show where the outline was drawn rather than where the cell ends.
    """
    rim = torch.zeros_like(mask, dtype=torch.float32)
    x1, y1, x2, y2 = mask_boxes(mask[None])[0].int().tolist()
    near = slice(max(y1 - 2 * RIM, 0), y2 + 2 * RIM), slice(max(x1 - 2 * RIM, 0), x2 + 2 * RIM)
    wide = F.max_pool2d(mask[near][None].float(), 2 * RIM + 1, 1, RIM)
    rim[near] = F.avg_pool2d(wide, RIM + 1, 1, RIM // 2, count_include_pad=False)[0]
    return rim


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """[..., H, W] moved by so many pixels; what comes in from outside is 0."""
    height, width = image.shape[-2:]
    moved = torch.zeros_like(image)
    to, source = (
        (..., slice(max(0, y), height + min(0, y)), slice(max(0, x), width + min(0, x)))
        for y, x in ((down, right), (-down, -right))
    )
    moved[to] = image[source]
    return moved


def whole_cells(image: Tensor, target: dict[str, Tensor]) -> Sample:
    """Without the cells that the border cuts, which no other field can take."""
    height, width = image.shape[-2:]
    boxes = target["boxes"]
    whole = (boxes[:, :2] >= 1).all(dim=1) & (boxes[:, 2] <= width - 1) & (boxes[:, 3] <= height - 1)
    return image, {**target, **{name: target[name][whole] for name in ("boxes", "labels", "masks")}}


def random_shifts(boxes: Tensor, size: Size) -> list[tuple[int, int]]:
    """(down, right) for each box [N, 4], to anywhere in an image of that size (height, width) that it does not leave."""
    low = (-boxes[:, [1, 0]]).ceil()
    high = (torch.tensor(size) - boxes[:, [3, 2]]).floor()
    shifts = low + (torch.rand(len(boxes), 2) * (high - low + 1).clamp(min=1)).floor()
    return [(int(down), int(right)) for down, right in shifts.tolist()]


@dataclass(frozen=True)
class Augmentation:
    """How much is changed at random. The defaults suit stained smears; 0 switches a change off.

    zoom: up to so many times nearer or farther. stain, light: relative strength, one standard deviation.
    blur: the largest standard deviation in pixels of the training size, for one image in four.
    copies: from so many other fields, on average, cells are pasted where there is room.
    """

    zoom: float = 1.25
    stain: float = 0.12
    light: float = 0.06
    blur: float = 1.0
    copies: float = 1.5

    def __call__(self, sample: Sample, size: Size, donors: Sequence[Sample] = ()) -> Sample:
        """A changed sample of that size (height, width), which need not be the image's own. donors: whose cells to paste, of
        images of the same shape."""
        image, target = self.near_or_far(sample, size)
        for donor in donors:
            # Neither the field's border nor that of the window may have cut a cell: it would end in a straight line.
            others = whole_cells(*self.near_or_far(whole_cells(*donor), size))
            image, target = copy_cells(image, target, others, random_shifts(others[1]["boxes"], size))
        return self.colour(image), target

    def near_or_far(self, sample: Sample, size: Size) -> Sample:
        """A window of the image's shape, smaller or larger than it by the zoom, at random within it or around it."""
        height, width = sample[0].shape[-2:]
        scale = self.zoom ** float(1 - 2 * torch.rand(1)) if self.zoom > 0 else 1.0
        h, w = round(height * scale), round(width * scale)
        y1, x1 = (int((full - part) * torch.rand(1)) for full, part in ((height, h), (width, w)))
        return view(*sample, (x1, y1, x1 + w, y1 + h), size)

    def colour(self, image: Tensor) -> Tensor:
        """Stain, light and focus."""
        if self.stain > 0:
            image = restain(image, (self.stain * torch.randn(3)).exp())
        if self.light > 0:
            gains = (self.light * (torch.randn(1) + 0.5 * torch.randn(3))).exp()
            image = relight(image, gains, float((2 * self.light * torch.randn(1)).exp()))
        if self.blur > 0 and torch.rand(1) < 0.25:
            image = blur(image, self.blur * float(torch.rand(1)))
        return image


if __name__ == "__main__":
    from data.pages import main

    raise SystemExit(main())
