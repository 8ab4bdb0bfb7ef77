"""VICReg: its loss against lightly's and a slow loop, each term on its own, and its expander."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from compmod.pretrain.methods.vicreg import VICReg, vicreg_loss
from small_runs import SIDE, small
from torch import Tensor, nn

SHAPES = [(4, 3), (16, 8), (7, 32), (2, 5)]


def paper(z1: Tensor, z2: Tensor) -> Tensor:
    """Our loss with the paper's weights."""
    return vicreg_loss(z1, z2, 25.0, 25.0, 1.0)


@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_equals_a_slow_loop(
    shape: tuple[int, int], weights: tuple[float, float, float], equal_with_gradients: Callable[..., None]
) -> None:
    invariance, variance, covariance = weights

    def loop(z1: Tensor, z2: Tensor) -> Tensor:
        n, d = z1.shape
        total = torch.zeros((), dtype=z1.dtype)
        for one, other in zip(z1.flatten(), z2.flatten(), strict=True):
            total = total + invariance * (one - other) ** 2 / (n * d)
        for z in (z1, z2):
            centred = z - z.sum(0) / n
            for i in range(d):
                for j in range(d):
                    c = (centred[:, i] * centred[:, j]).sum() / (n - 1)
                    if i != j:
                        total = total + covariance * c**2 / d
                    elif c < 1 - 1e-4:
                        total = total + variance * 0.5 * (1 - (c + 1e-4).sqrt()) / d
        return total

    equal_with_gradients(
        lambda a, b: vicreg_loss(0.7 * a, 0.7 * b, *weights), lambda a, b: loop(0.7 * a, 0.7 * b), shape, shape
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_equals_lightly(shape: tuple[int, int], equal_with_gradients: Callable[..., None]) -> None:
    from lightly.loss import VICRegLoss

    equal_with_gradients(paper, lambda a, b: VICRegLoss()(a, b), shape, shape)


def test_equal_views_leave_only_variance_and_covariance() -> None:
    z = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert vicreg_loss(z, z, 25.0, 0.0, 0.0) == 0
    assert vicreg_loss(z, z.flip(0), 25.0, 0.0, 0.0) > 0


def test_collapsed_embeddings_have_a_finite_loss_and_gradient() -> None:
    z = torch.ones(5, 3, dtype=torch.float64, requires_grad=True)
    loss = paper(z, z)
    (gradient,) = torch.autograd.grad(loss, z)
    torch.testing.assert_close(loss, torch.tensor(25 * (1 - 0.01)).double())
    assert gradient.isfinite().all()


def test_wide_spread_uncorrelated_embeddings_have_no_loss() -> None:
    signs = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    assert paper(2 * signs, 2 * signs) == 0


def test_the_expanders_last_layer_has_no_bias() -> None:
    linear = [layer for layer in VICReg(small("vicreg"), SIDE).projector.children() if isinstance(layer, nn.Linear)]
    assert [layer.bias is not None for layer in linear] == [True, True, False]
