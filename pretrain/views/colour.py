"""Colour operations on batches: each image with its own factor, equal to torchvision's functionals of the same names.

Images are float tensors in [0, 1], images x 3 x height x width; a factor is one number an image. Formulas are those of
torchvision's tensor transforms, except that hue is turned by the piecewise-linear form of HSV, which has no branches.
"""

from __future__ import annotations

import torch
from torch import Tensor

LUMINANCE = (0.2989, 0.587, 0.114)  # weights of red, green, blue: torchvision's, ITU-R BT.601 rounded
_NO_COLOUR = (
    1e-12  # a smaller chroma counts as 0: far below one step of float32 near 1, and no quotient by it overflows
)


def adjust_brightness(x_NCHW: Tensor, factor_N: Tensor) -> Tensor:
    """Towards black (factor 0), as it is (1), or brighter."""
    return blend_(x_NCHW.clone(), factor_N, torch.zeros_like(factor_N), torch.zeros_like(factor_N))


def adjust_contrast(x_NCHW: Tensor, factor_N: Tensor) -> Tensor:
    """Towards the image's mean luminance (factor 0), as it is (1), or away from it."""
    return blend_(x_NCHW.clone(), factor_N, torch.zeros_like(factor_N), 1 - factor_N)


def adjust_saturation(x_NCHW: Tensor, factor_N: Tensor) -> Tensor:
    """Towards grey (factor 0), as it is (1), or more colourful."""
    return blend_(x_NCHW.clone(), factor_N, 1 - factor_N, torch.zeros_like(factor_N))


def blend_(x_NCHW: Tensor, image_N: Tensor, luminance_N: Tensor, mean_N: Tensor) -> Tensor:
    """Weighted sum, in place, of the image, its luminance and its mean luminance, cut to [0, 1]; weights are per image.

    Brightness, contrast and saturation are cases of it, so one pass serves a batch in which each image takes another.
    """
    grey_N1HW = luminance(x_NCHW)
    level_N111 = grey_N1HW.mean((2, 3), keepdim=True).mul_(_each(mean_N))
    grey_N1HW.mul_(_each(luminance_N)).add_(level_N111)
    return x_NCHW.mul_(_each(image_N)).add_(grey_N1HW).clamp_(0, 1)


def adjust_hue(x_NCHW: Tensor, factor_N: Tensor) -> Tensor:
    """Turn the hue by a share of the colour circle, from -0.5 to 0.5."""
    red, green, blue = x_NCHW.unbind(1)
    least, most = x_NCHW.amin(1), x_NCHW.amax(1)
    chroma = most - least
    # Hue in sextants is 1 + (g + b - r - least) / chroma on the side of green, and its negative on the side of blue.
    turn = (green + blue).sub_(red).sub_(least).div_(chroma.clamp(min=_NO_COLOUR)).add_(1).copysign_(green - blue)
    sextant = turn.div_(6).add_((factor_N + 1)[:, None, None]).frac_().mul_(6)
    # A channel falls from its peak to its trough between one and two sextants away; for red, the trough is at 3.
    out_NCHW = torch.empty_like(x_NCHW)
    for plane, centre in zip(out_NCHW.unbind(1), (3, 2, 4), strict=True):
        torch.sub(sextant, centre, out=plane)
    out_NCHW.abs_().sub_(1).clamp_(0, 1).mul_(chroma[:, None])
    out_NCHW[:, 0].add_(least)
    torch.sub(most[:, None], out_NCHW[:, 1:], out=out_NCHW[:, 1:])
    return out_NCHW


def grayscale(x_NCHW: Tensor) -> Tensor:
    """Luminance in all three channels."""
    return luminance(x_NCHW).expand_as(x_NCHW)


def solarize(x_NCHW: Tensor, threshold: float) -> Tensor:
    """Invert every value from `threshold` on."""
    return torch.where(x_NCHW >= threshold, 1 - x_NCHW, x_NCHW)


def luminance(x_NCHW: Tensor) -> Tensor:
    """Luminance as one channel."""
    red, green, blue = x_NCHW.unbind(1)
    return (red * LUMINANCE[0]).add_(green, alpha=LUMINANCE[1]).add_(blue, alpha=LUMINANCE[2])[:, None]


def _each(value_N: Tensor) -> Tensor:
    return value_N[:, None, None, None]
