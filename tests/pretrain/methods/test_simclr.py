"""SimCLR: NT-Xent against a slow loop and lightly, and its head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from compmod.pretrain.methods.build import build_method
from compmod.pretrain.methods.simclr import SimCLR, nt_xent_loss
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Backbone, Projector
from torch import Tensor

SHAPES = [(4, 3), (16, 8), (7, 32)]


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_nt_xent_equals_a_slow_loop(
    shape: tuple[int, int], temperature: float, equal_with_gradients: Callable[..., None]
) -> None:
    def loop(z1: Tensor, z2: Tensor) -> Tensor:
        rows = [z / z.square().sum().sqrt() for z in (*z1, *z2)]
        total = torch.zeros((), dtype=z1.dtype)
        for i, anchor in enumerate(rows):
            partner = (i + len(z1)) % len(rows)
            others = [torch.exp(anchor @ row / temperature) for j, row in enumerate(rows) if j != i]
            total = total - torch.log(torch.exp(anchor @ rows[partner] / temperature) / torch.stack(others).sum())
        return total / len(rows)

    equal_with_gradients(lambda a, b: nt_xent_loss(a, b, temperature), loop, shape, shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_nt_xent_equals_lightly(shape: tuple[int, int], equal_with_gradients: Callable[..., None]) -> None:
    from lightly.loss import NTXentLoss

    equal_with_gradients(lambda a, b: nt_xent_loss(a, b, 0.5), NTXentLoss(temperature=0.5), shape, shape)


def test_nt_xent_is_computed_in_float32_inside_autocast() -> None:
    z1, z2 = (torch.randn(64, 16, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        inside = nt_xent_loss(z1, z2, 0.5)
    torch.testing.assert_close(inside, nt_xent_loss(z1, z2, 0.5), rtol=0, atol=0)


def test_the_head_shares_its_batch_norm_between_views_and_ends_with_one() -> None:
    torch.manual_seed(0)
    run = preset("simclr", "digits")
    method = build_method(replace(run, backbone=Backbone(width=4), projector=Projector(hidden=12, out=8)), 8)
    assert isinstance(method, SimCLR)
    method.double()
    views = [torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(s)).double() for s in (1, 2)]
    z1, z2 = method.embed(views).embeddings
    torch.testing.assert_close(torch.cat([z1, z2]).mean(0), torch.zeros(8).double(), rtol=0, atol=1e-12)
    assert z1.mean(0).abs().max() > 1e-3
    assert method.output_norm.num_batches_tracked == 1
