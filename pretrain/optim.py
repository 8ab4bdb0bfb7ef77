"""Optimisers and learning-rate schedules of the recipes: Adam, SGD, LARS; warm-up, then steps or a cosine."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .run import Optimizer, Run

LARS_EPS = 1e-8  # solo-learn


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rates (You et al., 2017) in the two forms that self-supervised learning uses.

    With `clip`, solo-learn's: the local rate never exceeds the global one, and vectors (biases, batch norm) as well as
    tensors whose weight or gradient is zero get plain momentum SGD without weight decay. Without, Barlow Twins':
    no clipping and no eps, a ratio of 1 where a norm is zero, weight decay on every matrix.
    """

    def __init__(
        self, parameters: Iterable[Tensor], *, lr: float, weight_decay: float, momentum: float, trust: float, clip: bool
    ) -> None:
        super().__init__(
            parameters,
            {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "trust": trust, "clip": clip},
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                update = parameter.grad if parameter.ndim <= 1 else _adapted(parameter, parameter.grad, group)
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                state["momentum_buffer"].mul_(group["momentum"]).add_(update)
                parameter.add_(state["momentum_buffer"], alpha=-group["lr"])


def _adapted(weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
    """Gradient with weight decay, times the layer's trust ratio; no branch on device values."""
    decay, trust = group["weight_decay"], group["trust"]
    decayed = gradient.add(weight, alpha=decay)
    weight_norm = weight.norm()
    if group["clip"]:
        gradient_norm = gradient.norm()
        ratio = trust * weight_norm / (gradient_norm + decay * weight_norm + LARS_EPS)
        ratio = (ratio / group["lr"]).clamp(max=1.0) if group["lr"] > 0 else torch.ones_like(ratio)
        return torch.where((weight_norm > 0) & (gradient_norm > 0), decayed * ratio, gradient)
    decayed_norm = decayed.norm()
    ratio = torch.where((weight_norm > 0) & (decayed_norm > 0), trust * weight_norm / decayed_norm, 1.0)
    return decayed * ratio


def build_optimizer(parameters: Iterable[Tensor], settings: Optimizer, lr: float) -> torch.optim.Optimizer:
    """The optimiser of a recipe. Weight decay is an L2 term in the gradient, on all parameters but LARS's vectors."""
    parameters = list(parameters)
    if settings.name == "adam":
        return torch.optim.Adam(parameters, lr=lr, weight_decay=settings.weight_decay)
    if settings.name == "sgd":
        return torch.optim.SGD(parameters, lr=lr, weight_decay=settings.weight_decay, momentum=settings.momentum)
    return LARS(
        parameters,
        lr=lr,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
        trust=settings.trust,
        clip=settings.clip,
    )


def learning_rate(run: Run, step: int, steps_per_epoch: int) -> float:
    """Learning rate of update number `step`, counted from 0.

    The last warm-up step reaches the peak. `steps` falls by `drop_factor` at each of `drops` epochs before the end; a
    drop that would come before a short run's first epoch does not happen, as in the W-MSE code. `cosine` goes from
    the peak to `final` times the peak over what warm-up leaves.
    """
    schedule, peak = run.schedule, run.peak_lr
    total = run.epochs * steps_per_epoch
    warmup = schedule.warmup_steps + round(schedule.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return schedule.warmup_from + (peak - schedule.warmup_from) * (step + 1) / warmup
    if schedule.kind == "steps":
        passed = sum(step >= total - drop * steps_per_epoch for drop in schedule.drops if drop < run.epochs)
        return peak * schedule.drop_factor**passed
    share = (step - warmup) / max(1, total - warmup)
    return peak * (schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * share)) / 2)
