"""Requests: which images a batch holds, in which order; the number of processes changes no batch as a whole."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..runtime.distributed import share
from ..runtime.randomness import permutation

Request = tuple[int, Tensor]  # epoch, and which samples: int64, on the CPU


def training_requests(images: int, batch_size: int, seed: int, steps: range) -> Iterator[Request]:
    """This process's share of the batch of every step, counted from the first of the run; `steps` may start anywhere.

    Each epoch visits the images in its own order; a last batch that is not full is dropped.
    """
    in_epoch = images // batch_size
    if not in_epoch:
        raise ValueError(f"batch_size {batch_size} is more than the {images:,} images; valid: 1 to {images:,}")
    drawn, order = -1, torch.empty(0)
    for step in steps:
        epoch, position = divmod(step, in_epoch)
        if epoch != drawn:
            drawn, order = epoch, permutation(seed, epoch, images)
        yield epoch, share(order[position * batch_size : (position + 1) * batch_size])


def requests_in_order(images: int, batch_size: int) -> Iterator[Request]:
    """All images once, in their order, with a smaller last batch: for features."""
    for index in torch.arange(images).split(batch_size):
        yield 0, index
