"""Copies between the host and its device for which neither waits.

A copy is asynchronous only from and to pinned memory; PyTorch keeps a pinned buffer alive until its copy is done.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_ALIGNED = 8  # bytes: a part may start wherever its largest type may


def send(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on the device; the tensor itself where that is the host."""
    return values if device.type == "cpu" else values.pin_memory().to(device, non_blocking=True)


def send_all(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Several tensors of the host on the device, in one copy; the tensors themselves where that is the host."""
    if device.type == "cpu":
        return list(tensors)
    starts, end = [], 0
    for tensor in tensors:
        starts.append(end)
        end += -(-tensor.nbytes // _ALIGNED) * _ALIGNED
    packed = torch.empty(end, dtype=torch.uint8)
    for tensor, start in zip(tensors, starts, strict=True):
        packed[start : start + tensor.nbytes].view(tensor.dtype).copy_(tensor.flatten())
    sent = send(packed, device)
    return [
        sent[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        for tensor, start in zip(tensors, starts, strict=True)
    ]


class HostCopy:
    """A small tensor on its way to the host: it has the values of this moment, and may be looked at later."""

    def __init__(self, tensor: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        if tensor.device.type == "cpu":
            self._values = tensor.detach().clone()
            return
        self._values = torch.empty(tensor.shape, dtype=tensor.dtype).pin_memory()
        self._values.copy_(tensor.detach(), non_blocking=True)
        self._event = torch.cuda.Event()
        self._event.record()

    def arrived(self) -> bool:
        """Whether `values` would not wait."""
        return self._event is None or self._event.query()

    def values(self) -> Tensor:
        """The tensor on the host; waits for the copy where it is not done."""
        if self._event is not None:
            self._event.synchronize()
        return self._values


class Flag:
    """A boolean of the device, true at first, that the host looks at late, so that it hardly waits."""

    def __init__(self, device: torch.device) -> None:
        self.value = torch.ones((), dtype=torch.bool, device=device)
        self._copy: HostCopy | None = None

    def seen(self) -> bool:
        """What it was at the call before, true at the first call; on the CPU what it is.

        It is the same in all processes that call at the same steps, for no process asks whether its copy has arrived.
        """
        before, self._copy = self._copy, HostCopy(self.value)
        looked_at = self._copy if self.value.device.type == "cpu" else before
        return looked_at is None or bool(looked_at.values())
