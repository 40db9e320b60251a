"""Colours of a smear: the empty slide, its stain, its light, its focus. Images are [3, H, W] in 0..1."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# How haematoxylin, eosin and diaminobenzidine absorb red, green and blue (Ruifrok and Johnston 2001). Blood stains are near
# enough to the first two; the third takes what is left.
STAINS = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])


def to_bytes(image: Tensor) -> NDArray[np.uint8]:
    """[3, H, W] in 0..1 -> [H, W, 3] in 0..255."""
    pixels: NDArray[np.uint8] = (image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    return pixels


def from_bytes(pixels: NDArray[np.uint8]) -> Tensor:
    """The inverse of `to_bytes`."""
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def background_colour(image: Tensor) -> Tensor:
    """[3]: the colour of the empty slide, from the brightest tenth of the pixels."""
    pixels = image.flatten(1)[:, ::17]  # every 17th pixel is enough
    return pixels.kthvalue(max(1, int(0.9 * pixels.shape[1])), dim=1).values


def adjust_stain(image: Tensor, strengths: Tensor) -> Tensor:
    """Multiply the strength of each stain [3] by a factor (law of Beer and Lambert: absorbances add up)."""
    absorbance = -image.clamp(min=1 / 255).log().flatten(1)  # [3, H W]
    stains = F.normalize(STAINS, dim=1)
    mixing = stains.T @ torch.diag(strengths) @ torch.linalg.inv(stains.T)
    return (-(mixing @ absorbance)).exp().clamp(0, 1).reshape(image.shape)


def adjust_light(image: Tensor, gains: Tensor, gamma: float) -> Tensor:
    """Another colour and brightness of the lamp (gains [3]) and another contrast of the camera (gamma)."""
    return (image.clamp(min=1e-4) ** gamma * gains[:, None, None]).clamp(0, 1)


def blur(image: Tensor, sigma: float) -> Tensor:
    """Out of focus: a Gaussian of this standard deviation in pixels; the border is replicated."""
    if sigma <= 0:
        return image
    radius = max(1, round(3 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(image[:, None], (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[None, None, None, :]), kernel[None, None, :, None])[:, 0]
