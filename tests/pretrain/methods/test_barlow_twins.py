"""Barlow Twins: its loss against a slow loop and lightly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from compmod.pretrain.methods.barlow_twins import barlow_twins_loss
from torch import Tensor

SHAPES = [(4, 3), (16, 8), (7, 32)]


@pytest.mark.parametrize("shape", SHAPES)
def test_barlow_twins_equals_a_slow_loop(shape: tuple[int, int], equal_with_gradients: Callable[..., None]) -> None:
    def loop(z1: Tensor, z2: Tensor) -> Tensor:
        n, d = z1.shape
        columns = []
        for z in (z1, z2):
            mean = z.sum(0) / n
            variance = (z - mean).square().sum(0) / n
            columns.append((z - mean) / (variance + 1e-5).sqrt())
        total = torch.zeros((), dtype=z1.dtype)
        for i in range(d):
            for j in range(d):
                c = (columns[0][:, i] * columns[1][:, j]).sum() / n
                total = total + ((1 - c) ** 2 if i == j else 0.0051 * c**2)
        return total

    equal_with_gradients(lambda a, b: barlow_twins_loss(a, b, 0.0051), loop, shape, shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_barlow_twins_equals_lightly(shape: tuple[int, int]) -> None:
    from lightly.loss import BarlowTwinsLoss

    z1, z2 = (torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    theirs = BarlowTwinsLoss(lambda_param=0.0051)(z1, z2)
    torch.testing.assert_close(barlow_twins_loss(z1, z2, 0.0051), theirs, rtol=1e-4, atol=0)


def test_barlow_twins_is_computed_in_float32_inside_autocast() -> None:
    z1, z2 = (torch.randn(64, 16, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        inside = barlow_twins_loss(z1, z2, 0.0051)
    torch.testing.assert_close(inside, barlow_twins_loss(z1, z2, 0.0051), rtol=0, atol=0)
