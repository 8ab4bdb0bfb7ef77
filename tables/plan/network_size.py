"""Network size: the operations and the weights of a backbone, counted from its shape alone, without building it.

He et al., CVPR 2016, Table 1, with the stems and widths of `pretrain/networks/`; imports no torch.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from ...pretrain.specs.run import Backbone, Projector

BASIC: dict[str, tuple[int, ...]] = {  # blocks a stage
    "resnet10": (1, 1, 1, 1),
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
}
BOTTLENECK: dict[str, tuple[int, ...]] = {"resnet50": (3, 4, 6, 3)}
EXPANSION = 4  # of a bottleneck's channels
FLOAT_BYTES, COUNTER_BYTES = 4, 8  # stored: float32 weights, and an int64 counter a batch norm


class Convolution(NamedTuple):
    """One convolution and the batch norm after it."""

    channels_in: int
    channels_out: int
    kernel: int
    side: int  # of the map it makes


@functools.cache
def forward_operations(backbone: Backbone, size: int) -> float:
    """Floating-point operations of one image of side `size` through the trunk; a multiply-add is two."""
    convolutions = _all_convolutions(backbone, size)
    return 2.0 * sum(c.channels_in * c.channels_out * c.kernel**2 * c.side**2 for c in convolutions)


@functools.cache
def trunk_parameters(backbone: Backbone) -> int:
    """Trained numbers of the trunk, counted as in publications: 11.2 M for ResNet-18 without its last layer."""
    convolutions = _all_convolutions(backbone, 1)
    return sum(c.channels_in * c.channels_out * c.kernel**2 + 2 * c.channels_out for c in convolutions)


@functools.cache
def encoder_bytes(backbone: Backbone) -> int:
    """Size of the stored trunk: its parameters, and the running mean, variance and counter of each batch norm."""
    norms = _all_convolutions(backbone, 1)
    statistics = sum(FLOAT_BYTES * 2 * c.channels_out + COUNTER_BYTES for c in norms)
    return FLOAT_BYTES * trunk_parameters(backbone) + statistics


def features(backbone: Backbone) -> int:
    """Width of the trunk's output; 0 for the pixels of an image, which have no head after them."""
    expansion = EXPANSION if backbone.name in BOTTLENECK else 1
    return 0 if backbone.name == "pixels" else backbone.width * 8 * expansion


def head_parameters(backbone: Backbone, head: Projector) -> int:
    """Weights and biases of the projector on this trunk, without its few batch norms."""
    widths = (features(backbone), *(head.hidden,) * (head.layers - 1), head.out)
    return sum((inside + 1) * outside for inside, outside in pairwise(widths))


@functools.cache
def _all_convolutions(backbone: Backbone, size: int) -> tuple[Convolution, ...]:
    """The convolutions of all trunks: a pair for lightness and colours is two trunks of half the width."""
    if backbone.name == "pixels":
        return ()
    if backbone.colours == "rgb":
        return tuple(_convolutions(backbone, size, backbone.width, 3))
    half = backbone.width // 2
    return (*_convolutions(backbone, size, half, 1), *_convolutions(backbone, size, half, 2))


def _convolutions(backbone: Backbone, size: int, width: int, channels: int) -> Iterator[Convolution]:
    """In order of the forward pass."""
    side = {"large": _halved(size), "small-padded": size + 2}.get(backbone.stem, size)
    yield Convolution(channels, width, 7 if backbone.stem == "large" else 3, side)
    side = _halved(side) if backbone.stem in ("small-pool", "large") else side
    channels, basic = width, backbone.name in BASIC
    for stage, depth in enumerate((BASIC | BOTTLENECK)[backbone.name]):
        inner = width * 2**stage * backbone.inner
        outer = width * 2**stage * (1 if basic else EXPANSION)
        for position in range(depth):
            before, side = side, _halved(side) if stage and not position else side
            if basic:
                yield Convolution(channels, inner, 3, side)
                yield Convolution(inner, inner, 3, side)
            else:
                yield Convolution(channels, inner, 1, before)
                yield Convolution(inner, inner, 3, side)
                yield Convolution(inner, outer, 1, side)
            if side != before or channels != outer:
                yield Convolution(channels, outer, 1, side)
            channels = outer


def _halved(side: int) -> int:
    """Side of the map after a stride of two, as every padding here has it: rounded up."""
    return (side + 1) // 2
