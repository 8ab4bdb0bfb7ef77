"""Recomputation: with activations computed again in the backward pass, every method makes the same step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from compmod.pretrain.networks.recomputation import Recomputable, recompute_activations
from compmod.pretrain.networks.resnet import ResNet
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import Backbone, Run
from compmod.pretrain.training.objective import Objective, build_objective
from small_runs import IMAGES, SIDE, small, small_batch
from torch import nn

ALL = [*METHODS, *(f"{name}+" for name in METHODS if METHODS[name].plus)]
OTHERS = [
    *({"hypergradient": backend} for backend in ("unrolled", "finite-difference", "none")),
    *({"training": training} for training in ("joint", "comp-only")),
]


def built(run: Run, *, recompute: bool) -> Objective:
    objective = build_objective(run, SIDE, IMAGES).double()
    if recompute:
        objective.recompute_activations()
    return objective


def steps(objective: Objective, run: Run) -> list[dict[str, torch.Tensor]]:
    """What two steps log and leave: gradients, running statistics, everything."""
    left = []
    for step in range(2):
        logged = objective.backward(small_batch(run.method, step), lr=0.1)
        named = {f"psi.{name}": p for name, p in objective.psi.items()}
        named |= {f"xi.{number}": p for number, p in enumerate(objective.xi)}
        gradients = {f"gradient of {name}": p.grad.clone() for name, p in named.items() if p.grad is not None}
        with torch.no_grad():
            for parameter in named.values():
                if parameter.grad is not None:
                    parameter -= 0.1 * parameter.grad
        objective.after_step(step / 2)
        left.append(logged | gradients | {name: value.clone() for name, value in objective.state_dict().items()})
    return left


def assert_same(run: Run) -> None:
    plain, again = (steps(built(run, recompute=recompute), run) for recompute in (False, True))
    for expected, actual in zip(plain, again, strict=True):
        assert expected.keys() == actual.keys()
        for name, value in expected.items():
            torch.testing.assert_close(actual[name], value, rtol=1e-10, atol=1e-14, msg=name)


@pytest.mark.parametrize("name", ALL)
def test_a_step_of_every_method_is_the_same(name: str) -> None:
    assert_same(small(name))


@pytest.mark.parametrize("changes", OTHERS, ids=str)
def test_a_step_is_the_same_however_compmod_is_trained(changes: dict[str, str]) -> None:
    run = small("byol+")
    assert_same(replace(run, compmod=replace(run.compmod, **changes)))


def test_the_backward_pass_uses_the_parameters_of_the_call_and_not_those_of_the_module() -> None:
    """torch.func.functional_call has taken its parameters out again before the gradient is asked for."""
    trunk = ResNet(Backbone(name="resnet10", width=4), 4).double()
    others = {name: (p + 0.3).detach().requires_grad_() for name, p in trunk.named_parameters()}
    x = torch.randn(6, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients = []
    for recompute in (False, True):
        if recompute:
            recompute_activations(trunk)
        out = torch.func.functional_call(trunk, others, (x,))
        gradients.append(torch.autograd.grad(out.square().sum(), list(others.values())))
    for expected, actual in zip(*gradients, strict=True):
        assert torch.equal(expected, actual)


def test_batch_norm_counts_a_batch_once() -> None:
    trunk = ResNet(Backbone(name="resnet10", width=4), 4)
    recompute_activations(trunk)
    out = trunk(torch.randn(6, 3, SIDE, SIDE))
    before = {name: buffer.clone() for name, buffer in trunk.named_buffers()}
    assert before["layer4.0.bn1.num_batches_tracked"] == 1
    out.sum().backward()
    for name, buffer in trunk.named_buffers():
        assert torch.equal(buffer, before[name]), name


class Counted(nn.Linear):
    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        type(self).calls += 1
        return super().forward(x)


def test_a_part_is_computed_again_for_a_gradient_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counted, "calls", 0)
    part, network = Counted(3, 3), Recomputable()
    network.recompute = True
    x = torch.ones(2, 3)
    with torch.no_grad():
        network.part(part, x)
    assert Counted.calls == 1
    network.part(part, x).sum().backward()
    assert Counted.calls == 3


def test_recomputation_keeps_a_fraction_of_the_bytes_for_the_backward_pass() -> None:
    kept = {}
    for recompute in (False, True):
        trunk = ResNet(Backbone(name="resnet18", width=16), 16)
        if recompute:
            recompute_activations(trunk)
        storages: dict[int, int] = {}

        def keep(tensor: torch.Tensor, storages: dict[int, int] = storages) -> torch.Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            out = trunk(torch.randn(8, 3, 32, 32))
        kept[recompute] = sum(storages.values()) - sum(p.nbytes for p in trunk.parameters())
        del out
    assert kept[True] < 0.35 * kept[False]
