"""The exact hypergradient against second-order autodiff, on convolutional trunks with batch norm."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from compmod.pretrain.networks.running_statistics import frozen_statistics
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.training.objective import build_objective
from compmod.pretrain.two_level import hypergradient
from compmod.pretrain.two_level.objective import TwoLevelObjective
from small_runs import IMAGES, SIDE, small, small_batch
from torch import Tensor, nn

WITH_PLUS = [name for name, entry in METHODS.items() if entry.plus]


def build(method: str, **settings: Any) -> TwoLevelObjective:
    """A small float64 CompMod with batch norms off their initial values."""
    run = small(f"{method}+")
    run = replace(run, compmod=replace(run.compmod, alpha=0.3, **settings))
    objective = build_objective(run, SIDE, IMAGES).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in objective.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
    return objective


def hyper(method: str, lr: float = 0.1, **settings: Any) -> Tensor:
    """The two-level part of xi's gradient, flat."""
    objective = build(method, lambda2=0.0, **settings)
    objective.backward(small_batch(method), lr=lr)
    return torch.cat([p.grad.flatten() for p in objective.regularisers.parameters() if p.grad is not None])


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("flow", ["through", "stop"])
@pytest.mark.parametrize("fusion", ["concatenate", "mixup", "embedding"])
@pytest.mark.parametrize("method", WITH_PLUS)
def test_jvp_equals_unrolled(method: str, fusion: str, flow: str) -> None:
    exact = hyper(method, fusion=fusion, flow=flow, hypergradient="unrolled")
    assert exact.norm() > 1e-6
    assert distance(hyper(method, fusion=fusion, flow=flow, hypergradient="jvp"), exact) < 1e-10


@pytest.mark.parametrize("scale", ["literal", "per_sample"])
@pytest.mark.parametrize("virtual_lr", [None, 0.02])
def test_jvp_equals_unrolled_at_either_scale_and_virtual_rate(scale: str, virtual_lr: float | None) -> None:
    settings = {"scale": scale, "virtual_lr": virtual_lr, "warmup": "on", "flow": "through"}
    exact = hyper("simclr", hypergradient="unrolled", **settings)
    assert distance(hyper("simclr", hypergradient="jvp", **settings), exact) < 1e-10


@pytest.mark.parametrize("flow", ["through", "stop"])
@pytest.mark.parametrize("method", WITH_PLUS)
def test_finite_differences_approach_unrolled_with_a_small_step(
    method: str, flow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hypergradient, "FINITE_DIFFERENCE_STEP", 1e-6)
    exact = hyper(method, flow=flow, hypergradient="unrolled")
    assert distance(hyper(method, flow=flow, hypergradient="finite-difference"), exact) < 1e-3


@pytest.mark.parametrize("backend", ["jvp", "unrolled", "finite-difference"])
def test_without_lambda1_the_hypergradient_is_zero(backend: str) -> None:
    assert hyper("simclr", lambda1=0.0, hypergradient=backend).abs().max() < 1e-15


def test_none_gives_no_hypergradient() -> None:
    assert not hyper("simclr", hypergradient="none").any()


def test_doubling_a_small_virtual_rate_doubles_the_hypergradient() -> None:
    one, two = (hyper("simclr", virtual_lr=rate) for rate in (1e-10, 2e-10))
    assert distance(two, 2 * one) < 1e-4


@pytest.mark.parametrize("backend", ["jvp", "unrolled", "finite-difference", "none"])
@pytest.mark.parametrize("method", WITH_PLUS)
def test_the_two_level_part_leaves_every_buffer_and_weight_alone(method: str, backend: str) -> None:
    """Running statistics move once a view, by the ordinary forward pass; nothing else moves at all."""
    objective = build(method, hypergradient=backend)
    plain = build(method, hypergradient=backend, training="joint")
    weights = {name: p.clone() for name, p in objective.named_parameters()}
    for each in (objective, plain):
        each.backward(small_batch(method), lr=0.1)
    buffers = dict(plain.named_buffers())
    assert buffers
    for name, buffer in objective.named_buffers():
        assert torch.equal(buffer, buffers[name]), name
    assert all(torch.equal(p, weights[name]) for name, p in objective.named_parameters())


def test_frozen_statistics_are_released_after_an_error() -> None:
    network = nn.BatchNorm2d(3)

    def fail() -> None:
        with frozen_statistics(network):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert network.track_running_stats


def test_finite_differences_with_the_customary_step_are_far_off_in_float32() -> None:
    """Why they are no default: the spec offers them, and this keeps the reason on record."""

    def in_float32(backend: str) -> Tensor:
        objective = build("simclr", lambda2=0.0, hypergradient=backend).float()
        objective.backward(small_batch("simclr", dtype=torch.float32), lr=0.1)
        return torch.cat([p.grad.flatten() for p in objective.xi if p.grad is not None])

    exact = in_float32("unrolled")
    assert distance(in_float32("jvp"), exact) < 1e-3
    assert distance(in_float32("finite-difference"), exact) > 0.05
