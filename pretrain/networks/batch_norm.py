"""Batch norm: that of every network here, and the same over the whole batch of several processes.

PyTorch's SyncBatchNorm needs CUDA and has neither a forward-mode nor a second derivative. This one costs what batch
norm costs (Ioffe and Szegedy, ICML 2015, Algorithm 1): it keeps its input and a few numbers a channel, and each pass,
forward, backward or forward-mode, sends one message between the processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..runtime.distributed import gather, total, world
from .batch_norm_kernels import combined, normalised, own_statistics, slope_sums, through_statistics


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """As nn.BatchNorm1d and nn.BatchNorm2d, for N x C, N x C x L and N x C x H x W.

    The count of batches stays on the CPU, where it costs nothing: on a GPU, counting would be one kernel a layer.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        if x.ndim < 2:
            raise ValueError(f"batch norm expects samples x channels x ..., not {x.ndim} dimensions")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> BatchNorm:
        count = self.num_batches_tracked
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.num_batches_tracked = count
        return self


class SynchronisedBatchNorm(BatchNorm):
    """Batch norm whose statistics are those of all processes' samples; each process gives equally many."""

    def forward(self, x: Tensor) -> Tensor:
        """As nn.BatchNorm; N x C, N x C x L or N x C x H x W."""
        if not self.training or world() == 1:
            return super().forward(x)
        assert self.momentum is not None
        running_mean = running_var = None
        if self.track_running_stats:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            running_mean, running_var = self.running_mean, self.running_var
        x = _dense(x)
        count = x.numel() // x.shape[1] * world()
        with torch.no_grad():
            own = own_statistics(x.detach(), self.eps)  # detached, it has no tangent either
            mean, inverse_std = combined(gather(own[None]), count, self.eps, running_mean, running_var, self.momentum)
        out: Tensor = _NORMALISE(x, self.weight, self.bias, mean, inverse_std, count, self.eps)
        return out


def synchronise_batch_norms(module: nn.Module) -> None:
    """Make every batch norm inside `module` one over all processes, with its parameters and buffers as they are."""
    for layer in module.modules():
        if isinstance(layer, BatchNorm | nn.BatchNorm1d | nn.BatchNorm2d):
            layer.__class__ = SynchronisedBatchNorm


class _Normalise(torch.autograd.Function):
    """Batch norm by given statistics. Its derivatives are those of the whole: through the statistics, too."""

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        inverse_std: Tensor,
        count: int,
        eps: float,
    ) -> Tensor:
        return normalised(x, weight, bias, mean, inverse_std)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, weight, _, mean, inverse_std, ctx.count, ctx.eps = inputs
        ctx.save_for_backward(x, weight, mean, inverse_std)
        ctx.save_for_forward(x, weight, mean, inverse_std)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        x, weight, mean, inverse_std = ctx.saved_tensors
        if torch.is_grad_enabled():  # this pass is differentiated again, and the kernels have no derivative
            gradients = _differentiable_gradients(slope, x, weight, ctx.count, ctx.eps)
        else:
            slope = _laid_out_as(x, slope)
            own = slope_sums(slope, x, weight, mean, inverse_std)
            towards_x = through_statistics(slope, x, weight, mean, inverse_std, total(own), ctx.count)
            gradients = towards_x, own[1] * inverse_std, own[0]
        return *(g if needed else None for g, needed in zip(gradients, ctx.needs_input_grad, strict=False)), *[None] * 4

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor | None, weight_t: Tensor | None, bias_t: Tensor | None, *_: None) -> Tensor:
        x, weight, mean, inverse_std = ctx.saved_tensors
        tangents = None
        if weight_t is not None or bias_t is not None:
            zero = torch.zeros_like(mean)
            tangents = zero if weight_t is None else weight_t, zero if bias_t is None else bias_t
        if x_t is None:
            assert tangents is not None
            return normalised(x, *tangents, mean, inverse_std)
        x_t = _laid_out_as(x, x_t)
        sums = total(slope_sums(x_t, x, weight, mean, inverse_std))
        return through_statistics(x_t, x, weight, mean, inverse_std, sums, ctx.count, tangents)


_NORMALISE: Callable[..., Any] = _Normalise.apply


def _differentiable_gradients(
    slope: Tensor, x: Tensor, weight: Tensor | None, count: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients with respect to x, weight and bias, of plain operations of slope, x and weight."""
    wide = torch.promote_types(x.dtype, torch.float32)
    x_wide, slope = x.to(wide), slope.to(wide)
    others = [dim for dim in range(x.ndim) if dim != 1]
    shape = [1, -1, *[1] * (x.ndim - 2)]
    variance_C, mean_C = torch.var_mean(x_wide, others, correction=0)
    means_PC, variances_PC = gather(torch.stack([mean_C, variance_C])[None]).unbind(1)
    mean_C = means_PC.mean(0)
    inverse_std = ((variances_PC + (means_PC - mean_C).square()).mean(0) + eps).rsqrt().view(shape)
    standard = (x_wide - mean_C.view(shape)) * inverse_std
    own = torch.stack([slope.sum(others), (slope * standard).sum(others)])
    slope_mean, product_mean = (total(own) / count).view(2, *shape)
    towards_x = (slope - slope_mean - standard * product_mean) * inverse_std
    if weight is not None:
        towards_x = towards_x * weight.view(shape)
    return towards_x.to(x.dtype), own[1], own[0]


def _dense(x: Tensor) -> Tensor:
    """The same values in a layout that the kernels take: contiguous or channels-last."""
    return x if x.is_contiguous() or _channels_last(x) else x.contiguous()


def _laid_out_as(x: Tensor, other: Tensor) -> Tensor:
    """`other`, of the shape of x, in the layout and the type of x."""
    layout = torch.channels_last if _channels_last(x) else torch.contiguous_format
    return other.to(x.dtype).contiguous(memory_format=layout)


def _channels_last(x: Tensor) -> bool:
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
