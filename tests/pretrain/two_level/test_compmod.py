"""CompMod: fusion, the joint and one-sided forms of training, and what each part of a step moves (paper, Table 7)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from compmod.pretrain.methods.parts.coding_rate import comprehensive_loss, inverse_lambda, mcr_loss
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Backbone, Projector
from compmod.pretrain.training.objective import build_objective
from compmod.pretrain.two_level.objective import TwoLevelObjective
from compmod.pretrain.views.batch import Batch
from torch import Tensor, nn

FEATURES, WIDTH = 32, 8  # of the small network below


def build(**settings: Any) -> TwoLevelObjective:
    run = preset("simclr+", "digits")
    run = replace(run, backbone=Backbone(width=4), projector=Projector(layers=2, hidden=12, out=WIDTH))
    objective = build_objective(replace(run, compmod=replace(run.compmod, **settings)), 8, 9).double()
    assert isinstance(objective, TwoLevelObjective)
    return objective


def g_xi(objective: TwoLevelObjective) -> nn.Sequential:
    (regulariser,) = objective.regularisers
    head = regulariser.g_xi
    assert isinstance(head, nn.Sequential)
    return head


def views() -> tuple[Tensor, ...]:
    seeds = (1, 2)
    return tuple(
        torch.randn(9, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in seeds
    )


def step(objective: TwoLevelObjective, epoch: float = 20.0, draw: float = 0.25) -> dict[str, Tensor]:
    labels = torch.zeros(9, dtype=torch.long)
    return objective.backward(
        Batch(views=views(), index=torch.arange(9), labels=labels, epoch=epoch, draw=draw), lr=0.05
    )


def gradient(module: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


@pytest.mark.parametrize(
    ("fusion", "widths"),
    [
        ("concatenate", (2 * FEATURES, FEATURES, WIDTH)),
        ("mixup", (FEATURES, FEATURES, WIDTH)),
        ("embedding", (2 * WIDTH, WIDTH, WIDTH)),
    ],
)
def test_g_xi_has_the_papers_widths(fusion: str, widths: tuple[int, ...]) -> None:
    layers = [layer for layer in g_xi(build(fusion=fusion)) if isinstance(layer, nn.Linear)]
    assert (layers[0].in_features, *(layer.out_features for layer in layers)) == widths


def test_the_logged_losses_are_those_of_the_equations() -> None:
    objective = build(alpha=0.3, fusion="mixup", warmup="off", lambda1=0.02)
    twin = build(alpha=0.3, fusion="mixup", warmup="off", lambda1=0.02)
    logged = step(objective)
    embedded = twin.method.embed(views())
    (h1, h2), (z1, z2) = embedded.representations, embedded.embeddings
    z_hat = g_xi(twin)(0.3 * h1 + 0.7 * h2)
    one_over_lambda = inverse_lambda(9, WIDTH, 64.0, 0.0, 0.0)
    expected = {
        "loss_ssl": twin.method.loss(embedded, ()),
        "loss_mcr": mcr_loss(z1, z2, z_hat, one_over_lambda, 4, "literal"),
        "loss_comp": comprehensive_loss(z_hat, one_over_lambda, 4, "literal"),
    }
    expected["loss"] = expected["loss_ssl"] + 0.02 * expected["loss_mcr"]
    for name, value in expected.items():
        torch.testing.assert_close(logged[name], value.detach(), rtol=1e-12, atol=1e-12, msg=name)


def test_uniform_mixup_takes_this_batchs_draw() -> None:
    drawn, fixed = build(fusion="mixup", alpha="uniform"), build(fusion="mixup", alpha=0.25)
    assert torch.equal(step(drawn, draw=0.25)["loss_mcr"], step(fixed, draw=0.9)["loss_mcr"])


def test_the_networks_gradient_is_that_of_the_inner_loss_with_xi_fixed() -> None:
    """Eq. 8."""
    objective, twin = build(flow="through"), build(flow="through")
    step(objective)
    embedded = twin.method.embed(views())
    z_hat = g_xi(twin)(torch.cat(embedded.representations, dim=1))
    coding = mcr_loss(*embedded.embeddings, z_hat, inverse_lambda(9, WIDTH, 64.0, 0.0, 0.0), 4, "literal")
    (twin.method.loss(embedded, ()) + 0.01 * coding).backward()
    torch.testing.assert_close(gradient(objective.method), gradient(twin.method), rtol=1e-9, atol=1e-12)


def test_stopping_h_hat_changes_the_networks_gradient_and_not_its_losses() -> None:
    through, stop = build(flow="through"), build(flow="stop")
    assert torch.equal(step(through)["loss"], step(stop)["loss"])
    assert not torch.allclose(gradient(through.method), gradient(stop.method))


def test_joint_training_gives_xi_the_gradient_of_everything() -> None:
    """Table 7, "no bi-level"."""
    objective, twin = build(training="joint", flow="through"), build(flow="through")
    step(objective)
    embedded = twin.method.embed(views())
    z_hat = g_xi(twin)(torch.cat(embedded.representations, dim=1))
    one_over_lambda = inverse_lambda(9, WIDTH, 64.0, 0.0, 0.0)
    coding = mcr_loss(*embedded.embeddings, z_hat, one_over_lambda, 4, "literal")
    comprehensive = comprehensive_loss(z_hat, one_over_lambda, 4, "literal")
    (twin.method.loss(embedded, ()) + 0.01 * coding + 0.1 * comprehensive).backward()
    for ours, theirs in ((objective.method, twin.method), (g_xi(objective), g_xi(twin))):
        torch.testing.assert_close(gradient(ours), gradient(theirs), rtol=1e-9, atol=1e-12)


def test_comp_only_gives_xi_the_gradient_of_l_comp_alone() -> None:
    alone, none = build(training="comp-only"), build(hypergradient="none")
    assert not step(alone)["hyper_norm_mcr"]
    step(none)
    assert torch.equal(gradient(g_xi(alone)), gradient(g_xi(none)))


def test_both_parts_of_xis_gradient_are_logged_and_add_up() -> None:
    both, hyper, comp = build(), build(lambda2=0.0), build(hypergradient="none")
    logged = step(both)
    step(hyper)
    step(comp)
    parts = [gradient(g_xi(each)) for each in (hyper, comp)]
    torch.testing.assert_close(gradient(g_xi(both)), parts[0] + parts[1], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(logged["hyper_norm_mcr"], parts[0].norm(), rtol=1e-10, atol=0)
    torch.testing.assert_close(logged["norm_comp"], parts[1].norm(), rtol=1e-10, atol=0)


def test_warm_up_weakens_the_coding_losses_only_while_it_lasts() -> None:
    early, late, off = (
        step(build(warmup=warmup), epoch=epoch)["loss_comp"]
        for warmup, epoch in (("on", 0.0), ("on", 10.0), ("off", 0.0))
    )
    assert torch.equal(late, off)
    assert early > late


def test_embeddings_of_at_most_64_need_no_warm_up() -> None:
    automatic, off = (step(build(warmup=warmup), epoch=0.0)["loss_comp"] for warmup in ("auto", "off"))
    assert torch.equal(automatic, off)


def test_g_xi_is_drawn_from_its_own_generator() -> None:
    one, other = build(), build(fusion="mixup")
    for name, value in one.method.state_dict().items():
        assert torch.equal(value, other.method.state_dict()[name]), name
