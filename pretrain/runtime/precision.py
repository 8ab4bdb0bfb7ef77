"""Precision: losses in float32 or better, whatever the networks computed in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def full_precision(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Run a loss outside autocast with its tensors in float32 or better, whatever the networks computed in."""

    @functools.wraps(loss)
    def wrapped(*args: Any, **kwargs: Any) -> Tensor:
        device = next(tensor.device.type for tensor in _tensors(args))
        with torch.autocast(device, enabled=False):
            return loss(*(_widened(a) for a in args), **{name: _widened(a) for name, a in kwargs.items()})

    return wrapped


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [tensor for part in value for tensor in _tensors(part)] if isinstance(value, tuple | list) else []


def _widened(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(_widened(part) for part in value)
    return at_least_float32(value) if isinstance(value, Tensor) and value.is_floating_point() else value


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor itself, or in float32 where autocast left it narrower."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
