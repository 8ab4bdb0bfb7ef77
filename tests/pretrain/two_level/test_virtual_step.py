"""Virtual steps: those of a recipe's optimiser against the optimiser itself, and their hypergradient."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from compmod.pretrain.networks.running_statistics import frozen_statistics
from compmod.pretrain.optim import build_optimizer, set_rate
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import Comprehensive, Optimizer
from compmod.pretrain.training.objective import build_objective
from compmod.pretrain.two_level.objective import TwoLevelObjective
from compmod.pretrain.two_level.virtual_step import optimizer_step
from small_runs import IMAGES, SIDE, small, small_batch
from torch import Tensor

WITH_PLUS = [name for name, entry in METHODS.items() if entry.plus]
SETTINGS = [
    Optimizer(name="adam", lr=0.01, weight_decay=0.1),
    Optimizer(name="sgd", lr=0.01, weight_decay=0.1, momentum=0.7, constant="predictor"),
    Optimizer(name="lars", lr=0.3, weight_decay=0.1, trust=0.5),
    Optimizer(name="lars", lr=0.3, weight_decay=0.1, trust=0.5, clip=False, vector_lr=0.02),
    Optimizer(name="larc", lr=0.3, weight_decay=0.1, trust=0.5, clip=False),
]


def ids(settings: Optimizer) -> str:
    return f"{settings.name}{'' if settings.clip else '-unclipped'}"


def trained(settings: Optimizer, method: str, steps: int = 3, **compmod: Any) -> TwoLevelObjective:
    """A small float64 "+" objective after some steps of this optimiser, which it knows."""
    run = small(f"{method}+")
    run = replace(run, compmod=replace(run.compmod, alpha=0.3, lambda2=0.0, **compmod))
    objective = build_objective(run, SIDE, IMAGES).double()
    assert isinstance(objective, TwoLevelObjective)
    objective.optimizer = build_optimizer(objective.psi, settings, settings.lr)
    for step in range(steps):
        set_rate(objective.optimizer, settings.lr / (step + 1), settings.lr)
        objective.backward(small_batch(method), lr=0.01)
        objective.optimizer.step()
    return objective


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("settings", SETTINGS, ids=ids)
def test_it_goes_where_the_optimiser_goes_and_leaves_it_as_it_is(settings: Optimizer, steps: int) -> None:
    objective = trained(settings, "simsiam", steps)
    optimizer, psi = objective.optimizer, objective.psi
    assert optimizer is not None
    slopes = {name: torch.randn_like(p) for name, p in psi.items()}
    unused = next(iter(slopes))
    before = copy.deepcopy(optimizer.state_dict())
    moved = optimizer_step(optimizer, psi)({**slopes, unused: None})
    torch.testing.assert_close(optimizer.state_dict(), before, rtol=0, atol=0)
    for name, p in psi.items():
        p.grad = None if name == unused else slopes[name]
    optimizer.step()
    for name, p in psi.items():
        torch.testing.assert_close(moved[name], p.detach(), rtol=1e-12, atol=1e-14)


def hyper(objective: TwoLevelObjective, method: str) -> Tensor:
    """The two-level part of xi's gradient, flat; lambda2 is 0."""
    objective.backward(small_batch(method), lr=0.01)
    return torch.cat([p.grad.flatten() for p in objective.xi if p.grad is not None])


@pytest.mark.parametrize("flow", ["through", "stop"])
@pytest.mark.parametrize("method", WITH_PLUS)
def test_jvp_equals_unrolled_under_adam(method: str, flow: str) -> None:
    both = [
        hyper(trained(SETTINGS[0], method, flow=flow, virtual_step="optimizer", hypergradient=backend), method)
        for backend in ("unrolled", "jvp")
    ]
    assert both[0].norm() > 1e-8
    assert (both[1] - both[0]).norm() / both[0].norm() < 1e-9


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("settings", SETTINGS, ids=ids)
def test_jvp_equals_unrolled_under_every_optimiser(settings: Optimizer, steps: int) -> None:
    both = [
        hyper(trained(settings, "simclr", steps, virtual_step="optimizer", hypergradient=backend), "simclr")
        for backend in ("unrolled", "jvp")
    ]
    assert both[0].norm() > 1e-8
    assert (both[1] - both[0]).norm() / both[0].norm() < 1e-9


@pytest.mark.parametrize("settings", SETTINGS, ids=ids)
def test_it_is_the_slope_of_the_loss_after_a_real_step(settings: Optimizer) -> None:
    """Differences of the loss where the optimiser itself has stepped, with g_xi moved a little either way."""
    objective = trained(settings, "simclr", virtual_step="optimizer")
    exact = hyper(copy.deepcopy(objective), "simclr")
    along = torch.randn(exact.shape, dtype=exact.dtype, generator=torch.Generator().manual_seed(5))

    def loss_after(size: float) -> float:
        there = copy.deepcopy(objective)
        start = 0
        with torch.no_grad():
            for p in there.xi:
                p += size * along[start : start + p.numel()].view_as(p)
                start += p.numel()
        there.backward(small_batch("simclr"), lr=0.01)
        assert there.optimizer is not None
        assert all(any(p is q for g in there.optimizer.param_groups for q in g["params"]) for p in there.psi.values())
        there.optimizer.step()
        with frozen_statistics(there):
            return float(there.backward(small_batch("simclr"), lr=0.01)["loss_ssl"])

    difference = (loss_after(1e-5) - loss_after(-1e-5)) / 2e-5
    assert difference == pytest.approx(float(exact @ along), rel=1e-5)


def test_plain_sgd_is_a_plain_step() -> None:
    settings = Optimizer(name="sgd", lr=0.01, momentum=0.0, weight_decay=0.0)
    both = [hyper(trained(settings, "byol", 1, virtual_step=step), "byol") for step in ("plain", "optimizer")]
    assert (both[1] - both[0]).norm() / both[0].norm() < 1e-10


def test_what_it_excludes_is_refused() -> None:
    with pytest.raises(ValueError, match="needs outer_batch same and no virtual_lr of its own"):
        Comprehensive(virtual_step="optimizer", outer_batch="next")
    with pytest.raises(ValueError, match="needs outer_batch same and no virtual_lr of its own"):
        Comprehensive(virtual_step="optimizer", virtual_lr=0.1)
