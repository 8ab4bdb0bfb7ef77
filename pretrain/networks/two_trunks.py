"""CMC's pair of trunks, one for lightness and one for colour (Tian et al., ECCV 2020), and the colour spaces it uses.

These are those of IEC 61966-2-1 (sRGB), CIE 15 (Lab) and ITU-R BT.601 (YCbCr).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..specs.datasets import Dataset
from ..specs.run import Backbone
from .resnet import ResNet

_XYZ = (  # from linear sRGB under its white, D65: IEC 61966-2-1
    (0.4124, 0.3576, 0.1805),
    (0.2126, 0.7152, 0.0722),
    (0.0193, 0.1192, 0.9505),
)
_LUMA = (0.299, 0.587, 0.114)  # weights of red, green, blue: ITU-R BT.601
_SPANS = {  # least and greatest value of each channel over the colours of sRGB: at corners of the RGB cube
    "lab": ((0.0, 100.0), (-86.19, 98.25), (-107.85, 94.49)),  # a: green to magenta, b: blue to yellow
    "ycbcr": ((0.0, 1.0), (-0.5, 0.5), (-0.5, 0.5)),  # by its definition
}


class TwoTrunks(nn.Module):
    """Two networks of half the width, one for an image's lightness, one for its two colour channels (CMC).

    Takes what every trunk takes, RGB images normalised with the data set's mean and deviation (N x 3 x H x W); gives
    the two representations side by side (N x features). Each channel enters a network spread over -1 to 1.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, spec: Backbone, dataset: Dataset) -> None:
        super().__init__()
        self.to_colours = lab if spec.colours == "lab" else ycbcr
        self.lightness = ResNet(spec, spec.width // 2, channels=1)
        self.colour = ResNet(spec, spec.width // 2, channels=2)
        self.features = self.lightness.features + self.colour.features
        low, high = zip(*_SPANS[spec.colours], strict=True)
        for name, value in (("mean", dataset.mean), ("std", dataset.std), ("low", low), ("high", high)):
            self.register_buffer(name, torch.tensor(value).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(self.parts(x), dim=1)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The representations of lightness and of colour, each N x features / 2."""
        pixels_N3HW = (x * self.std + self.mean).clamp(0, 1)
        scaled_N3HW = 2 * (self.to_colours(pixels_N3HW) - self.low) / (self.high - self.low) - 1
        return self.lightness(scaled_N3HW[:, :1]), self.colour(scaled_N3HW[:, 1:])


def lab(x_N3HW: Tensor) -> Tensor:
    """CIE L*a*b* of sRGB images in 0..1: L 0 to 100, a from green to red, b from blue to yellow; N x 3 x H x W."""
    foot = 0.04045  # IEC 61966-2-1: below, its transfer is a line of slope 1 / 12.92
    linear_N3HW = torch.where(x_N3HW <= foot, x_N3HW / 12.92, ((x_N3HW.clamp(min=foot) + 0.055) / 1.055) ** 2.4)
    knee = 6 / 29  # CIE 15: below its cube, the cube root is replaced by its tangent
    roots = []
    for weights in _XYZ:
        relative_NHW = _mixed(linear_N3HW, weights) / sum(weights)  # to white
        root_NHW = relative_NHW.clamp(min=knee**3) ** (1 / 3)
        roots.append(torch.where(relative_NHW > knee**3, root_NHW, relative_NHW / (3 * knee**2) + 4 / 29))
    x, y, z = roots
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def ycbcr(x_N3HW: Tensor) -> Tensor:
    """YCbCr of RGB images in 0..1: luma 0 to 1, the differences of blue and of red from it -0.5 to 0.5."""
    luma_NHW = _mixed(x_N3HW, _LUMA)
    blue_NHW = (x_N3HW[:, 2] - luma_NHW) / (2 * (1 - _LUMA[2]))
    red_NHW = (x_N3HW[:, 0] - luma_NHW) / (2 * (1 - _LUMA[0]))
    return torch.stack([luma_NHW, blue_NHW, red_NHW], dim=1)


def _mixed(x_N3HW: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """Weighted sum of the channels, without a matrix product, whose precision autocast would lower."""
    red, green, blue = x_N3HW.unbind(1)
    return weights[0] * red + weights[1] * green + weights[2] * blue
