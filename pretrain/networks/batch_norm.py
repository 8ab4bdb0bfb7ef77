"""Batch norm over the whole batch of several processes, in every mode of differentiation (also on a CPU).

PyTorch's SyncBatchNorm needs CUDA and has no forward-mode derivative; this one is one gather of means and variances
and elementwise operations (Ioffe and Szegedy, ICML 2015, Algorithm 1), so every derivative follows from theirs. The
variance of all is the mean variance plus the variance of the means: stable in float32, unlike a mean of squares.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..runtime.distributed import gather, world


class SynchronisedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm whose statistics are those of all processes' samples; each process gives equally many."""

    def _check_input_dim(self, x: Tensor) -> None:
        if x.ndim < 2:
            raise ValueError(f"batch norm expects samples x channels x ..., not {x.ndim} dimensions")

    def forward(self, x: Tensor) -> Tensor:
        """As nn.BatchNorm; N x C or N x C x H x W."""
        if not self.training or world() == 1:
            return super().forward(x)
        narrow, x = x.dtype, x.to(torch.promote_types(x.dtype, torch.float32))
        others = [dim for dim in range(x.ndim) if dim != 1]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        count = x.numel() // x.shape[1] * world()
        variance_C, mean_C = torch.var_mean(x, others, correction=0)
        means_PC, variances_PC = gather(torch.cat([mean_C, variance_C])[None]).chunk(2, dim=1)  # P processes
        mean_C = means_PC.mean(0)
        variance_C = (variances_PC + (means_PC - mean_C).square()).mean(0)
        if self.track_running_stats:
            self._remember(mean_C.detach(), variance_C.detach() * count / (count - 1))
        out = (x - mean_C.view(shape)) * (variance_C + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(narrow)

    @torch.no_grad()
    def _remember(self, mean_C: Tensor, variance_C: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean_C, self.momentum)
        self.running_var.lerp_(variance_C, self.momentum)


def synchronise_batch_norms(module: nn.Module) -> None:
    """Make every batch norm inside `module` one over all processes, with its parameters and buffers as they are."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.__class__ = SynchronisedBatchNorm  # type: ignore[assignment]
