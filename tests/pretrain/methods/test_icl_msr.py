"""ICL-MSR, a reconstruction: its two terms against slow loops, what trains what, and its hypergradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from compmod.pretrain.methods.build import build_method
from compmod.pretrain.methods.icl_msr import ICLMSR, MetaSemantic, balance_loss
from compmod.pretrain.methods.parts.regulariser import Outputs
from compmod.pretrain.methods.simclr import nt_xent_loss
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Backbone, Comprehensive, Projector, Run
from compmod.pretrain.training.objective import Objective
from compmod.pretrain.two_level.objective import TwoLevelObjective
from compmod.pretrain.views.batch import Batch
from torch import Tensor

SHAPES = [(4, 3), (12, 8), (7, 16)]


def run(**options: float) -> Run:
    return replace(
        preset("icl_msr", "digits"),
        backbone=Backbone(name="resnet10", width=4),
        projector=Projector(hidden=12, out=8),
        options=tuple(options.items()),
    )


def icl_msr(**options: float) -> ICLMSR:
    torch.manual_seed(0)
    method = build_method(run(**options), 8)
    assert isinstance(method, ICLMSR)
    return method.double()


def batch() -> Batch:
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    views = tuple(torch.randn(12, 3, 8, 8, dtype=torch.float64, generator=g) for g in generators)
    return Batch(views=views, index=torch.arange(12), labels=torch.zeros(12, dtype=torch.int64))


def outputs(seed: int = 0) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    return Outputs(*(torch.randn(10, width, generator=generator, dtype=torch.float64) for width in (8, 8, 16, 16)))


def meta(temperature: float = 0.5) -> MetaSemantic:
    torch.manual_seed(3)
    return MetaSemantic(16, 8, temperature, strength=0.1, balance=1.0).double()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_balance_equals_a_slow_loop(equal_with_gradients: Callable[..., None], shape: tuple[int, int]) -> None:
    def loop(w: Tensor) -> Tensor:
        n, d = w.shape
        off_middle = torch.stack([(row.sum() / d - 0.5) ** 2 for row in w]).sum() / n
        columns = []
        for column in w.T:
            centred = column - column.sum() / n
            columns.append(centred / ((centred * centred).sum() / n + 1e-5).sqrt())
        pairs = [((columns[i] * columns[j]).sum() / n) ** 2 for i in range(d) for j in range(d) if i != j]
        return off_middle + torch.stack(pairs).sum() / (d * (d - 1))

    equal_with_gradients(balance_loss, loop, shape)


def test_the_coupled_term_is_the_contrastive_loss_of_weighed_embeddings() -> None:
    network, y = meta(temperature=0.3), outputs()
    w1, w2 = torch.sigmoid(network.network(torch.cat([y.h1, y.h2]))).chunk(2)
    expected = nt_xent_loss(y.z1 * w1, y.z2 * w2, 0.3)
    coupled, own = network.on(batch(), 10)(y)
    torch.testing.assert_close(coupled, expected)
    torch.testing.assert_close(own, balance_loss(torch.cat([w1, w2])))


def test_weights_lie_between_0_and_1() -> None:
    weights = meta()(100 * outputs().h1)
    assert ((weights >= 0) & (weights <= 1)).all()


def test_the_trunk_is_not_trained_through_the_weights() -> None:
    y = Outputs(*(tensor.requires_grad_() for tensor in outputs()))
    coupled, own = meta().on(batch(), 10)(y)
    slopes = torch.autograd.grad(coupled + own, y, allow_unused=True)
    assert slopes[0] is not None
    assert slopes[2] is None
    assert slopes[3] is None


def test_the_weights_input_is_that_of_the_batchs_first_outputs() -> None:
    coupling, first, other = meta().on(batch(), 10), outputs(), outputs(1)
    before = coupling(first)[0]
    torch.testing.assert_close(coupling(Outputs(first.z1, first.z2, other.h1, other.h2))[0], before)


def test_without_strength_the_trunk_learns_as_simclrs() -> None:
    method = icl_msr(strength=0.0)
    TwoLevelObjective(method).backward(batch(), lr=0.1)
    torch.manual_seed(0)
    simclr = build_method(replace(run(), method="simclr"), 8).double()
    Objective(simclr).backward(batch(), lr=0.1)
    for one, other in zip(method.backbone.parameters(), simclr.backbone.parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad, other.grad)


def test_the_meta_network_is_trained_by_the_exact_hypergradient() -> None:
    gradients = []
    for backend in ("jvp", "unrolled"):
        method = icl_msr(strength=0.5, balance=0.0)
        objective = TwoLevelObjective(method, settings=Comprehensive(hypergradient=backend))
        objective.backward(batch(), lr=0.1)
        gradients.append([p.grad.clone() for p in objective.xi if p.grad is not None])
        assert len(gradients[-1]) == len(objective.xi)
    fast, reference = (torch.cat([g.flatten() for g in some]) for some in gradients)
    assert reference.norm() > 0
    assert (fast - reference).norm() < 1e-10 * reference.norm()


def test_steps_of_the_meta_network_lower_the_balance() -> None:
    objective = TwoLevelObjective(icl_msr())
    optimizer = torch.optim.Adam(objective.xi, lr=1e-2)
    losses = []
    for _ in range(20):
        losses.append(objective.backward(batch(), lr=0.01)["loss_balance"].item())
        optimizer.step()
    assert losses[-1] < losses[0] / 2


def test_the_meta_network_is_no_part_of_what_the_trunks_optimizer_moves() -> None:
    objective = TwoLevelObjective(icl_msr())
    assert not any(name.startswith("regulariser.") for name in objective.psi)
