"""Gradients averaged over processes while the backward pass still runs, as DistributedDataParallel does it.

Gradients share messages of a few megabytes, in the reverse order of the parameters, which is about the order in which
they come; a message leaves as soon as it is complete (Li et al., PyTorch Distributed, VLDB 2020, section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from .distributed import world

MESSAGE_BYTES = 25 * 2**20  # DistributedDataParallel's bucket_cap_mb


def mean_gradients(
    loss: Tensor, parameters: Sequence[Tensor], passengers: Sequence[Tensor] = (), *, keep_graph: bool = False
) -> list[Tensor | None]:
    """The gradients of the mean of the processes' losses; None for a parameter that this process's loss does not use.

    `passengers` are scalars that are known before the backward pass: they are overwritten by their means over
    processes, and need no message of their own. Every process gives the same number of parameters and passengers, of
    the same shapes and types, and its loss is computed by the same operations.
    """
    parameters = list(parameters)
    if world() == 1:
        return list(torch.autograd.grad(loss, parameters, retain_graph=keep_graph, allow_unused=True))
    common = parameters[0].dtype
    values = [passenger.detach().to(torch.promote_types(passenger.dtype, common)) for passenger in passengers]
    messages = _Messages([*values, *reversed(parameters)])
    for number, value in enumerate(values):
        messages.add(number, value)
    last = len(messages.tensors) - 1
    hooks = [
        parameter.register_hook(partial(messages.add, last - number)) for number, parameter in enumerate(parameters)
    ]
    try:
        used = [
            gradient is not None
            for gradient in torch.autograd.grad(loss, parameters, retain_graph=keep_graph, allow_unused=True)
        ]
    finally:
        for hook in hooks:
            hook.remove()
    means = messages.means()
    with torch.no_grad():
        for passenger, mean in zip(passengers, means, strict=False):
            passenger.copy_(mean)
    return [mean if use else None for mean, use in zip(reversed(means), used, strict=False)]


class _Messages:
    """The means over processes of values that come one by one, each of the shape and type of its place in `tensors`.

    A message leaves after those before it, so that all processes send them in the same order.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)
        self._places = _split(self.tensors)  # by message
        self._message = {place: number for number, places in enumerate(self._places) for place in places}
        self._missing = [len(places) for places in self._places]
        self._values: dict[int, Tensor] = {}
        self._means: dict[int, Tensor] = {}
        self._sent: list[tuple[Tensor, dist.Work]] = []

    def add(self, place: int, value: Tensor) -> None:
        """The value of a place is there."""
        self._values[place] = value.detach()
        self._missing[self._message[place]] -= 1
        while len(self._sent) < len(self._places) and not self._missing[len(self._sent)]:
            self._send()

    def means(self) -> list[Tensor]:
        """The mean of every place, in order; that of a value which never came counts it as zero."""
        while len(self._sent) < len(self._places):
            self._send()
        for _, work in self._sent:
            work.wait()
        torch._foreach_div_([flat for flat, _ in self._sent], world())
        return [self._means[place] for place in range(len(self.tensors))]

    @torch.no_grad()
    def _send(self) -> None:
        places = self._places[len(self._sent)]
        like = [self.tensors[place] for place in places]
        sizes = [tensor.numel() for tensor in like]
        flat = like[0].new_empty(sum(sizes))
        parts = [_in_the_layout_of(tensor, values) for tensor, values in zip(like, flat.split(sizes), strict=True)]
        for place, part in zip(places, parts, strict=True):
            if place not in self._values:
                self._values[place] = torch.zeros_like(part)
        torch._foreach_copy_(parts, [self._values.pop(place) for place in places])
        self._means.update(zip(places, parts, strict=True))
        work = dist.all_reduce(flat, async_op=True)
        assert work is not None
        self._sent.append((flat, work))


def _split(tensors: Sequence[Tensor]) -> list[list[int]]:
    """The places of tensors of one type and device in messages of about MESSAGE_BYTES, in order."""
    messages: list[list[int]] = []
    open_messages: dict[tuple[torch.dtype, torch.device], tuple[list[int], int]] = {}
    for place, tensor in enumerate(tensors):
        kind = tensor.dtype, tensor.device
        places, size = open_messages.get(kind, ([], MESSAGE_BYTES))
        if size >= MESSAGE_BYTES:
            places, size = [], 0
            messages.append(places)
        places.append(place)
        open_messages[kind] = places, size + tensor.nbytes
    return messages


def _in_the_layout_of(tensor: Tensor, flat: Tensor) -> Tensor:
    """A view of `flat` with a tensor's shape, and channels-last where that is, as an optimiser likes a gradient."""
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return flat.as_strided(tensor.shape, tensor.stride())
    return flat.view(tensor.shape)
