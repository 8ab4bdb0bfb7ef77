"""The forward derivative of batch norm, by fused kernels: those of its backward pass, and of known statistics.

The Jacobian of x -> (x - mean) / std is symmetric, so the backward kernel applied to the input's tangent gives the
output's. The tangents of scale and shift add a batch norm with known statistics.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .kept import Statistics

_LEAST_SCALE = 1e-12  # what a smaller scale is taken for where its inverse is needed: far below rounding


def known_statistics(x: Tensor, scale: Tensor, shift: Tensor, statistics: Statistics, eps: float) -> Tensor:
    """Batch norm of x (N x C or N x C x H x W) with these statistics."""
    mean, inverse_std = statistics
    if x.is_cuda:
        return torch.ops.aten.batch_norm_elemt(x, scale, shift, mean, inverse_std, eps)  # type: ignore[no-any-return]
    variance = inverse_std.square().reciprocal() - eps
    return torch.batch_norm(x, scale, shift, mean, variance, False, 0.0, eps, False)


def batch_norm_tangent(
    tangent: Tensor,
    x: Tensor,
    scale: Tensor,
    scale_tangent: Tensor | None,
    shift_tangent: Tensor | None,
    statistics: Statistics,
    eps: float,
) -> Tensor:
    """The tangent of scale (x - mean) / std + shift, mean and std being those of x; as large as x."""
    if x.is_cuda:
        return in_two_kernels(tangent, x, scale, scale_tangent, shift_tangent, statistics)
    mean, inverse_std = statistics
    out, _, _ = torch.ops.aten.native_batch_norm_backward(
        tangent, x, scale, None, None, mean, inverse_std, True, eps, [True, False, False]
    )
    if scale_tangent is not None or shift_tangent is not None:
        along = [torch.zeros_like(scale) if t is None else t for t in (scale_tangent, shift_tangent)]
        out += known_statistics(x, *along, statistics, eps)
    result: Tensor = out
    return result


def in_two_kernels(
    tangent: Tensor,
    x: Tensor,
    scale: Tensor,
    scale_tangent: Tensor | None,
    shift_tangent: Tensor | None,
    statistics: Statistics,
) -> Tensor:
    """By the kernels of torch's SyncBatchNorm: sums over samples, then everything elementwise in one pass.

    The second kernel gives (t - A - (x - mean) inverse_std^2 B) scale inverse_std with A and B the means of t and of
    t (x - mean). Tangents of shift and scale belong outside the brackets; divided by what multiplies these, they
    change A and B alone.
    """
    mean, inverse_std = statistics
    count = x.numel() // x.shape[1]
    sum_t, sum_tx, _, _ = torch.ops.aten.batch_norm_backward_reduce(
        tangent, x, mean, inverse_std, scale, True, False, False
    )
    divisor = scale.abs().clamp_min(_LEAST_SCALE).copysign(scale)
    factor = divisor * inverse_std
    if shift_tangent is not None:
        sum_t = torch.addcdiv(sum_t, shift_tangent, factor, value=-count)
    if scale_tangent is not None:
        sum_tx = torch.addcdiv(sum_tx, scale_tangent, factor * inverse_std, value=-count)
    samples = torch.full((1,), count, dtype=torch.int32, device=x.device)
    result: Tensor = torch.ops.aten.batch_norm_backward_elemt(
        tangent, x, mean, inverse_std, divisor, sum_t, sum_tx, samples
    )
    return result
