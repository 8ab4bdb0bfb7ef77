"""Forward-mode derivatives of batch norm and convolution, in as few passes over memory as there are kernels for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode


class KeptConvolutions(TorchFunctionMode):
    """As a context around a forward pass: keeps the convolution outputs that are cheapest to hold.

    In a residual network every stage costs as much to compute, and the deeper ones need a fraction of the memory; so
    half of the outputs' bytes spare a later pass at the same parameters three quarters of its convolutions.
    """

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()
        self.share = share  # of all convolution outputs' bytes
        self.outputs: list[Tensor | None] = []
        self._work: list[int] = []  # multiplications an output element costs

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if function is torch.conv2d:
            self.outputs.append(result.detach())
            self._work.append(args[1][0].numel())
        return result

    def prune(self) -> None:
        """Let go of what exceeds the share, the least work an output byte first."""
        sizes = [output.nbytes for output in self.outputs if output is not None]
        left = self.share * sum(sizes)
        for i in sorted(range(len(sizes)), key=lambda i: (-self._work[i], i)):
            if sizes[i] <= left:
                left -= sizes[i]
            else:
                self.outputs[i] = None


class _FusedRules(TorchFunctionMode):
    """Forward derivatives of batch norm and convolution in as few passes over memory as there are kernels for.

    Batch norm: the Jacobian of x -> (x - mean) / std is symmetric, so the fused backward kernel applied to the input's
    tangent gives the output's; the tangents of scale and shift add a batch norm with known statistics. PyTorch's own
    rule is a dozen elementwise passes, two thirds of a narrow network's product.
    """

    def __init__(self, kept: KeptConvolutions | None) -> None:
        super().__init__()
        self._kept = None if kept is None else iter(kept.outputs)

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is torch.nn.functional.batch_norm:
            return _batch_norm_dual(*args, **(kwargs or {}))
        if function is torch.conv2d:
            return _convolution_dual(None if self._kept is None else next(self._kept), *args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _convolution_dual(kept: Tensor | None, x: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any) -> Tensor:
    x_primal, x_tangent = forward_ad.unpack_dual(x)
    w_primal, w_tangent = forward_ad.unpack_dual(weight)
    b_primal, b_tangent = (None, None) if bias is None else forward_ad.unpack_dual(bias)
    out = torch.conv2d(x_primal, w_primal, b_primal, *rest) if kept is None else kept
    tangent = None if x_tangent is None else torch.conv2d(x_tangent, w_primal, None, *rest)
    if w_tangent is not None:
        through_weight = torch.conv2d(x_primal, w_tangent, b_tangent, *rest)
        tangent = through_weight if tangent is None else tangent.add_(through_weight)
    dual: Tensor = out if tangent is None else forward_ad.make_dual(out, tangent)
    return dual


def _batch_norm_dual(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    primal, tangent = forward_ad.unpack_dual(x)
    scale, scale_tangent = (None, None) if weight is None else forward_ad.unpack_dual(weight)
    shift, shift_tangent = (None, None) if bias is None else forward_ad.unpack_dual(bias)
    if not training or tangent is None or scale is None or shift is None:
        return torch.batch_norm(x, weight, bias, running_mean, running_var, training, momentum, eps, True)
    out, mean, inverse_std = torch.native_batch_norm(primal, scale, shift, None, None, True, 0.0, eps)
    out_tangent, _, _ = torch.ops.aten.native_batch_norm_backward(
        tangent, primal, scale, None, None, mean, inverse_std, True, eps, [True, False, False]
    )
    if scale_tangent is not None and shift_tangent is not None:
        variance = inverse_std.square().reciprocal() - eps
        out_tangent += torch.batch_norm(primal, scale_tangent, shift_tangent, mean, variance, False, 0.0, eps, False)
    dual: Tensor = forward_ad.make_dual(out, out_tangent)
    return dual
