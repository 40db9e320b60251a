"""Images as another laboratory would have made them: its stain, its lamp, its camera, its file format.

A network that knows classes by the colours of one laboratory misclassifies the cells of the next one, so pre-training shows
part of the images in random other colours, and training does on demand. Light follows the law of Beer and Lambert: relative
to the empty slide, the absorbance -log(pixel / slide) is proportional to the amount of stain, and that of several stains
adds up.

    python -m data augmentations PATH        shows examples
"""

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data.colour import background_colour, blur, from_bytes, to_bytes


@dataclass(frozen=True)
class Laboratory:
    """How an image [3, H, W] in 0..1 would look elsewhere. Call `random_laboratory` for one of many.

    mixing [3, 3]: row i says how much the new camera's channel i takes of the old red, green and blue absorbance.
    tone: exponent of the absorbance. Above 1 the pale, red cells and cytoplasm, becomes paler; below 1, darker.
    slide [3]: colour of the empty slide, 0..1. gamma: of the camera.
    sharpness: in multiples of the difference to a blurred image; noise: its standard deviation, in 0..1; jpeg_quality: 1 to
    95, None for an image that was never compressed.
    """

    mixing: Tensor
    tone: float
    slide: Tensor
    gamma: float = 1.0
    sharpness: float = 0.0
    noise: float = 0.0
    jpeg_quality: int | None = None

    def __call__(self, image: Tensor) -> Tensor:
        here = background_colour(image).clamp(min=0.05)[:, None, None]
        # [3, H, W]; slightly negative where it is brighter than the slide.
        absorbance = -(image.clamp(min=1 / 255) / here).log()
        absorbance = torch.einsum("ij,jhw->ihw", self.mixing, absorbance)
        absorbance = absorbance.sign() * absorbance.abs() ** self.tone
        image = (self.slide[:, None, None] * (-absorbance).exp()).clamp(0, 1) ** self.gamma
        if self.sharpness:
            image = image + self.sharpness * (image - blur(image, 1.0))
        if self.noise:
            image = image + self.noise * torch.randn(image.shape[-2:])
        image = image.clamp(0, 1)
        return image if self.jpeg_quality is None else compress(image, self.jpeg_quality)


def random_laboratory() -> Laboratory:
    """Colours as far apart as those of published smears, and further: a hue turned by some 25 degrees and in one image of
    four by any angle, half to twice the density, slides from white to grey and yellow."""
    # Each occurs in a part of all images, so that sharp and clean ones remain.
    occurs = (torch.rand(3) < 0.3).tolist()
    any_angle, some_angle = math.pi * (2 * torch.rand(1) - 1), 0.45 * torch.randn(1)
    turn = rotation_about_grey(float(any_angle if torch.rand(1) < 0.25 else some_angle))
    density = float((0.25 * torch.randn(1)).exp())
    yellow = torch.tensor([1.0, 1.0, 1.0 - 0.35 * float(torch.rand(1)) * float(torch.rand(1) < 0.5)])
    brightness = 1.0 - 0.4 * float(torch.rand(1))
    return Laboratory(
        mixing=density * turn @ (torch.eye(3) + 0.1 * torch.randn(3, 3)),
        tone=float((0.2 * torch.randn(1)).exp()),
        slide=(brightness * yellow * (0.05 * torch.randn(3)).exp()).clamp(0.2, 1.0),
        gamma=float((0.2 * torch.randn(1)).exp()),
        sharpness=1.5 * float(torch.rand(1)) * occurs[0],
        noise=0.03 * float(torch.rand(1)) * occurs[1],
        jpeg_quality=int(torch.randint(25, 91, (1,))) if occurs[2] else None,
    )


def rotation_about_grey(angle: float) -> Tensor:
    """[3, 3]: turns the hue of absorbances by an angle in radians; grey stays what it is (Rodrigues' formula)."""
    third, root = (1 - math.cos(angle)) / 3, math.sin(angle) / math.sqrt(3)
    ring = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    return math.cos(angle) * torch.eye(3) + third + root * ring


def compress(image: Tensor, quality: int) -> Tensor:
    """The image [3, H, W] in 0..1, saved as JPEG and read again."""
    file = io.BytesIO()
    Image.fromarray(to_bytes(image)).save(file, "JPEG", quality=quality)
    return from_bytes(np.array(Image.open(file)))
