"""Gradients averaged over processes while the backward pass still runs, as DistributedDataParallel does it.

Gradients are put into messages of a few megabytes, in the reverse order of the parameters, which is about the order in
which they come; a message leaves once it is full (Li et al., PyTorch Distributed, VLDB 2020, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from .distributed import world

MESSAGE_BYTES = 25 * 2**20  # DistributedDataParallel's bucket_cap_mb


def mean_gradients(loss: Tensor, parameters: Sequence[Tensor], passengers: Sequence[Tensor] = ()) -> list[Tensor | None]:
    """The gradients of the mean of the processes' losses, as torch.autograd.grad gives them for one process.

    None for a parameter that this process's loss does not use; to the mean it adds zero. `passengers` are scalars
    known before the pass, which are overwritten by their means and need no message of their own. Every process gives
    tensors of the same shapes in the same order. A loss without a graph has no gradients: the others' are not kept
    waiting for them.
    """
    parameters = list(parameters)
    if world() == 1:
        return _gradients(loss, parameters)
    messages = _Messages([*passengers, *reversed(parameters)])
    for number, passenger in enumerate(passengers):
        messages.add(number, passenger)
    last = len(messages.tensors) - 1
    hooks = [p.register_hook(partial(messages.add, last - number)) for number, p in enumerate(parameters)]
    try:
        used = [gradient is not None for gradient in _gradients(loss, parameters)]
    finally:
        for hook in hooks:
            hook.remove()
    means = messages.means()
    with torch.no_grad():
        for passenger, mean in zip(passengers, means, strict=False):
            passenger.copy_(mean)
    return [mean if use else None for mean, use in zip(reversed(means), used, strict=False)]
