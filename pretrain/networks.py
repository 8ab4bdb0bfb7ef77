"""Networks: ResNet trunks with small- and large-image stems, and the MLP heads on top.

The trunk's parameters carry torchvision's names and its default initialisation, so a state dict goes either way; what
torchvision cannot do, and we need, is other widths and the stems of the W-MSE code (3 x 3, stride 1, with or without
max-pool), from which small-image results come. CMC's pair of trunks sees lightness and colour apart; its colour spaces
are those of IEC 61966-2-1 (sRGB), CIE 15 (Lab) and ITU-R BT.601 (YCbCr).
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from .data import Dataset
from .run import Backbone

_STAGES = {
    "resnet10": ("basic", (1, 1, 1, 1)),  # one block a stage, for the demo; not in torchvision
    "resnet18": ("basic", (2, 2, 2, 2)),  # He et al., CVPR 2016, Table 1
    "resnet50": ("bottleneck", (3, 4, 6, 3)),
}

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


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(channels_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return cast(Tensor, self.relu(out + (x if self.downsample is None else self.downsample(x))))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (which carries the stride, as in torchvision), 1 x 1, and a shortcut."""

    expansion = 4

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels_in, width * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return cast(Tensor, self.relu(out + (x if self.downsample is None else self.downsample(x))))


def _shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and channels_in == channels_out:
        return None
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out))


class ResNet(nn.Module):
    """Images (N x channels x H x W) to representations (N x features), the average over the last map."""

    def __init__(self, spec: Backbone, width: int, channels: int = 3) -> None:
        super().__init__()
        kind, depths = _STAGES[spec.name]
        block: type[BasicBlock | Bottleneck] = BasicBlock if kind == "basic" else Bottleneck
        large = spec.stem == "large"
        kernel, stride, padding = (7, 2, 3) if large else (3, 1, 1)
        self.conv1 = nn.Conv2d(channels, width, kernel, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if spec.stem == "small" else nn.MaxPool2d(3, 2, 1)
        channels = width
        for stage, depth in enumerate(depths):
            stage_width = width * 2**stage
            blocks = []
            for position in range(depth):
                blocks.append(block(channels, stage_width, 2 if stage and position == 0 else 1))
                channels = stage_width * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.features = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if spec.zero_residual and isinstance(module, BasicBlock | Bottleneck):
                last = module.bn2 if isinstance(module, BasicBlock) else module.bn3
                nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return x.mean(dim=(2, 3))


class Pixels(nn.Flatten):
    """The image itself as its representation: the floor every trunk has to beat."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.features = 3 * size * size


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
    """Weighted sum of the channels; no matrix product, which autocast would narrow."""
    red, green, blue = x_N3HW.unbind(1)
    return weights[0] * red + weights[1] * green + weights[2] * blue


def build_backbone(spec: Backbone, size: int, dataset: Dataset | None = None) -> ResNet | TwoTrunks | Pixels:
    """The trunk of `spec` for images of side `size` pixels, normalised with the mean and deviation of `dataset`.

    Its attribute `features` is the width of its output. Raises ValueError on colours that the spec cannot split.
    """
    if spec.colours == "rgb":
        return Pixels(size) if spec.name == "pixels" else ResNet(spec, spec.width)
    if spec.name == "pixels":
        raise ValueError(f"backbone pixels has no trunks for {spec.colours}; expected colours rgb")
    if spec.width % 2:
        raise ValueError(f"backbone width {spec.width} must be even, for two trunks of half of it")
    if dataset is None:
        raise ValueError(f"colours {spec.colours} need the data set whose normalisation is to be undone")
    return TwoTrunks(spec, dataset)


def mlp(widths: tuple[int, ...], *, bias: bool = True, last_bias: bool = True, norm: bool = True) -> nn.Sequential:
    """Linear layers of these widths, the last alone, the others followed by batch norm (with `norm`) and ReLU."""
    layers: list[nn.Module] = []
    for position, (width_in, width_out) in enumerate(pairwise(widths)):
        last = position == len(widths) - 2
        layers.append(nn.Linear(width_in, width_out, bias=last_bias if last else bias))
        if not last:
            layers += [*([nn.BatchNorm1d(width_out)] if norm else []), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def projector_widths(features: int, layers: int, hidden: int, out: int) -> tuple[int, ...]:
    """Layer widths of a projector with `layers` linear layers."""
    return (features, *(hidden,) * (layers - 1), out)
