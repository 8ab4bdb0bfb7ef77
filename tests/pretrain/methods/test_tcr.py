"""TCR: its coding rate against singular values and lightly's, the alignment, and second derivatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from compmod.pretrain.methods.tcr import TCR, coding_rate, tcr_loss
from small_runs import SIDE, small, small_batch
from torch import Tensor

SHAPES = [(4, 3), (16, 8), (7, 32), (8, 8)]


@pytest.mark.parametrize("views", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_equals_a_slow_loop_with_singular_values(
    shape: tuple[int, int], views: int, equal_with_gradients: Callable[..., None]
) -> None:
    n, d = shape

    def loop(*embeddings: Tensor) -> Tensor:
        rows = [z / z.square().sum(1, keepdim=True).sqrt() for z in embeddings]
        mean = torch.stack([torch.stack([z[i] for z in rows]).sum(0) / len(rows) for i in range(n)])
        mean = mean / mean.square().sum(1, keepdim=True).sqrt()
        rate = torch.zeros((), dtype=mean.dtype)
        for value in torch.linalg.svdvals(mean):
            rate = rate + 0.5 * torch.log(1 + d / (n * 0.2) * value**2)
        cosines = torch.stack([z[i] @ mean[i] for z in rows for i in range(n)])
        return -rate - 20 * cosines.sum() / len(cosines)

    equal_with_gradients(lambda *z: tcr_loss(z, 0.2, 20.0), loop, *[shape] * views)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_coding_rate_equals_lightlys(shape: tuple[int, int], equal_with_gradients: Callable[..., None]) -> None:
    from lightly.loss.emp_ssl_loss import tcr_loss as theirs  # the rate itself; its type is that of torch's default

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        equal_with_gradients(lambda z: coding_rate(z, 0.2), lambda z: theirs(z[None], 0.2), shape)
    finally:
        torch.set_default_dtype(before)


def test_equal_views_are_wholly_aligned() -> None:
    z = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    aligned = tcr_loss([z, z], 0.2, 20.0) - tcr_loss([z, z], 0.2, 0.0)
    torch.testing.assert_close(aligned, torch.tensor(-20.0).double(), rtol=1e-12, atol=0)


def test_the_rate_is_least_where_all_rows_are_equal_and_most_where_they_are_spread() -> None:
    equal = torch.eye(4, dtype=torch.float64)[[0, 0, 0, 0]]
    spread = torch.eye(4, dtype=torch.float64)
    # one eigenvalue 1 + d / eps against four of 1 + 1 / eps
    torch.testing.assert_close(coding_rate(equal, 0.2), torch.tensor(21.0).double().log() / 2)
    torch.testing.assert_close(coding_rate(spread, 0.2), torch.tensor(6.0).double().log() * 2)


def test_collapsed_embeddings_have_a_finite_gradient_in_float32() -> None:
    z = torch.ones(64, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(tcr_loss([z, z], 0.2, 20.0), z)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("shape", [(3, 4), (4, 3)])
def test_second_derivatives_of_the_log_determinant_are_right(shape: tuple[int, int]) -> None:
    drawn = [torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (1, 2)]
    inputs = tuple(z.requires_grad_() for z in drawn)
    assert torch.autograd.gradgradcheck(lambda *z: tcr_loss(z, 0.2, 20.0), inputs)


def test_every_view_is_part_of_the_loss() -> None:
    torch.manual_seed(0)
    method = TCR(small("tcr"), SIDE).double()
    views = (*small_batch("tcr").views, small_batch("tcr", 1).views[0])
    embedded = method.embed(views)
    torch.testing.assert_close(method.loss(embedded, ()), tcr_loss(embedded.embeddings, 0.2, 20.0))
    assert method.loss(embedded, ()) != tcr_loss(embedded.embeddings[:2], 0.2, 20.0)
