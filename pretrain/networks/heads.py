"""Heads: the MLPs on top of a trunk, such as projector and predictor."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from .batch_norm import BatchNorm


def mlp(widths: tuple[int, ...], *, bias: bool = True, last_bias: bool = True, norm: bool = True) -> nn.Sequential:
    """Linear layers of these widths, the last alone, the others followed by batch norm (with `norm`) and ReLU."""
    layers: list[nn.Module] = []
    for position, (width_in, width_out) in enumerate(pairwise(widths)):
        last = position == len(widths) - 2
        layers.append(nn.Linear(width_in, width_out, bias=last_bias if last else bias))
        if not last:
            layers += [*([BatchNorm(width_out)] if norm else []), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def projector_widths(features: int, layers: int, hidden: int, out: int) -> tuple[int, ...]:
    """Layer widths of a projector with `layers` linear layers."""
    return (features, *(hidden,) * (layers - 1), out)
