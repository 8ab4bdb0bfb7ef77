"""The outer loss on the next batch, against second-order autodiff of its definition, and over a restart."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from compmod.pretrain.networks.running_statistics import frozen_statistics
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import Comprehensive
from compmod.pretrain.training.objective import build_objective
from compmod.pretrain.two_level.objective import TwoLevelObjective, _outputs
from small_runs import IMAGES, SIDE, small, small_batch
from torch import Tensor

WITH_PLUS = [name for name, entry in METHODS.items() if entry.plus]
RATE = 0.1
Update = Callable[[TwoLevelObjective], None]


def build(method: str, **settings: Any) -> TwoLevelObjective:
    run = small(f"{method}+")
    settings = {"outer_batch": "next", "lambda2": 0.0, "alpha": 0.3, **settings}
    objective = build_objective(replace(run, compmod=replace(run.compmod, **settings)), SIDE, IMAGES).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in objective.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
    assert isinstance(objective, TwoLevelObjective)
    return objective


def plain_sgd(objective: TwoLevelObjective) -> None:
    with torch.no_grad():
        for p in objective.psi.values():
            if p.grad is not None:
                p -= RATE * p.grad


def sign_descent(objective: TwoLevelObjective) -> None:
    """As unlike a plain step as Adam's first."""
    with torch.no_grad():
        for p in objective.psi.values():
            if p.grad is not None:
                p -= 0.01 * p.grad.sign()


def flat(gradients: Any) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])


def reference(objective: TwoLevelObjective, method: str, update: Update) -> tuple[Tensor, Tensor]:
    """dG/dxi by differentiating the definition of G at the start of two_level/next_batch.py; and xi's part in it.

    Everything is computed with the weights of the modules themselves: the virtual step as a graph, then the next batch
    at weights that hold it.
    """
    first, second = (small_batch(method, step) for step in range(2))
    psi = {name: p.detach().clone().requires_grad_() for name, p in objective.psi.items()}
    xi = objective.xi
    with frozen_statistics(objective):
        embedded, ssl = _with(objective, psi, lambda: _loss(objective, first))
        y = _outputs(embedded)
        couplings = [regulariser.on(first, len(y.z1)) for regulariser in objective.active]
        inner = ssl + sum(c.weight * c(y)[0] for c in couplings)
        slopes = torch.autograd.grad(inner, list(psi.values()), create_graph=True, materialize_grads=True)
    objective.backward(first, lr=RATE)
    update(objective)
    objective.after_step(0.0)
    moved = {
        name: p.detach() - RATE * (slope - slope.detach())
        for (name, p), slope in zip(objective.psi.items(), slopes, strict=True)
    }
    with frozen_statistics(objective):
        _, outer = _with(objective, moved, lambda: _loss(objective, second))
        exact = torch.autograd.grad(outer, xi, materialize_grads=True)
    return flat(exact), flat([p.detach() for p in xi])


def _loss(objective: TwoLevelObjective, batch: Any) -> Any:
    targets = objective.method.targets(batch)
    embedded = objective.method.embed(batch.views)
    return embedded, objective.method.loss(embedded, targets)


def _with(objective: TwoLevelObjective, psi: dict[str, Tensor], function: Callable[[], Any]) -> Any:
    """The function's value with these tensors in the modules' places."""
    places = []
    for name, tensor in psi.items():
        path, _, attribute = name.rpartition(".")
        module = objective.method.get_submodule(path)
        places.append((module, attribute, module._parameters[attribute]))
        module._parameters[attribute] = tensor  # type: ignore[assignment]
    try:
        return function()
    finally:
        for module, attribute, parameter in places:
            module._parameters[attribute] = parameter


@pytest.mark.parametrize("update", [plain_sgd, sign_descent])
@pytest.mark.parametrize("flow", ["through", "stop"])
@pytest.mark.parametrize("method", WITH_PLUS)
def test_it_equals_second_order_autodiff_of_its_definition(method: str, flow: str, update: Update) -> None:
    objective = build(method, flow=flow)
    expected, _ = reference(copy.deepcopy(objective), method, update)
    objective.backward(small_batch(method, 0), lr=RATE)
    assert not any(p.grad.any() for p in objective.regularisers.parameters() if p.grad is not None)
    update(objective)
    objective.after_step(0.0)
    with torch.no_grad():
        for p in objective.xi:  # the optimiser may have moved xi meanwhile, and the step's gradient is at its old place
            p += 0.05
    objective.backward(small_batch(method, 1), lr=0.7)  # another rate than that of the step
    ours = flat([torch.zeros_like(p) if p.grad is None else p.grad for p in objective.xi])
    part = slice(-sum(p.numel() for p in objective.regularisers.parameters()), None)
    assert expected[part].norm() > 1e-8
    assert (ours - expected)[part].norm() / expected[part].norm() < 1e-10


@pytest.mark.parametrize("method", ["simclr", "byol", "swav"])
def test_the_methods_gradient_and_losses_are_those_of_the_same_batch(method: str) -> None:
    one, other = build(method), build(method, outer_batch="same")
    logged = [objective.backward(small_batch(method, 0), lr=RATE) for objective in (one, other)]
    for name in ("loss", "loss_ssl", "loss_mcr", "loss_comp"):
        torch.testing.assert_close(logged[0][name], logged[1][name], rtol=0, atol=0)
    for ours, theirs in zip(one.psi.values(), other.psi.values(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("flow", ["through", "stop"])
def test_a_restored_step_goes_on_to_the_same_bits(flow: str) -> None:
    straight = build("simclr", flow=flow, lambda2=0.1)
    for step in range(2):
        straight.backward(small_batch("simclr", step), lr=RATE)
        plain_sgd(straight)
    state, pending = copy.deepcopy(straight.state_dict()), copy.deepcopy(straight.pending_state())
    straight.backward(small_batch("simclr", 2), lr=RATE)

    resumed = build("simclr", flow=flow, lambda2=0.1)
    resumed.load_state_dict(state)
    resumed.restore_pending(pending)
    assert resumed.incomplete
    assert resumed.pending_state() is not None  # a stop before the first step loses nothing
    resumed.complete_pending(small_batch("simclr", 1))
    resumed.backward(small_batch("simclr", 2), lr=RATE)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(straight.xi, resumed.xi, strict=True))  # type: ignore[arg-type]
    for name, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_a_checkpoint_of_another_step_is_refused() -> None:
    objective = build("simclr")
    for state in (None, {"psi": {}, "xi": [], "step_size": 0.1}):
        with pytest.raises((ValueError, KeyError)):
            objective.restore_pending(state)


@pytest.mark.parametrize("settings", [{"training": "joint"}, {"hypergradient": "unrolled"}])
def test_it_needs_the_two_level_jvp(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="outer_batch next needs training two-level and hypergradient jvp"):
        Comprehensive(outer_batch="next", **settings)


def test_its_digest_is_its_own() -> None:
    run = small("simclr+")
    assert replace(run, compmod=replace(run.compmod, outer_batch="next")).digest != run.digest
    assert replace(run, compmod=replace(run.compmod, outer_batch="same")).digest == run.digest
