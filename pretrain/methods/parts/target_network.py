"""Target network: a copy of a network that follows it slowly, as in BYOL and MoCo."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn


class Target(nn.Sequential):
    """A copy of these modules, called in their order, without gradient.

    Only parameters are averaged: it runs in train mode, and its batch-norm buffers are its own (W-MSE code).
    """

    def __init__(self, *online: nn.Module) -> None:
        super().__init__(*(copy.deepcopy(module) for module in online))
        self.requires_grad_(False)

    @torch.no_grad()
    def follow(self, *online: nn.Module, momentum: float) -> None:
        """Move to momentum * itself + (1 - momentum) * the online modules."""
        moved: list[Tensor] = [parameter for module in online for parameter in module.parameters()]
        torch._foreach_lerp_(list(self.parameters()), moved, 1 - momentum)


def ema_momentum(initial: float, progress: float, final: float = 1.0) -> float:
    """Momentum of the target: from `initial` to `final` by a cosine over training (BYOL, section 3.2)."""
    return final - (final - initial) * (math.cos(math.pi * progress) + 1) / 2
