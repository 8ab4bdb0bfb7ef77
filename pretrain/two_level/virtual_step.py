"""The virtual step: where psi would go with the slopes of a batch, as a function that can be differentiated.

A plain step moves down the slopes. A step of the recipe's optimiser has its memory, its weight decay and its rates, and
leaves the optimiser as it is; under Adam the two differ in size by factors of 10 to 1000.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..optim import LARS, adapted
from .hypergradient import Parameters, Slopes, Step


def plain_step(parameters: Parameters, step_size: float) -> Step:
    """psi - step_size * slopes, of detached parameters by name."""

    def step(slopes: Slopes) -> Parameters:
        pairs = [(name, p, slopes[name]) for name, p in parameters.items()]
        return {name: p if slope is None else p - step_size * slope for name, p, slope in pairs}

    return step


def optimizer_step(optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]) -> Step:
    """What the next `optimizer.step()` would make of its own `parameters`, at its rates of now.

    Raises TypeError on an optimiser that no recipe has.
    """
    names = {id(parameter): name for name, parameter in parameters.items()}

    def step(slopes: Slopes) -> Parameters:
        moved = {name: p.detach() for name, p in parameters.items()}
        for group in optimizer.param_groups:
            used = [p for p in group["params"] if slopes[names[id(p)]] is not None]
            own = [names[id(p)] for p in used]
            memories = [optimizer.state.get(p, {}) for p in used]
            moves = _moves(optimizer, group, [moved[name] for name in own], [slopes[name] for name in own], memories)
            moved |= {name: moved[name] - group["lr"] * move for name, move in zip(own, moves, strict=True)}
        return moved

    return step


def _moves(
    optimizer: torch.optim.Optimizer,
    group: dict[str, Any],
    weights: list[Tensor],
    slopes: list[Any],
    memories: list[dict[str, Any]],
) -> list[Tensor]:
    """How far a group's parameters go down, for a rate of one."""
    if isinstance(optimizer, LARS):
        slopes = [
            slope if weight.ndim <= 1 and not group["larc"] else adapted([weight], [slope], group)[0]
            for weight, slope in zip(weights, slopes, strict=True)
        ]
    else:
        slopes = [slope + group["weight_decay"] * weight for weight, slope in zip(weights, slopes, strict=True)]
    if isinstance(optimizer, torch.optim.Adam):
        return [_adam(slope, group, memory) for slope, memory in zip(slopes, memories, strict=True)]
    if isinstance(optimizer, torch.optim.SGD | LARS):
        return [_with_momentum(slope, group, memory) for slope, memory in zip(slopes, memories, strict=True)]
    raise TypeError(f"no virtual step of {type(optimizer).__name__}")


def _with_momentum(slope: Tensor, group: dict[str, Any], memory: dict[str, Any]) -> Tensor:
    before = memory.get("momentum_buffer")
    return slope if before is None else group["momentum"] * before + slope


def _adam(slope: Tensor, group: dict[str, Any], memory: dict[str, Any]) -> Tensor:
    """Kingma and Ba (ICLR 2015), Algorithm 1."""
    decay, decay_of_squares = group["betas"]
    count = float(memory["step"]) + 1 if memory else 1.0
    mean, square = (1 - decay) * slope, (1 - decay_of_squares) * slope**2
    if memory:
        mean, square = mean + decay * memory["exp_avg"], square + decay_of_squares * memory["exp_avg_sq"]
    square = square / (1 - decay_of_squares**count)
    # the square root has no slope at 0; there no slope was ever other than 0, and the mean, its factor, is 0
    root = torch.where(square > 0, torch.where(square > 0, square, 1.0).sqrt(), 0.0)
    move: Tensor = mean / (1 - decay**count) / (root + group["eps"])
    return move
