"""Trunk: ours, built of Detectron2's blocks: ResNet-10, -18 and -50 of any width, with either stem.

Each block takes its widths and its stride from the block of ours that it stands for, so the two cannot differ; what
Detectron2 lacks is the stem of small images (W-MSE code, Ermolov et al., ICML 2021).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...pretrain.networks.resnet import BasicBlock, Bottleneck, ResNet
from ...pretrain.specs.run import Backbone
from .detectron2 import layers, resnet

STAGES = ("res2", "res3", "res4", "res5")


class SmallStem(layers.CNNBlockBase):  # type: ignore[misc]  # Detectron2 carries no types
    """A 3 x 3 convolution of stride 1, norm and ReLU, with or without max-pool."""

    def __init__(self, width: int, norm: str, *, pool: bool, padding: int = 1) -> None:
        super().__init__(3, width, 2 if pool else 1)
        normalisation = layers.get_norm(norm, width)
        self.conv1 = layers.Conv2d(3, width, kernel_size=3, padding=padding, bias=False, norm=normalisation)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(self.conv1(x))
        return F.max_pool2d(x, kernel_size=3, stride=2, padding=1) if self.stride == 2 else x


def build_trunk(
    spec: Backbone,
    norm: str = "BN",
    features: tuple[str, ...] = ("res4",),
    *,
    stride_in_1x1: bool = False,
    freeze_at: int = 0,
) -> Any:
    """Detectron2's ResNet that `convert.load_trunk` fills with the weights of the trunk of `spec`.

    `features` are the maps it gives, of stem and res2 to res5; stages after the last of them are left out.
    `stride_in_1x1` is for weights of MSRA alone. Raises ValueError on a trunk that Detectron2 cannot hold.
    """
    ours = _skeleton(spec)
    if spec.stem == "large":
        stem = resnet.BasicStem(in_channels=3, out_channels=spec.width, norm=norm)
    else:
        padding = 2 if spec.stem == "small-padded" else 1
        stem = SmallStem(spec.width, norm, pool=spec.stem == "small-pool", padding=padding)
    stages = [_stage(ours, stage, norm, stride_in_1x1) for stage in range(1, 5)]
    return resnet.ResNet(stem, stages, out_features=list(features), freeze_at=freeze_at)


def build_res5(spec: Backbone, norm: str = "BN", *, stride_in_1x1: bool = False) -> tuple[nn.Sequential, int]:
    """The last stage by itself, which is the head of a C4 model, and the number of its channels."""
    ours = _skeleton(spec)
    return nn.Sequential(*_stage(ours, 4, norm, stride_in_1x1)), ours.features


def _skeleton(spec: Backbone) -> ResNet:
    """Our trunk without weights."""
    if spec.name == "pixels" or spec.colours != "rgb":
        found = "pixels" if spec.name == "pixels" else f"a pair of trunks on {spec.colours}"
        raise ValueError(f"Detectron2 holds one ResNet on rgb images, not {found}")
    with torch.device("meta"):
        return ResNet(spec, spec.width)


def _stage(ours: ResNet, stage: int, norm: str, stride_in_1x1: bool) -> list[Any]:
    return [_block(block, norm, stride_in_1x1) for block in ours.get_submodule(f"layer{stage}").children()]


def _block(ours: nn.Module, norm: str, stride_in_1x1: bool) -> Any:
    if isinstance(ours, BasicBlock):
        first, last = ours.conv1, ours.conv2
        return resnet.BasicBlock(first.in_channels, last.out_channels, stride=first.stride[0], norm=norm)
    assert isinstance(ours, Bottleneck)
    return resnet.BottleneckBlock(
        ours.conv1.in_channels,
        ours.conv3.out_channels,
        bottleneck_channels=ours.conv1.out_channels,
        stride=ours.conv2.stride[0],
        stride_in_1x1=stride_in_1x1,
        norm=norm,
    )
