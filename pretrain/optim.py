"""Optimisers and learning-rate schedules of the recipes: Adam, SGD, LARS, LARC; warm-up, then steps or a cosine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from .specs.run import Optimizer, Run

LARS_EPS = 1e-8  # solo-learn; LARC's too (NVIDIA apex)
PREDICTOR = "predictor."  # how the names of a predictor's parameters start


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rates (You et al., 2017) in the two forms that self-supervised learning uses.

    With `clip`, solo-learn's: the local rate never exceeds the global one, and vectors (biases, batch norm) as well as
    tensors whose weight or gradient is zero get plain momentum SGD without weight decay. Without, Barlow Twins':
    no clipping and no eps, a ratio of 1 where a norm is zero, weight decay on every matrix.

    `larc` is NVIDIA apex's LARC, which SwAV uses: solo-learn's ratio, clipped or not, on vectors as on all else.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
        trust: float,
        clip: bool,
        larc: bool = False,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "trust": trust, "clip": clip}
        super().__init__(parameters, defaults | {"larc": larc})

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("larc", False)  # a checkpoint from before LARC has no such key

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient, of all of a group together; the device is not read."""
        for group in self.param_groups:
            trained = [parameter for parameter in group["params"] if parameter.grad is not None]
            plain = [parameter for parameter in trained if parameter.ndim <= 1 and not group["larc"]]
            matrices = [parameter for parameter in trained if parameter.ndim > 1 or group["larc"]]
            if plain:
                self._move(plain, [parameter.grad for parameter in plain], group)
            if matrices:
                self._move(matrices, adapted(matrices, [parameter.grad for parameter in matrices], group), group)

    def _move(self, parameters: list[Tensor], updates: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        buffers = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, updates)
        torch._foreach_add_(parameters, buffers, alpha=-group["lr"])


def adapted(weights: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
    """Gradients with weight decay, each times its layer's trust ratio; no branch on device values. T tensors."""
    decay, trust = group["weight_decay"], group["trust"]
    updates = torch._foreach_add(gradients, weights, alpha=decay)
    weight_norm_T = torch.stack(torch._foreach_norm(weights))
    if group["clip"] or group["larc"]:
        gradient_norm_T = torch.stack(torch._foreach_norm(gradients))
        ratio_T = trust * weight_norm_T / (gradient_norm_T + decay * weight_norm_T + LARS_EPS)
        if group["clip"]:
            ratio_T = (ratio_T / group["lr"]).clamp(max=1.0) if group["lr"] > 0 else torch.ones_like(ratio_T)
        # Without weights the decayed gradient is the gradient; without a gradient the weights stay as they are.
        ratio_T = torch.where(weight_norm_T > 0, ratio_T, 1.0).where(gradient_norm_T > 0, 0.0)
    else:
        decayed_norm_T = torch.stack(torch._foreach_norm(updates))
        ratio_T = trust * weight_norm_T / decayed_norm_T
        ratio_T = torch.where((weight_norm_T > 0) & (decayed_norm_T > 0), ratio_T, 1.0)
    return list(torch._foreach_mul(updates, ratio_T.unbind()))  # not in place: a virtual step is differentiated


def build_optimizer(
    parameters: Mapping[str, Tensor] | Iterable[Tensor], settings: Optimizer, lr: float
) -> torch.optim.Optimizer:
    """The optimiser of a recipe. Weight decay is an L2 term in the gradient, on all parameters but LARS's vectors.

    A mapping gives parameters their names, by which a recipe may treat some apart; `set_rate` must then set the rate.
    On CUDA, Adam and SGD are one kernel.
    """
    groups = _groups(parameters, settings, lr)
    if settings.name in ("adam", "sgd"):
        fused = True if all(tensor.is_cuda for group in groups for tensor in group["params"]) else None
        optimizer: torch.optim.Optimizer
        if settings.name == "adam":
            optimizer = torch.optim.Adam(groups, lr=lr, weight_decay=settings.weight_decay, fused=fused)
        else:
            decay, momentum = settings.weight_decay, settings.momentum
            optimizer = torch.optim.SGD(groups, lr=lr, weight_decay=decay, momentum=momentum, fused=fused)
        if fused:
            optimizer.register_step_pre_hook(_lay_out_gradients)
        return optimizer
    return LARS(
        groups,
        lr=lr,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
        trust=settings.trust,
        clip=settings.clip,
        larc=settings.name == "larc",
    )


def _lay_out_gradients(optimizer: torch.optim.Optimizer, *_: object) -> None:
    """Give gradients the memory layout of their parameters, which a fused kernel expects."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and parameter.grad.stride() != parameter.stride():
                parameter.grad = torch.empty_like(parameter).copy_(parameter.grad)


def _groups(
    parameters: Mapping[str, Tensor] | Iterable[Tensor], settings: Optimizer, lr: float
) -> list[dict[str, Any]]:
    """Parameters by how their rate follows the schedule's: its `share`, and whether it stays at the peak."""
    named = parameters.items() if isinstance(parameters, Mapping) else (("", tensor) for tensor in parameters)
    vector_share = settings.vector_lr / settings.lr if settings.vector_lr else 1.0
    groups: dict[tuple[float, bool], list[Tensor]] = {}
    for name, tensor in named:
        share = vector_share if tensor.ndim <= 1 else 1.0
        constant = settings.constant == "predictor" and name.startswith(PREDICTOR)
        groups.setdefault((share, constant), []).append(tensor)
    return [
        {"params": tensors, "lr": share * lr, "share": share, "constant": constant}
        for (share, constant), tensors in groups.items()
    ]


def set_rate(optimizer: torch.optim.Optimizer, lr: float, peak: float) -> None:
    """Give every parameter the rate that its recipe asks for while the schedule is at `lr`, on its way from `peak`."""
    for group in optimizer.param_groups:  # a checkpoint from before there were shares has neither key
        group["lr"] = group.get("share", 1.0) * (peak if group.get("constant", False) else lr)


def learning_rate(run: Run, step: int, steps_per_epoch: int) -> float:
    """Learning rate of update number `step`, counted from 0.

    The last warm-up step reaches the peak. `steps` falls by `drop_factor` at each of `drops` epochs before the end; a
    drop that would come before a short run's first epoch does not happen, as in the W-MSE code. `cosine` goes from
    the peak to `final` times the peak over what warm-up leaves, at each step or once an epoch.
    """
    schedule, peak = run.schedule, run.peak_lr
    total = run.epochs * steps_per_epoch
    warmup = schedule.warmup_steps + round(schedule.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return schedule.warmup_from + (peak - schedule.warmup_from) * (step + 1) / warmup
    if schedule.kind == "steps":
        passed = sum(step >= total - drop * steps_per_epoch for drop in schedule.drops if drop < run.epochs)
        return peak * schedule.drop_factor**passed
    if schedule.moves == "epoch":
        step = max(warmup, step - step % steps_per_epoch)
    share = (step - warmup) / max(1, total - warmup)
    return peak * (schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * share)) / 2)
