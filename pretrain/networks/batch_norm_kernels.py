"""Batch norm's passes over memory, by the fused kernels that PyTorch has for a CPU and for CUDA.

In all functions x is N x C or N x C x ..., and a statistic is a number a channel (C), in float32 or better. With mean m
and inverse deviation s of the whole batch, batch norm is w (x - m) s + b.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST_WEIGHT = 1e-12


def own_statistics(x: Tensor, eps: float) -> Tensor:
    """2 x C: this process's means and its variances, on CUDA inverse deviations; `combined` takes those of all."""
    if x.is_cuda:
        return torch.stack(torch.batch_norm_stats(x, eps))
    unused_C = x.new_zeros(x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32))  # its type is the result's
    return torch.stack(torch.batch_norm_update_stats(x, unused_C, unused_C, 0.0))


def combined(
    statistics_P2C: Tensor,
    count: int,
    eps: float,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
) -> tuple[Tensor, Tensor]:
    """m and s from the `own_statistics` of P processes with equally many of the `count` values a channel.

    Moves the running statistics, where there are any. The variance of all is the mean variance plus the variance of
    the means: stable in float32, unlike a mean of squares.
    """
    means_PC, spreads_PC = statistics_P2C.unbind(1)
    if means_PC.is_cuda:
        counts_P = means_PC.new_full((len(means_PC),), count // len(means_PC))
        return torch.batch_norm_gather_stats_with_counts(
            means_PC, means_PC, spreads_PC, running_mean, running_var, momentum, eps, counts_P
        )
    mean_C = means_PC.mean(0)
    variance_C = (spreads_PC + (means_PC - mean_C).square()).mean(0)
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean_C, momentum)
        running_var.lerp_(variance_C * (count / (count - 1)), momentum)
    return mean_C, (variance_C + eps).rsqrt()


def normalised(x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, inverse_std: Tensor) -> Tensor:
    """w (x - m) s + b, in the type of x."""
    if x.is_cuda:
        return torch.batch_norm_elemt(x, weight, bias, mean, inverse_std, 0.0)
    return torch.native_batch_norm(x, weight, bias, mean, inverse_std**-2, False, 0.0, 0.0)[0]


def slope_sums(slope: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, inverse_std: Tensor) -> Tensor:
    """2 x C: sums over this process's samples of a slope (or a tangent), and of it times x - m."""
    if x.is_cuda:
        sums = torch.batch_norm_backward_reduce(slope, x, mean, inverse_std, weight, True, False, False)
        return torch.stack(sums[:2])
    _, product_C, sum_C = torch.ops.aten.native_batch_norm_backward(
        slope, x, None, None, None, mean, torch.ones_like(mean), True, 0.0, [False, True, True]
    )
    return torch.stack([sum_C, product_C])


def through_statistics(
    slope: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    inverse_std: Tensor,
    sums_2C: Tensor,
    count: int,
    tangents: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """w s (t - mean(t) - (x - m) s^2 mean(t (x - m))) of a slope or tangent t, in the type of x.

    The Jacobian of x -> (x - m) s is symmetric, so this is its product with t from either side. `sums_2C` are the
    `slope_sums` of all processes over `count` values a channel. With the tangents of weight and bias, the derivative
    of batch norm along these is added.
    """
    if x.is_cuda:
        sum_C, product_C = sums_2C
        if tangents is not None:
            weight, sum_C, product_C = _with_tangents(weight, sum_C, product_C, tangents, inverse_std, count)
        counts = torch.full((1,), count, dtype=torch.int32, device=x.device)
        return torch.batch_norm_backward_elemt(slope, x, mean, inverse_std, weight, sum_C, product_C, counts)
    scale_C = inverse_std if weight is None else inverse_std * weight
    mean_C, product_C = -scale_C * sums_2C / count
    product_C = product_C * inverse_std
    if tangents is not None:
        product_C, mean_C = product_C + tangents[0], mean_C + tangents[1]
    out = normalised(x, product_C, mean_C, mean, inverse_std)
    if out.dtype == scale_C.dtype:
        return out.addcmul_(slope, scale_C.view(1, -1, *[1] * (x.ndim - 2)))
    # of mixed types that takes three times as long as one more pass
    return out.add_(normalised(slope, scale_C, None, torch.zeros_like(mean), torch.ones_like(mean)))


def _with_tangents(
    weight: Tensor | None,
    sum_C: Tensor,
    product_C: Tensor,
    tangents: tuple[Tensor, Tensor],
    inverse_std: Tensor,
    count: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Weight and sums with which w s (t - sum / n - (x - m) s^2 product / n) has the tangents' part in it.

    That part, (x - m) s w_t + b_t, is divided by what stands before the brackets: this saves two passes over x. A
    weight near zero is taken for one that has an inverse, and is still far below what rounding does.
    """
    weight = torch.ones_like(inverse_std) if weight is None else weight.abs().clamp_min(_LEAST_WEIGHT).copysign(weight)
    before_C = weight * inverse_std
    sum_C = torch.addcdiv(sum_C, tangents[1], before_C, value=-count)
    return weight, sum_C, torch.addcdiv(product_C, tangents[0], before_C * inverse_std, value=-count)
