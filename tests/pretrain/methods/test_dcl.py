"""DCL in its forms: against lightly's losses and slow loops, their limits, and their second derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from compmod.pretrain.methods.dcl import DCL, debiased_loss, decoupled_loss
from small_runs import SIDE, small, small_batch
from torch import Tensor

SHAPES = [(4, 3), (16, 8), (7, 32), (2, 5)]


def pairs(z1: Tensor, z2: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
    """For each of the 2N anchors the cosine with its positive, and those with the rows of other images."""
    rows = [row / row.square().sum().sqrt() for row in (*z1, *z2)]
    n, found = len(z1), []
    for i, anchor in enumerate(rows):
        others = [anchor @ row for j, row in enumerate(rows) if j % n != i % n]
        found.append((anchor @ rows[(i + n) % (2 * n)], others))
    return found


@pytest.mark.parametrize("temperature, prior", [(0.5, 0.1), (0.2, 0.05), (0.5, 0.9)])
@pytest.mark.parametrize("shape", SHAPES)
def test_debiased_equals_a_slow_loop(
    shape: tuple[int, int], temperature: float, prior: float, equal_with_gradients: Callable[..., None]
) -> None:
    def loop(z1: Tensor, z2: Tensor) -> Tensor:
        total = torch.zeros((), dtype=z1.dtype)
        for cosine, others in pairs(z1, z2):
            positive, count = torch.exp(cosine / temperature), len(others)
            negatives = torch.stack([torch.exp(other / temperature) for other in others]).sum()
            negatives = (negatives - prior * count * positive) / (1 - prior)
            if negatives < count * math.exp(-1 / temperature):
                negatives = torch.tensor(count * math.exp(-1 / temperature), dtype=z1.dtype)
            total = total - torch.log(positive / (positive + negatives))
        return total / (2 * len(z1))

    equal_with_gradients(lambda a, b: debiased_loss(a, b, temperature, prior), loop, shape, shape)


def test_a_high_prior_meets_the_least_that_negatives_can_be() -> None:
    z = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    positive, floor = math.exp(1 / 0.5), 8 * math.exp(-1 / 0.5)
    expected = -math.log(positive / (positive + floor))
    assert debiased_loss(z, z, 0.5, 0.99).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_debiased_without_a_prior_is_lightlys_nt_xent(
    shape: tuple[int, int], equal_with_gradients: Callable[..., None]
) -> None:
    from lightly.loss import NTXentLoss

    equal_with_gradients(lambda a, b: debiased_loss(a, b, 0.5, 0.0), NTXentLoss(temperature=0.5), shape, shape)


@pytest.mark.parametrize("sigma", [None, 0.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_decoupled_and_weighted_equal_a_slow_loop(
    shape: tuple[int, int], sigma: float | None, equal_with_gradients: Callable[..., None]
) -> None:
    def loop(z1: Tensor, z2: Tensor) -> Tensor:
        n, found = len(z1), pairs(z1, z2)
        total = torch.zeros((), dtype=z1.dtype)
        for i, (cosine, others) in enumerate(found):
            weight = 1.0
            if sigma is not None:
                shares = [math.exp(positive.item() / sigma) for positive, _ in found[:n]]
                weight = 2 - n * shares[i % n] / sum(shares)
            negatives = torch.stack([torch.exp(other / 0.1) for other in others]).sum()
            total = total - weight * cosine / 0.1 + torch.log(negatives)
        return total / (2 * n)

    equal_with_gradients(lambda a, b: decoupled_loss(a, b, 0.1, sigma), loop, shape, shape)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_decoupled_equals_lightly(
    shape: tuple[int, int], temperature: float, equal_with_gradients: Callable[..., None]
) -> None:
    from lightly.loss import DCLLoss

    equal_with_gradients(lambda a, b: decoupled_loss(a, b, temperature), DCLLoss(temperature), shape, shape)


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor:UserWarning")  # lightly's own, in its weights
@pytest.mark.parametrize("shape", SHAPES)
def test_weighted_equals_lightly(shape: tuple[int, int], equal_with_gradients: Callable[..., None]) -> None:
    from lightly.loss import DCLWLoss

    theirs = DCLWLoss(temperature=0.1, sigma=0.5)
    equal_with_gradients(lambda a, b: decoupled_loss(a, b, 0.1, 0.5), theirs, shape, shape)


def test_equal_views_have_equal_weights() -> None:
    z = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(decoupled_loss(z, z, 0.1, 0.5), decoupled_loss(z, z, 0.1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("form", ["debiased", "decoupled"])
def test_second_derivatives_are_right_though_masked_pairs_are_infinite(form: str) -> None:
    drawn = [torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (1, 2)]
    inputs = tuple(z.requires_grad_() for z in drawn)

    def loss(z1: Tensor, z2: Tensor) -> Tensor:
        return debiased_loss(z1, z2, 0.5, 0.1) if form == "debiased" else decoupled_loss(z1, z2, 0.5)

    assert torch.autograd.gradgradcheck(loss, inputs)


@pytest.mark.parametrize(
    "form, expected",
    [
        ("debiased", lambda a, b: debiased_loss(a, b, 0.5, 0.1)),
        ("decoupled", lambda a, b: decoupled_loss(a, b, 0.5)),
        ("weighted", lambda a, b: decoupled_loss(a, b, 0.5, 0.5)),
    ],
)
def test_the_form_chooses_the_loss(form: str, expected: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    method = DCL(small("dcl"), SIDE, form=form).double()
    embedded = method.embed(small_batch("dcl").views)
    torch.testing.assert_close(method.loss(embedded, ()), expected(*embedded.embeddings))
