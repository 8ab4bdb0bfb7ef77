"""BYOL: its loss against the squared distance, and its target network."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from compmod.pretrain.methods.build import build_method
from compmod.pretrain.methods.byol import BYOL, byol_loss
from compmod.pretrain.methods.parts.target_network import ema_momentum
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Backbone, Projector
from compmod.pretrain.views.batch import Batch
from torch import Tensor


def build() -> BYOL:
    run = preset("byol", "digits")
    method = build_method(replace(run, backbone=Backbone(width=4), projector=Projector(hidden=12, out=8)), 8)
    assert isinstance(method, BYOL)
    return method


def batch() -> Batch:
    views = tuple(torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    return Batch(views=views, index=torch.arange(12), labels=torch.zeros(12, dtype=torch.long))


@pytest.mark.parametrize("shape", [(4, 3), (16, 8), (7, 32)])
def test_byol_equals_the_squared_distance_of_normalised_rows(
    shape: tuple[int, int], equal_with_gradients: Callable[..., None]
) -> None:
    def loop(p: Tensor, z: Tensor) -> Tensor:
        rows = [
            (a / a.square().sum().sqrt() - b / b.square().sum().sqrt()).square().sum()
            for a, b in zip(p, z, strict=True)
        ]
        return torch.stack(rows).mean()

    equal_with_gradients(byol_loss, loop, shape, shape)


def test_the_target_starts_as_a_copy_and_moves_by_its_momentum() -> None:
    method = build()
    online = [*method.backbone.parameters(), *method.projector.parameters()]
    before = [p.clone() for p in method.target.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, online, strict=True))
    with torch.no_grad():
        for p in online:
            p += 1
    method.after_step(0.5, method.embed(batch().views).detach(), ())
    momentum = 1 - 0.01 / 2
    for after, start, new in zip(method.target.parameters(), before, online, strict=True):
        torch.testing.assert_close(after, momentum * start + (1 - momentum) * new)


def test_the_momentum_goes_from_its_start_to_its_end() -> None:
    assert math.isclose(ema_momentum(0.99, 0.0), 0.99)
    assert math.isclose(ema_momentum(0.99, 0.5), 0.995)
    assert math.isclose(ema_momentum(0.99, 1.0), 1.0)
    assert math.isclose(ema_momentum(0.99, 1.0, final=0.999), 0.999)


def test_the_target_keeps_its_own_batch_norm_statistics() -> None:
    method = build()
    method(batch())
    counts = [b for name, b in method.target.named_buffers() if name.endswith("num_batches_tracked")]
    assert all(count == 2 for count in counts)  # once a view
    online = dict(method.backbone.named_buffers())["bn1.running_mean"]
    assert dict(method.target.named_buffers())["0.bn1.running_mean"] is not online


def test_no_gradient_reaches_the_target() -> None:
    method = build()
    method(batch()).backward()
    assert all(p.grad is None for p in method.target.parameters())
    assert all(p.grad is not None for p in method.predictor.parameters())


@pytest.mark.parametrize("moves", ["epoch", "step"])
def test_the_momentum_rises_every_epoch_or_every_step(moves: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 4 epochs of 5 steps; the trainer's progress is that of the epoch."""
    run = replace(preset("byol", "digits"), epochs=4, options=(("momentum", 0.9), ("momentum_moves", moves)))
    method = build_method(replace(run, backbone=Backbone(width=4), projector=Projector(hidden=12, out=8)), 8)
    assert isinstance(method, BYOL)
    found: list[float] = []
    monkeypatch.setattr(method.target, "follow", lambda *online, momentum: found.append(momentum))
    given = batch()
    embedded = method.embed(given.views).detach()
    for step in range(20):
        targets = method.targets(replace(given, step=step, epoch=step / 5))
        assert method.loss(embedded, targets).isfinite()
        method.after_step(step // 5 / 4, embedded, targets)
    at = [k / 20 if moves == "step" else k // 5 / 4 for k in range(20)]
    assert found == pytest.approx([1 - 0.1 * (math.cos(math.pi * share) + 1) / 2 for share in at], abs=1e-12)
