"""Kept activations: what the forward-mode pass takes over from the first forward pass of a step.

Both passes compute the same network at the same parameters and views. What is kept is not computed again; what is not
kept is, to the same number.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_PASS = 50  # multiplications that take as long as to read or write one element; 20 on a CPU, 200 on a GPU in bfloat16

CONVOLUTIONS = (torch.conv2d,)
RELUS = (functional.relu,)
ADDITIONS = (Tensor.add, torch.add)


def eager() -> AbstractContextManager[Any]:
    """Whatever is compiled runs as it was written: torch.compile, module.compile and functions of both alike.

    Compiled code knows no forward-mode derivative and drops it without an error (torch 2.11), and no function mode
    sees what it computes.
    """
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]


class Result:
    """One call's result, and what tells that a later call is the same one."""

    def __init__(self, function: Any, result: Tensor, work: float) -> None:
        self.function, self.shape = function, result.shape
        self.value: Tensor | None = result.detach()
        self.work = work  # passes over the result that it takes to compute it again
        self._version = result._version

    def is_of(self, function: Any, shape: torch.Size | None) -> bool:
        """Whether a later call of `function`, whose result has this shape, may be the same."""
        return function is self.function and shape in (None, self.shape)

    def take(self) -> Tensor | None:
        """The result, once; None where it was let go of, or overwritten since."""
        value, self.value = self.value, None
        return value if value is not None and value._version == self._version else None


class Statistics(NamedTuple):
    """What a batch norm computed of its input, one number a channel."""

    mean: Tensor
    inverse_std: Tensor


class KeptActivations(TorchFunctionMode):
    """As a context around a forward pass: keeps what convolutions, batch norms and ReLUs gave.

    In a residual network every stage costs as much to compute, and the deeper ones need a fraction of the memory; a
    ReLU after a residual addition stands for four elementwise operations. `prune` keeps the dearest a byte.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share  # of the bytes of all results
        self.results: list[Result] = []
        self.statistics: list[Statistics | None] = []
        self._passes = 0  # over memory since the last ReLU

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if function in CONVOLUTIONS:
            self.results.append(Result(function, result, 2 + args[1][0].numel() / _PASS))
        elif function in RELUS:
            self.results.append(Result(function, result, self._passes + 2))
            self._passes = 0
        elif function is functional.batch_norm:
            self.statistics.append(_statistics(result))
            self._passes += 2
        elif function in ADDITIONS:
            self._passes += 3
        return result

    def prune(self) -> None:
        """Let go of what exceeds the share, the least work a byte first."""
        left = self.share * sum(kept.value.nbytes for kept in self.results if kept.value is not None)
        for kept in sorted(self.results, key=lambda kept: -kept.work):
            if kept.value is not None and kept.value.nbytes <= left:
                left -= kept.value.nbytes
            else:
                kept.value = None


def _statistics(normalised: Tensor) -> Statistics | None:
    """Those that autograd holds for the backward pass of a batch norm, so that they are not computed again."""
    mean, inverse_std = (getattr(normalised.grad_fn, f"_saved_result{i}", None) for i in (1, 2))
    if mean is None or inverse_std is None or not mean.numel():  # a batch norm with known statistics has none
        return None
    return Statistics(mean.detach(), inverse_std.detach())
