"""RELIC: the loss against a slow loop, its learned temperature and its target network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from compmod.pretrain.methods.build import build_method
from compmod.pretrain.methods.relic import LARGEST_SCALE, RELIC, relic_loss
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Backbone, Projector
from compmod.pretrain.views.batch import Batch
from torch import Tensor

SHAPES = [(4, 3), (12, 8), (7, 16)]
SETTINGS = [(0.2, 1.0), (0.5, 0.3), (1.0, 0.0)]


def loop(online: Tensor, target: Tensor, temperature: float, alpha: float, bias: float = 0.0) -> Tensor:
    """The formula, one exponential at a time; `bias` is added to every logit."""
    n = len(online)
    unit = [[row / row.square().sum().sqrt() for row in rows] for rows in (online, target)]
    weight = [[torch.exp(unit[0][i] @ unit[1][j] / temperature + bias) for j in range(n)] for i in range(n)]
    loss = torch.zeros((), dtype=online.dtype)
    for i in range(n):
        row_sum = torch.stack([weight[i][j] for j in range(n)]).sum()
        column_sum = torch.stack([weight[j][i] for j in range(n)]).sum()
        loss = loss - torch.log(weight[i][i] / row_sum)
        for j in range(n):
            p, q = weight[i][j] / row_sum, weight[j][i] / column_sum
            loss = loss + alpha * q * torch.log(q / p)
    return loss / n


def views(dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    return tuple(torch.randn(12, 3, 8, 8, dtype=dtype, generator=torch.Generator().manual_seed(s)) for s in (1, 2))


def batch() -> Batch:
    return Batch(views=views(), index=torch.arange(12), labels=torch.zeros(12, dtype=torch.int64))


def relic(**options: float) -> RELIC:
    run = replace(
        preset("relic", "digits"),
        backbone=Backbone(name="resnet10", width=4),
        projector=Projector(hidden=12, out=8),
        options=tuple(options.items()),
    )
    torch.manual_seed(0)
    method = build_method(run, 8)
    assert isinstance(method, RELIC)
    return method


@pytest.mark.parametrize("temperature, alpha", SETTINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_equals_a_slow_loop(
    equal_with_gradients: Callable[..., None], shape: tuple[int, int], temperature: float, alpha: float
) -> None:
    equal_with_gradients(
        lambda a, b: relic_loss(a, b, temperature, alpha), lambda a, b: loop(a, b, temperature, alpha), shape, shape
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_a_bias_on_every_logit_as_the_unofficial_code_has_changes_nothing(
    equal_with_gradients: Callable[..., None], shape: tuple[int, int]
) -> None:
    equal_with_gradients(
        lambda a, b: relic_loss(a, b, 0.5, 1.0), lambda a, b: loop(a, b, 0.5, 1.0, bias=1.5), shape, shape
    )


def test_the_loss_of_a_batch_is_the_mean_over_both_orders_of_the_views() -> None:
    method = relic(temperature=0.4, alpha=0.7)
    embedded, targets = method.embed(views()), method.targets(batch())
    (z1, z2), (t1, t2) = embedded.embeddings, targets
    expected = (relic_loss(z1, t2, 0.4, 0.7) + relic_loss(z2, t1, 0.4, 0.7)) / 2
    torch.testing.assert_close(method.loss(embedded, targets), expected)


def test_the_gradient_flows_through_both_sides_of_the_divergence() -> None:
    generator = torch.Generator().manual_seed(0)
    z, t = (torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    z.requires_grad_()
    whole = torch.autograd.grad(relic_loss(z, t, 0.5, 1.0) - relic_loss(z, t, 0.5, 0.0), z)[0]
    logits = torch.nn.functional.normalize(z, dim=1) @ torch.nn.functional.normalize(t, dim=1).T / 0.5
    q = logits.T.softmax(dim=1).detach()
    one_side = torch.autograd.grad((q * (q.log() - logits.log_softmax(dim=1))).sum() / 6, z)[0]
    assert (whole - one_side).norm() > 0.1 * whole.norm()


def test_a_learned_temperature_starts_at_one() -> None:
    learned, fixed = relic(learned_temperature=True), relic(temperature=1.0)
    torch.testing.assert_close(learned(batch()), fixed(batch()))


def test_a_learned_temperature_is_trained() -> None:
    method = relic(learned_temperature=True)
    method(batch()).backward()
    assert method.log_scale is not None
    assert method.log_scale.grad is not None
    assert method.log_scale.grad != 0


def test_a_learned_scale_is_at_most_five() -> None:
    method, fixed = relic(learned_temperature=True), relic(temperature=1 / LARGEST_SCALE)
    assert method.log_scale is not None
    with torch.no_grad():
        method.log_scale.fill_(4.0)
    torch.testing.assert_close(method(batch()), fixed(batch()))


def test_the_temperature_is_no_parameter_unless_it_is_learned() -> None:
    assert "log_scale" not in dict(relic().named_parameters())


def test_the_target_moves_by_its_momentum_after_a_step() -> None:
    method = relic(momentum=0.9)
    start = [p.clone() for p in method.target.parameters()]
    with torch.no_grad():
        for p in (*method.backbone.parameters(), *method.projector.parameters()):
            p += 1
    method.after_step(0.0, method.embed(views()).detach(), method.targets(batch()))
    for before, after in zip(start, method.target.parameters(), strict=True):
        torch.testing.assert_close(after, before + 0.1)
