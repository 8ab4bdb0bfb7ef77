"""ResNet trunks with small- and large-image stems (He et al., CVPR 2016).

The parameters have torchvision's names and its default initialisation, so a state dict fits both. We also need what
torchvision lacks: other widths, and the stems of the W-MSE code (3 x 3, stride 1, with or without max-pool), which
small-image results use.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from ..specs.run import Backbone, Stem
from .batch_norm import BatchNorm
from .recomputation import Recomputable

STEMS: dict[Stem, tuple[int, int, int]] = {  # kernel, stride and border of the first convolution
    "small": (3, 1, 1),
    "small-pool": (3, 1, 1),
    "small-padded": (3, 1, 2),  # solo-learn's (da Costa et al., JMLR 2022, code, methods/base.py)
    "large": (7, 2, 3),
}
POOLED: tuple[Stem, ...] = ("small-pool", "large")
_STAGES = {
    "resnet10": ("basic", (1, 1, 1, 1)),  # one block a stage, for the demo; not in torchvision
    "resnet18": ("basic", (2, 2, 2, 2)),  # He et al., CVPR 2016, Table 1
    "resnet34": ("basic", (3, 4, 6, 3)),
    "resnet50": ("bottleneck", (3, 4, 6, 3)),
}


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, width, 3, stride, 1, bias=False)
        self.bn1 = BatchNorm(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = BatchNorm(width)
        self.downsample = _shortcut(channels_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return cast(Tensor, self.relu(out + (x if self.downsample is None else self.downsample(x))))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (which carries the stride, as in torchvision), 1 x 1, and a shortcut."""

    expansion = 4

    def __init__(self, channels_in: int, width: int, stride: int, inner: int = 1) -> None:
        super().__init__()
        own = width * inner
        self.conv1 = nn.Conv2d(channels_in, own, 1, bias=False)
        self.bn1 = BatchNorm(own)
        self.conv2 = nn.Conv2d(own, own, 3, stride, 1, bias=False)
        self.bn2 = BatchNorm(own)
        self.conv3 = nn.Conv2d(own, width * self.expansion, 1, bias=False)
        self.bn3 = BatchNorm(width * self.expansion)
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
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), BatchNorm(channels_out))


class Stage(nn.Sequential, Recomputable):
    """Blocks on maps of one size."""

    def forward(self, x: Tensor) -> Tensor:
        for block in self:
            x = self.part(block, x)
        return x


class ResNet(Recomputable):
    """Images (N x channels x H x W) to representations (N x features), the average over the last map."""

    def __init__(self, spec: Backbone, width: int, channels: int = 3) -> None:
        super().__init__()
        kind, depths = _STAGES[spec.name]
        kernel, stride, padding = STEMS[spec.stem]
        self.conv1 = nn.Conv2d(channels, width, kernel, stride, padding, bias=False)
        self.bn1 = BatchNorm(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if spec.stem in POOLED else nn.Identity()
        channels = width
        for stage, depth in enumerate(depths):
            stage_width = width * 2**stage
            blocks: list[BasicBlock | Bottleneck] = []
            for position in range(depth):
                stride = 2 if stage and position == 0 else 1
                if kind == "basic":
                    blocks.append(BasicBlock(channels, stage_width, stride))
                else:
                    blocks.append(Bottleneck(channels, stage_width, stride, spec.inner))
                channels = stage_width * blocks[-1].expansion
            self.add_module(f"layer{stage + 1}", Stage(*blocks))
        self.features = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if spec.zero_residual and isinstance(module, BasicBlock | Bottleneck):
                last = module.bn2 if isinstance(module, BasicBlock) else module.bn3
                nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.part(nn.Sequential(self.conv1, self.bn1, self.relu, self.maxpool), x)
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return x.mean(dim=(2, 3))


class Pixels(nn.Flatten):
    """The image itself as its representation: the floor that every trunk must exceed."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.features = 3 * size * size
