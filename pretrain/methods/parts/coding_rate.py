"""Coding-rate losses of CompMod: L_comp and L_mcr (paper, Eq. 6 and 7), a Taylor series of a lossy coding length.

MEC (Liu et al., NeurIPS 2022, code `xinliu20/MEC`) is where the series, its constants and the row normalisation are
from. Cyclicity of the trace lets each term be built from the smaller of the N x N and D x D products.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ...runtime.precision import full_precision

# Literal = mu * lambda * N times the per-sample form; this is that factor at N 512, D 64, where the paper's weights
# were tuned (CIFAR-10), so that lambda1 and lambda2 keep their meaning at other widths.
PER_SAMPLE_WEIGHT = 288.0


def series_trace(product_KK: Tensor, order: int) -> Tensor:
    """Tr p_m(C) with p_m(x) = sum over k = 1..m of (-1)^(k+1) x^k / k, the Taylor series of log det(I + C).

    Order 4 needs one matrix product: the trace of a power is an elementwise product of two lower powers.
    """
    powers = [product_KK]
    while 2 * len(powers) < order:
        powers.append(powers[-1] @ product_KK)
    total = product_KK.diagonal().sum()
    for k in range(2, order + 1):
        left, right = powers[(k + 1) // 2 - 1], powers[k // 2 - 1]
        total = total + (-1) ** (k + 1) / k * (left * right.T).sum()
    return total


@full_precision
def coding_loss(a_ND: Tensor, b_ND: Tensor, inverse_lambda: float, order: int, scale: str) -> Tensor:
    """-mu Tr p_m(lambda A B^T) for row-normalised A and B (N x D each, N batch, D embedding).

    `inverse_lambda` is 1 / lambda, with lambda = D / (N eps^2) after warm-up. scale "literal" is the equation as
    printed, mu = (N + D) / 2; "per_sample" is MEC's training form, -Tr / (lambda N), times PER_SAMPLE_WEIGHT.
    """
    n, d = a_ND.shape
    a_ND, b_ND = F.normalize(a_ND, dim=1), F.normalize(b_ND, dim=1)
    product_KK = a_ND @ b_ND.T if n < d else b_ND.T @ a_ND
    trace = series_trace(product_KK / inverse_lambda, order)
    weight = (n + d) / 2 if scale == "literal" else PER_SAMPLE_WEIGHT * inverse_lambda / n
    return -weight * trace


def comprehensive_loss(z_hat_ND: Tensor, inverse_lambda: float, order: int, scale: str) -> Tensor:
    """L_comp: minus the coding length of the comprehensive embedding (paper, Eq. 6)."""
    return coding_loss(z_hat_ND, z_hat_ND, inverse_lambda, order, scale)


def mcr_loss(z1_ND: Tensor, z2_ND: Tensor, z_hat_ND: Tensor, inverse_lambda: float, order: int, scale: str) -> Tensor:
    """L_mcr: minus the joint coding length of each view with the comprehensive embedding (paper, Eq. 7)."""
    first = coding_loss(z_hat_ND, z1_ND, inverse_lambda, order, scale)
    return first + coding_loss(z_hat_ND, z2_ND, inverse_lambda, order, scale)


def inverse_lambda(
    n: int, d: int, squared_error: float, epoch: float, warmup_epochs: float, step_epochs: float = 0.0
) -> float:
    """1 / lambda = N eps^2 / D, reached linearly from 8 times that over the warm-up epochs (MEC's schedule).

    A step takes `step_epochs`; the last step of warm-up is at the end point, as the schedule that MEC tabulates.
    """
    start = 8.0  # MEC code
    rising = warmup_epochs - step_epochs
    share = min(1.0, epoch / rising) if rising > 0 else 1.0
    return n * squared_error / d * (start + (1.0 - start) * share)
