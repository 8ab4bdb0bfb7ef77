"""Colour operations on batches: each image with its own factor, equal to torchvision's functionals of the same names.

Images are float tensors in [0, 1], images x 3 x height x width; a factor is one number an image. Formulas are those of
torchvision's tensor transforms, except that hue is turned by the piecewise-linear form of HSV, which has no branches.
"""

from __future__ import annotations

import torch
from torch import Tensor

LUMINANCE = (0.2989, 0.587, 0.114)  # weights of red, green, blue: torchvision's, ITU-R BT.601 rounded
_NO_COLOUR = 1e-12  # a smaller chroma is none; far below one step of float32 near 1, and divides without overflow


def adjust_brightness(x_NCHW: Tensor, factor_N: Tensor) -> Tensor:
    """Towards black (factor 0), as it is (1), or brighter."""
    return (x_NCHW * _each(factor_N)).clamp_(0, 1)


def adjust_contrast(x_NCHW: Tensor, factor_N: Tensor) -> Tensor:
    """Towards the image's mean luminance (factor 0), as it is (1), or away from it."""
    mean_N111 = luminance(x_NCHW.mean((2, 3), keepdim=True))
    return (x_NCHW * _each(factor_N)).add_(_each(1 - factor_N) * mean_N111).clamp_(0, 1)


def adjust_saturation(x_NCHW: Tensor, factor_N: Tensor) -> Tensor:
    """Towards grey (factor 0), as it is (1), or more colourful."""
    return torch.lerp(luminance(x_NCHW), x_NCHW, _each(factor_N)).clamp_(0, 1)


def adjust_hue(x_NCHW: Tensor, factor_N: Tensor) -> Tensor:
    """Turn the hue by a share of the colour circle, from -0.5 to 0.5."""
    red, green, blue = x_NCHW.unbind(1)
    least = torch.minimum(torch.minimum(red, green), blue)
    most = torch.maximum(torch.maximum(red, green), blue)
    chroma = most - least
    # Hue in sextants is 1 + (g + b - r - least) / chroma on the side of green, and its negative on the side of blue.
    side = green - blue
    turn = (green + blue).sub_(red).sub_(least).div_(chroma.clamp(min=_NO_COLOUR)).add_(1).copysign_(side)
    sextant = turn.div_(6).add_((factor_N + 1)[:, None, None]).frac_().mul_(6)
    # A channel falls from its peak to its trough between one and two sextants away; red is told by its trough, at 3.
    out_NCHW = torch.empty_like(x_NCHW)
    for channel, centre in enumerate((3, 2, 4)):
        ramp = (sextant - centre).abs_().sub_(1).clamp_(0, 1).mul_(chroma)
        if channel == 0:
            torch.add(least, ramp, out=out_NCHW[:, channel])
        else:
            torch.sub(most, ramp, out=out_NCHW[:, channel])
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
