"""Batches: the input of every pretraining step, from images in memory or on disk, on the device.

What a step takes is a function of (seed, step), whatever step the feed starts at and however many processes share it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..data.imagenet import Files
from ..data.images import Images
from ..runtime.copies import send
from ..runtime.randomness import uniform
from ..specs.run import Run
from .augment import Views, make_views, make_views_of_crops
from .batch import Batch
from .crops import RandomCrops
from .loader import batches
from .requests import training_requests

_BATCH_DRAW = -1  # in place of a sample's index: random numbers of a whole batch


def feed(images: Images | Files, run: Run, steps: range, device: torch.device, workers: int) -> Iterator[Batch]:
    """The batches of these steps, views in float32; `workers` processes decode images that are on disk.

    On CUDA the views are made on a stream of their own, while the step before them computes on the current one.
    """
    made = _made(images, run, steps, device, workers)
    return on_side_stream(made, device) if device.type == "cuda" else made


def on_side_stream(made: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The same batches, made by a stream of `device` beside the current one, which waits for each on the device."""
    side = torch.cuda.Stream(device)
    end = object()
    while True:
        with torch.cuda.stream(side):
            batch = next(made, end)
        if not isinstance(batch, Batch):
            return
        computing = torch.cuda.current_stream(device)
        computing.wait_stream(side)
        for tensor in (*batch.views, batch.labels):
            tensor.record_stream(computing)  # its memory is not given to another batch before the step has used it
        yield batch


def _made(images: Images | Files, run: Run, steps: range, device: torch.device, workers: int) -> Iterator[Batch]:
    in_epoch = len(images) // run.batch_size
    for step, (views, index, labels) in zip(steps, _inputs(images, run, steps, device, workers), strict=True):
        draw = uniform(run.seed, step, torch.tensor([_BATCH_DRAW]), len(run.views), 1)
        yield Batch(views=views, index=index, labels=labels, step=step, epoch=step / in_epoch, draw=float(draw))


def _inputs(
    images: Images | Files, run: Run, steps: range, device: torch.device, workers: int
) -> Iterator[tuple[tuple[Tensor, ...], Tensor, Tensor]]:
    """Views, samples and labels of every step."""
    dataset = run.data
    views = [Views(view, dataset, run.seed, number) for number, view in enumerate(run.views)]
    requests = training_requests(len(images), run.batch_size, run.seed, steps)
    if isinstance(images, Files):
        crops = RandomCrops(dataset, run.views, run.seed)
        in_epoch = len(images) // run.batch_size
        cuda = device.type == "cuda"
        for step, loaded in zip(steps, batches(images, requests, crops, workers, pin_memory=cuda), strict=True):
            pixels = [crops_NCSS.to(device, non_blocking=True) for crops_NCSS in loaded.pixels]
            made = make_views_of_crops(views, pixels, loaded.samples, step // in_epoch)
            yield made, loaded.samples, loaded.labels.to(device, non_blocking=True)
        return
    whole = torch.from_numpy(np.ascontiguousarray(images.pixels)).to(device)
    labels = torch.from_numpy(images.labels).to(device)
    for epoch, index in requests:
        rows = send(index, device)
        yield make_views(views, whole[rows], index, epoch), index, labels[rows]
