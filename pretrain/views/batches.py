"""Feed: the input of every training step, from images in memory or on disk, on the device.

What a step sees is a function of (seed, step), whatever step the feed starts at and however many processes share it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.imagenet import Files
from ..data.images import Images
from ..specs.datasets import DATASETS
from ..specs.run import Run
from .augment import Views
from .crops import RandomCrops
from .loader import batches, training_requests


@dataclass(frozen=True, eq=False)
class Input:
    """One process's share of a step's input."""

    views: tuple[Tensor, ...]  # each N x 3 x S x S, normalised; S may differ between views
    index: Tensor  # int64, N, on the CPU
    labels: Tensor  # int64, N, on the device


def feed(images: Images | Files, run: Run, steps: range, device: torch.device, workers: int) -> Iterator[Input]:
    """The input of these steps; `workers` processes decode images that are on disk."""
    dataset = DATASETS[run.dataset]
    views = [Views(view, dataset, run.seed, number) for number, view in enumerate(run.views)]
    requests = training_requests(len(images), run.batch_size, run.seed, steps)
    if isinstance(images, Files):
        crops = RandomCrops(dataset, run.views, run.seed)
        in_epoch = len(images) // run.batch_size
        cuda = device.type == "cuda"
        for step, loaded in zip(steps, batches(images, requests, crops, workers, pin_memory=cuda), strict=True):
            made = [
                view.after_crop(pixels.to(device, non_blocking=True), loaded.samples, step // in_epoch)
                for view, pixels in zip(views, loaded.pixels, strict=True)
            ]
            yield Input(tuple(made), loaded.samples, loaded.labels.to(device, non_blocking=True))
        return
    pixels = torch.from_numpy(np.ascontiguousarray(images.pixels)).to(device)
    labels = torch.from_numpy(images.labels).to(device)
    for epoch, index in requests:
        rows = index.to(device, non_blocking=True)
        chosen = pixels[rows]
        yield Input(tuple(view(chosen, index, epoch) for view in views), index, labels[rows])
