"""Forward-mode derivatives of convolution, batch norm, ReLU and addition, in few passes over memory.

PyTorch's own rules compute every value again beside its derivative, and batch norm's is a dozen elementwise passes, two
thirds of a narrow network's product. Here values come from the first forward pass, as far as it kept them, and what
lies between two kept values is not computed at all.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from ..networks.batch_norm_kernels import normalised, slope_sums, through_statistics
from .kept import ADDITIONS, CONVOLUTIONS, RELUS, KeptActivations, Statistics

_SHAPE_ONLY = (Tensor.dim, Tensor.size)  # a deferred tensor answers these without its value


@functools.cache
def load_rules_of_torch() -> None:
    """Load PyTorch's own rules, as its first dual tensor does, without its warning that they use torch.jit.script."""
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.filterwarnings("ignore", "`torch.jit.script` is")  # a DeprecationWarning, a FutureWarning from 2.14 on
        forward_ad.make_dual(torch.zeros(()), torch.zeros(()))


class FusedRules(TorchFunctionMode):
    """As a context inside a dual level: the rules of this file in place of PyTorch's.

    `kept` is of an earlier call of the same network at the same parameters and inputs; RuntimeError where it is not.
    Every function without a rule here gets dual tensors, and PyTorch's own rule.
    """

    def __init__(self, kept: KeptActivations | None = None) -> None:
        super().__init__()
        self._kept = kept
        self._results = iter(kept.results if kept else ())
        self._statistics = iter(kept.statistics if kept else ())

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in RELUS:
            return self._relu(function, *args, **kwargs)
        if function in ADDITIONS and len(args) == 2 and not kwargs and any(isinstance(x, _Deferred) for x in args):
            return _add(*args)
        if function in _SHAPE_ONLY:
            return function(*args, **kwargs)
        args, kwargs = tree_map_only(Tensor, dual, (args, kwargs))
        if function in CONVOLUTIONS:
            return self._convolution(function, *args, **kwargs)
        if function is functional.batch_norm:
            return _batch_norm(next(self._statistics, None), *args, **kwargs)
        return function(*args, **kwargs)

    def _take(self, function: Any, shape: torch.Size | None = None) -> Tensor | None:
        if self._kept is None:
            return None
        entry = next(self._results, None)
        if entry is None or not entry.is_of(function, shape):
            raise RuntimeError("the network computes something else in its forward-mode pass than in its first pass")
        return entry.take()

    def _convolution(
        self, function: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **kwargs: Any
    ) -> Tensor:
        x_primal, x_tangent = forward_ad.unpack_dual(x)
        w_primal, w_tangent = forward_ad.unpack_dual(weight)
        b_primal, b_tangent = (None, None) if bias is None else forward_ad.unpack_dual(bias)
        kept = self._take(function)
        out = function(x_primal, w_primal, b_primal, *rest, **kwargs) if kept is None else kept
        tangent = None if x_tangent is None else function(x_tangent, w_primal, None, *rest, **kwargs)
        if w_tangent is not None:
            through_weight = function(x_primal, w_tangent, b_tangent, *rest, **kwargs)
            tangent = through_weight if tangent is None else tangent.add_(through_weight)
        elif b_tangent is not None:
            along_bias = b_tangent.to(out.dtype).view(-1, 1, 1).expand_as(out)
            tangent = torch.empty_like(out).copy_(along_bias) if tangent is None else tangent.add_(along_bias)
        return _made_dual(out, tangent)

    def _relu(self, function: Any, x: Tensor, inplace: bool = False) -> Tensor:
        kept = self._take(function, x.shape)
        if not isinstance(x, _Deferred):
            result: Tensor = function(x, inplace)
            return result
        out = torch.relu(x.value()) if kept is None else kept
        result = _made_dual(out, torch.ops.aten.threshold_backward(x.tangent, out, 0))
        if inplace:
            x.become(result)
        return result


class _Deferred(Tensor):
    """A tangent whose value is computed when a function asks for it, which most often none does.

    It has the shape and type of the value. Whoever reads it without FusedRules gets an error, never a wrong number.
    """

    tangent: Tensor
    _compute: Callable[[], Tensor]
    _dual: Tensor | None

    @staticmethod
    def __new__(cls, compute: Callable[[], Tensor], tangent: Tensor) -> _Deferred:
        made: _Deferred = Tensor._make_wrapper_subclass(
            cls, tangent.shape, strides=tangent.stride(), dtype=tangent.dtype, device=tangent.device
        )
        made.tangent, made._compute, made._dual = tangent, compute, None
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise RuntimeError(f"{function} reads a value that the forward-mode pass has not computed")

    def value(self) -> Tensor:
        """The value without its tangent."""
        return _value(self.dual())

    def dual(self) -> Tensor:
        """Value and tangent as PyTorch knows them; always the same tensor, for it may be changed in place."""
        if self._dual is None:
            self._dual = _made_dual(self._compute(), self.tangent)
        return self._dual

    def become(self, other: Tensor) -> None:
        """Stand for `other` from now on: what an operation in place does."""
        self._dual, self.tangent = other, forward_ad.unpack_dual(other).tangent


def dual(x: Tensor) -> Tensor:
    """A tensor that PyTorch's own rules can take."""
    return x.dual() if isinstance(x, _Deferred) else x


def _made_dual(primal: Tensor, tangent: Tensor | None) -> Tensor:
    made: Tensor = primal if tangent is None else forward_ad.make_dual(primal, tangent)
    return made


def _add(x: Tensor, y: Any) -> Tensor:
    """The sum of two tensors, of which one at least is deferred."""
    if not isinstance(y, Tensor) or not isinstance(x, Tensor) or x.shape != y.shape or x.dtype != y.dtype:
        sum_of_duals: Tensor = torch.add(*tree_map_only(Tensor, dual, (x, y)))
        return sum_of_duals
    tangents = [t for t in map(_tangent, (x, y)) if t is not None]
    tangent = torch.add(*tangents) if len(tangents) == 2 else tangents[0]
    return _Deferred(lambda: torch.add(_value(x), _value(y)), tangent)


def _tangent(x: Tensor) -> Tensor | None:
    return x.tangent if isinstance(x, _Deferred) else forward_ad.unpack_dual(x).tangent


def _value(x: Tensor) -> Tensor:
    primal: Tensor = x.value() if isinstance(x, _Deferred) else forward_ad.unpack_dual(x).primal
    return primal


def _batch_norm(
    statistics: Statistics | None,
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
    if not training or tangent is None:
        return torch.batch_norm(x, weight, bias, running_mean, running_var, training, momentum, eps, True)
    if statistics is None:
        out, *of_x = torch.native_batch_norm(primal, scale, shift, None, None, True, 0.0, eps)
        statistics = Statistics(*of_x)
    else:
        out = None
    mean, inverse_std = statistics
    tangents = None
    if scale_tangent is not None or shift_tangent is not None:
        scale_tangent, shift_tangent = (
            torch.zeros_like(mean) if t is None else t for t in (scale_tangent, shift_tangent)
        )
        tangents = scale_tangent, shift_tangent
    sums, count = slope_sums(tangent, primal, scale, mean, inverse_std), primal.numel() // primal.shape[1]
    out_tangent = through_statistics(tangent, primal, scale, mean, inverse_std, sums, count, tangents)
    return _Deferred(lambda: normalised(primal, scale, shift, mean, inverse_std) if out is None else out, out_tangent)
