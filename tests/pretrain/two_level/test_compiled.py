"""Compiled networks: a hypergradient is never taken through one, and compiled steps equal eager ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from compmod.pretrain.networks.running_statistics import frozen_statistics
from compmod.pretrain.training.objective import Objective, build_objective
from compmod.pretrain.training.session import Session
from compmod.pretrain.two_level.hypergradient import jacobian_vector_product
from compmod.pretrain.two_level.kept import KeptActivations, eager
from process_group import group_of_one_process
from small_runs import IMAGES, SIDE, small, small_batch
from torch import Tensor, nn
from torch.nn import functional

# PyTorch's advice to whoever has this one version of Python
pytestmark = pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0:RuntimeWarning")


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


# PyTorch's own, while it compiles a part whose input is computed
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("change", [_in_place, _a_part, _a_function, _its_forward])
def test_a_step_is_exact_whatever_a_user_has_compiled(change: Callable[[Objective], None]) -> None:
    assert_same(gradients("simclr+", change), gradients("simclr+"))


class _Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * 2


class _Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part, self.norm = _Part(), nn.BatchNorm1d(2)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.part(x)))


def _refuse(graph: Any, inputs: Any) -> Any:
    raise AssertionError("compiled code was asked for")


@pytest.mark.parametrize("how", ["in place", "wrapped", "forward", "part"])
def test_no_compiled_code_runs_in_a_forward_mode_pass(how: str) -> None:
    torch.manual_seed(0)
    network, x = _Whole().double(), torch.randn(4, 3, dtype=torch.float64)
    primal = {name: p.detach() for name, p in network.named_parameters()}
    tangent = {name: torch.ones_like(p) for name, p in primal.items()}
    compiled, prefix = network, ""
    if how == "wrapped":
        compiled, prefix = torch.compile(network, backend=_refuse), "_orig_mod."  # type: ignore[assignment]
    elif how == "forward":
        network.forward = torch.compile(network.forward, backend=_refuse)  # type: ignore[method-assign]
    else:
        (network if how == "in place" else network.part).compile(backend=_refuse)

    def call(parameters: Any) -> Any:
        named = {prefix + name: p for name, p in parameters.items()}
        return (torch.func.functional_call(compiled, named, (x,)),)

    with frozen_statistics(network):
        kept = KeptActivations(1.0)
        with eager(), kept:
            call(primal)
        (ours,) = jacobian_vector_product(call, primal, tangent, kept)
        with pytest.raises(Exception, match="compiled code was asked for"):
            call(primal)
        with eager():
            _, (theirs,) = torch.func.jvp(call, (primal,), (tangent,))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_compile_and_recompute_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="compile and recompute exclude each other"):
        Session(compile=True, recompute=True)


def test_several_processes_do_not_compile() -> None:
    objective = build_objective(small("simclr"), SIDE, IMAGES)
    with group_of_one_process(2), pytest.raises(ValueError, match="compile is for one process, and 2 share this run"):
        _compiled(objective)


def _compiled(objective: Objective) -> None:
    objective.compute_as(Session(compile=True))


@pytest.mark.parametrize("name", ["simclr", "byol", "simclr+"])
def test_a_step_of_what_a_compiler_sees_equals_an_eager_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of torch.compile but the kernels: graphs, and their backward passes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    assert_same(gradients(name, _compiled), gradients(name))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")  # in Inductor's own imports
@pytest.mark.parametrize("name", ["byol", "simclr+"])
def test_a_compiled_step_equals_an_eager_one(name: str) -> None:
    assert_same(gradients(name, _compiled), gradients(name))
