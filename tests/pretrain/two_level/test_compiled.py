"""Compiled networks: a hypergradient is never taken through one, and compiled steps equal eager ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import torch
from compmod.pretrain.training.objective import Objective, build_objective
from compmod.pretrain.two_level.hypergradient import jacobian_vector_product
from small_runs import IMAGES, SIDE, small, small_batch
from torch import Tensor, nn


@pytest.fixture(autouse=True)
def _compile_anew() -> None:
    torch.compiler.reset()


def gradients(name: str, change: Callable[[Objective], None] = lambda _: None) -> list[Tensor]:
    """Losses and gradients of one step."""
    objective = build_objective(small(name), SIDE, IMAGES).double()
    change(objective)
    logged = objective.backward(small_batch(name.removesuffix("+")), lr=0.1)
    parameters = [*objective.psi.values(), *objective.xi]
    return [*logged.values(), *(p.grad for p in parameters if p.grad is not None)]


def assert_same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def _in_place(objective: Objective) -> None:
    objective.method.backbone.compile(backend="aot_eager")


def _a_part(objective: Objective) -> None:
    objective.method.backbone.layer1.compile(backend="aot_eager")


def _a_function(objective: Objective) -> None:
    objective.method.embed = torch.compile(objective.method.embed, backend="aot_eager")  # type: ignore[method-assign]


def _its_forward(objective: Objective) -> None:
    trunk = objective.method.backbone
    trunk.forward = torch.compile(trunk.forward, backend="aot_eager")  # type: ignore[method-assign]


@pytest.mark.parametrize("change", [_in_place, _a_part, _a_function, _its_forward])
def test_a_step_is_exact_whatever_a_user_has_compiled(change: Callable[[Objective], None]) -> None:
    assert_same(gradients("simclr+", change), gradients("simclr+"))


def test_compiled_code_drops_derivatives_without_an_error_unless_it_runs_as_written() -> None:
    """Why the forward-mode pass turns compiled code off: the day PyTorch differentiates it, this says so."""
    torch.manual_seed(0)
    network, x = nn.Linear(3, 2).double(), torch.randn(4, 3, dtype=torch.float64)
    compiled = torch.compile(network, backend="aot_eager")
    primal = {name: p.detach() for name, p in network.named_parameters()}
    tangent = {name: torch.ones_like(p) for name, p in primal.items()}

    def call(parameters: dict[str, Tensor]) -> tuple[Tensor]:
        named = {f"_orig_mod.{name}": p for name, p in parameters.items()}
        return (torch.func.functional_call(compiled, named, (x,)),)

    (ours,) = jacobian_vector_product(call, primal, tangent)
    torch.testing.assert_close(ours, x.sum(1, keepdim=True).expand(4, 2) + 1)
    with torch.no_grad(), torch.autograd.forward_ad.dual_level():
        (out,) = call({name: torch.autograd.forward_ad.make_dual(p, tangent[name]) for name, p in primal.items()})
        assert torch.autograd.forward_ad.unpack_dual(out).tangent is None


def test_compile_and_recompute_exclude_each_other() -> None:
    objective = build_objective(small("simclr"), SIDE, IMAGES)
    objective.recompute_activations()
    with pytest.raises(ValueError, match="compile and recompute exclude each other"):
        objective.compile()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="Inductor needs a C++ compiler")
@pytest.mark.parametrize("name", ["simclr", "byol", "simclr+"])
def test_compiled_equals_eager(name: str) -> None:
    assert_same(gradients(name, Objective.compile), gradients(name))
