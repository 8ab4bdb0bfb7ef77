"""Shared work: work without gradients that the processes of a run divide among themselves, and put together on each.

As in `distributed`, every process calls the same functions in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from ..runtime.distributed import rank, world


@contextmanager
def fails_together() -> Iterator[None]:
    """What a process does for itself: the error of one becomes an error of all, so that no other waits for it.

    Nothing inside may wait for another process. A process without an error of its own raises the first other's, as
    ValueError where that is one, else as RuntimeError.
    """
    if world() == 1:
        yield
        return
    own: Exception | None = None
    try:
        yield
    except Exception as error:
        own = error
    told = (isinstance(own, ValueError), f"{type(own).__name__}: {own}") if own else None
    all_told: list[tuple[bool, str] | None] = [None] * world()
    dist.all_gather_object(all_told, told)
    if own:
        raise own
    for process, other in enumerate(all_told):
        if other:
            raise (ValueError if other[0] else RuntimeError)(f"process {process} of {world()} failed: {other[1]}")


@torch.no_grad()
def exchange(part: Tensor, rows: Sequence[int]) -> list[Tensor]:
    """The parts of all processes, by rank, on every process.

    Process p gives `rows[p]` rows, perhaps none; all rows are of one shape and type.
    """
    if world() == 1:
        return [part]
    shape = [part.shape[1:]]
    dist.broadcast_object_list(shape, rows.index(max(rows)))  # who gives no rows knows no shape
    parts = [
        part.contiguous() if p == rank() and count else part.new_empty(count, *shape[0]) for p, count in enumerate(rows)
    ]
    for process, given in enumerate(parts):
        if len(given):
            dist.broadcast(given, process)
    return parts
