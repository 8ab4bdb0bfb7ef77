"""Distributed: the processes that share a run, and gathers and sums over them with exact derivatives.

Every process calls the same functions in the same order. With one process each function is the identity. The rule of
the derivatives: what is minimised is the mean of the processes' losses, and gradients are averaged after the backward
pass (`average_`), so the adjoint of a sum is a sum and that of a gather is a sum of the processes' slices.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .launch import Launch, launch_of, meeting_point
from .precision import at_least_float32

GATHER = "all_gather_single" if hasattr(dist, "all_gather_single") else "all_gather_into_tensor"  # of older torch
TIMEOUT = timedelta(hours=4)  # the others wait while the first process writes, or trains a long linear probe


def rank() -> int:
    """Number of this process, from 0; the first one writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes share the run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gather(x: Tensor) -> Tensor:
    """The rows of every process, in the order of their ranks; differentiable in reverse and forward mode.

    All processes give the same shape. Numbers that autocast left narrow arrive in float32, so that their gradients are
    summed over processes in float32.
    """
    if world() == 1:
        return x
    gathered: Tensor = _GATHER(at_least_float32(x) if x.is_floating_point() else x)
    return gathered


def total(x: Tensor) -> Tensor:
    """The sum over processes; differentiable in reverse and forward mode."""
    if world() == 1:
        return x
    summed: Tensor = _SUM(x)
    return summed


def share(x: Tensor) -> Tensor:
    """This process's rows of what every process holds: the inverse of `gather`."""
    count = len(x) // world()
    return x[rank() * count : (rank() + 1) * count]


@torch.no_grad()
def average_(tensors: Sequence[Tensor]) -> None:
    """Overwrite tensors by their means over processes, all in one message a type and device."""
    if world() > 1:
        for alike, flat in _messages(tensors):
            dist.all_reduce(flat)
            _unpack(flat.div_(world()), alike)


@torch.no_grad()
def broadcast_(tensors: Sequence[Tensor]) -> None:
    """Overwrite tensors by those of the first process, all in one message a type and device."""
    if world() > 1:
        for alike, flat in _messages(tensors):
            dist.broadcast(flat, 0)
            _unpack(flat, alike)


def first_says(value: Any) -> Any:
    """What the first process gives, on every process: plain values only."""
    if world() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, 0)
    return values[0]


def any_says(flag: bool, device: torch.device | str) -> bool:
    """Whether the flag is set on any process."""
    if world() == 1:
        return flag
    raised = torch.tensor(int(flag), device=device)
    dist.all_reduce(raised, dist.ReduceOp.MAX)
    return bool(raised)


@contextmanager
def processes(device: str) -> Iterator[Launch]:
    """Meet the other processes of this run, if the environment says that there are any; part at the end."""
    launch = launch_of(os.environ)
    if launch.world == 1 or dist.is_initialized():
        yield launch
        return
    if "MASTER_ADDR" not in os.environ:
        os.environ.update(meeting_point(os.environ))
    # Optimisers import it sooner or later; once the group is there, it would keep hold of it, whose threads then
    # outlive the interpreter and now and then abort the process at its end (torch 2.11).
    import torch._dynamo

    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(launch.local_rank % torch.cuda.device_count())
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo", rank=launch.rank, world_size=launch.world, timeout=TIMEOUT
    )
    try:
        yield launch
    finally:
        dist.destroy_process_group()


def _messages(tensors: Sequence[Tensor]) -> Iterator[tuple[list[Tensor], Tensor]]:
    """The tensors of every type and device, and all their values in one flat tensor."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for alike in kinds.values():
        yield alike, torch.cat([tensor.flatten() for tensor in alike])


def _unpack(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    for tensor, values in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(values.view_as(tensor))


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        out = x.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(out)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _SUM(gradient)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Any:
        return _SUM(tangent)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        out = x.new_empty((len(x) * world(), *x.shape[1:]))
        getattr(dist, GATHER)(out, x.detach().contiguous())
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return share(_SUM(gradient))

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Any:
        return _GATHER(tangent)


_SUM: Callable[[Tensor], Any] = _Sum.apply
_GATHER: Callable[[Tensor], Any] = _Gather.apply
