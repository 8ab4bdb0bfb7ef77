"""Coding-rate losses against their power series, their limit, and each other (paper, Eq. 6 and 7)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compmod.pretrain.methods.parts.coding_rate import (
    PER_SAMPLE_WEIGHT,
    coding_loss,
    comprehensive_loss,
    inverse_lambda,
    mcr_loss,
    series_trace,
)
from compmod.pretrain.views.batch import Batch
from torch import Tensor

SHAPES = [(12, 5), (5, 12), (8, 8)]


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _power_loop(matrix: Tensor, order: int) -> Tensor:
    """Tr p_m by the definition, one power after another."""
    total, power = torch.zeros((), dtype=matrix.dtype), torch.eye(len(matrix), dtype=matrix.dtype)
    for k in range(1, order + 1):
        power = power @ matrix
        total = total + (-1) ** (k + 1) / k * power.trace()
    return total


def _by_definition(a: Tensor, b: Tensor, coding_lambda: float, order: int) -> Tensor:
    """Eq. 6 and 7 with the N x N product, mu = (N + D) / 2, rows normalised by hand."""
    n, d = a.shape
    a = a / a.square().sum(1, keepdim=True).sqrt()
    b = b / b.square().sum(1, keepdim=True).sqrt()
    return -(n + d) / 2 * _power_loop(coding_lambda * a @ b.T, order)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6, 7])
def test_the_series_needs_fewer_products_than_its_powers_and_equals_them(order: int) -> None:
    matrix = 0.2 * _draw(6, 6)
    torch.testing.assert_close(series_trace(matrix, order), _power_loop(matrix, order), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_literal_losses_equal_their_definition_in_value_and_gradient(shape: tuple[int, int]) -> None:
    z1, z2, z_hat = (_draw(*shape, seed=i).requires_grad_() for i in (1, 2, 3))
    ours = mcr_loss(z1, z2, z_hat, 1 / 0.03, 4, "literal") + comprehensive_loss(z_hat, 1 / 0.03, 4, "literal")
    theirs = sum(_by_definition(z_hat, z, 0.03, 4) for z in (z1, z2, z_hat))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    for one, other in zip(
        torch.autograd.grad(ours, (z1, z2, z_hat)), torch.autograd.grad(theirs, (z1, z2, z_hat)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_two_scales_differ_by_mu_lambda_n_over_the_weight(shape: tuple[int, int]) -> None:
    n, d = shape
    a, b = _draw(*shape, seed=1), _draw(*shape, seed=2)
    literal, per_sample = (coding_loss(a, b, 40.0, 4, scale) for scale in ("literal", "per_sample"))
    torch.testing.assert_close(literal / per_sample, torch.tensor((n + d) / 2 * n / 40.0 / PER_SAMPLE_WEIGHT).double())


def test_the_scales_agree_at_the_papers_cifar_point() -> None:
    n, d = 512, 64
    a, b = _draw(n, d, seed=1), _draw(n, d, seed=2)
    one_over_lambda = inverse_lambda(n, d, 64.0, epoch=0.0, warmup_epochs=0.0)
    literal, per_sample = (coding_loss(a, b, one_over_lambda, 4, scale) for scale in ("literal", "per_sample"))
    torch.testing.assert_close(literal, per_sample, rtol=1e-12, atol=0)


def test_a_long_series_approaches_log_det_where_it_converges() -> None:
    z = _draw(10, 4)
    z = z / z.norm(dim=1, keepdim=True)
    product = 0.5 / 10 * z.T @ z
    log_det = torch.linalg.slogdet(torch.eye(4, dtype=torch.float64) + product).logabsdet
    torch.testing.assert_close(series_trace(product, 60), log_det, rtol=1e-12, atol=1e-12)


def test_equal_rows_stay_finite_in_value_and_gradient() -> None:
    z = _draw(1, 6).expand(32, 6).clone().requires_grad_()
    loss = comprehensive_loss(z, inverse_lambda(32, 6, 64.0, 0.0, 0.0), 4, "literal")
    (gradient,) = torch.autograd.grad(loss, z)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_a_step_from_nearly_equal_rows_lowers_the_top_eigenvalues_share() -> None:
    z = (_draw(1, 6) + 0.01 * _draw(32, 6, seed=1)).requires_grad_()

    def share(rows: Tensor) -> Tensor:
        rows = rows / rows.norm(dim=1, keepdim=True)
        values = torch.linalg.eigvalsh(rows.T @ rows)
        return values[-1] / values.sum()

    loss = comprehensive_loss(z, inverse_lambda(32, 6, 64.0, 0.0, 0.0), 4, "literal")
    (gradient,) = torch.autograd.grad(loss, z)
    assert share(z - 1e-4 * gradient) < share(z)


def test_warm_up_goes_from_eight_times_to_once_linearly_and_stays() -> None:
    full = inverse_lambda(512, 64, 64.0, epoch=0.0, warmup_epochs=0.0)
    assert full == 512 * 64 / 64
    ratios = [inverse_lambda(512, 64, 64.0, epoch, 10.0) / full for epoch in (0.0, 5.0, 10.0, 20.0)]
    assert ratios == [8.0, 4.5, 1.0, 1.0]


@pytest.mark.parametrize("steps", [2, 7, 48])
def test_the_last_step_of_warm_up_is_at_the_end_point_as_in_the_table_of_mecs_code(steps: int) -> None:
    """np.linspace(1 / start, 1 / end, steps), one entry a step, both ends included (method.md, A5)."""
    warmup = 10.0
    full = inverse_lambda(512, 128, 64.0, 0.0, 0.0)
    tabulated = np.linspace(8 * full, full, round(warmup * steps))
    none = torch.empty(0)
    batches = [Batch(views=(), index=none, labels=none, step=k, epoch=k / steps) for k in range(20 * steps)]
    found = [inverse_lambda(512, 128, 64.0, batch.epoch, warmup, batch.step_epochs) for batch in batches]
    np.testing.assert_allclose(found[: len(tabulated)], tabulated, rtol=1e-12)
    assert set(found[len(tabulated) :]) == {full}


def test_losses_are_computed_in_float32_inside_autocast() -> None:
    a, b = _draw(64, 16, seed=1).float(), _draw(64, 16, seed=2).float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = coding_loss(a, b, 100.0, 4, "literal")
    torch.testing.assert_close(inside, coding_loss(a, b, 100.0, 4, "literal"), rtol=0, atol=0)
