"""Features: the backbone's output before the projector, as the probes read it (protocol of the W-MSE code).

Evaluation mode, full float32, no augmentation, not normalised.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ..data.imagenet import Files
from ..data.images import Images
from ..runtime.distributed import broadcast_, rank, world
from ..specs.datasets import Dataset
from ..views.crops import CentreCrop
from ..views.loader import batches
from ..views.requests import requests_in_order
from .shared_work import exchange, fails_together

TOGETHER = 512  # images that go through a backbone at once; products of another size may round otherwise


def extract(
    backbone: nn.Module,
    images: Images | Files,
    dataset: Dataset,
    device: torch.device | str,
    batch_size: int = TOGETHER,
    workers: int = 0,
    turn: int = 0,
) -> Tensor:
    """Features of all `images` in their order: images x features, float32, on `device`.

    Batch norm uses its running statistics; the mode of every submodule is as before afterwards. `workers` processes
    decode images that are on disk. The processes of a run take turns, batch by batch, from process `turn` modulo their
    number on, all with the first one's statistics; each gets all features, with the bits that one process gives.
    """
    if not len(images):
        raise ValueError("no images to extract features from; expected at least one")
    backbone = backbone.to(device)
    if world() == 1:
        return _features(backbone, images, dataset, device, batch_size, workers)
    process_N = (np.arange(len(images)) // batch_size + turn) % world()
    rows_P = [np.flatnonzero(process_N == process) for process in range(world())]
    with _statistics_of_the_first(backbone), fails_together():
        own_RD = _features(backbone, images.take(rows_P[rank()]), dataset, device, batch_size, workers)
    features_ND = torch.cat(exchange(own_RD, [len(rows) for rows in rows_P]))
    features_ND[torch.from_numpy(np.concatenate(rows_P)).to(device)] = features_ND.clone()
    return features_ND


def _features(
    backbone: nn.Module,
    images: Images | Files,
    dataset: Dataset,
    device: torch.device | str,
    batch_size: int,
    workers: int,
) -> Tensor:
    batches_BD = []
    with _evaluating(backbone), full_precision(device), torch.inference_mode():
        for pixels_B3HW in pixels_in_order(images, dataset, batch_size, workers):
            input_B3SS = network_input(pixels_B3HW.to(device), dataset)
            dtype = next((p.dtype for p in backbone.parameters()), torch.float32)
            batches_BD.append(backbone(input_B3SS.to(dtype)).float())
    # a copy made outside inference mode, so that a probe may keep it for a backward pass
    return torch.cat(batches_BD).clone() if batches_BD else torch.empty(0, device=device)


def pixels_in_order(images: Images | Files, dataset: Dataset, batch_size: int, workers: int) -> Iterator[Tensor]:
    """All images in their order, uint8 batches on the CPU; those on disk come resized and cropped."""
    if isinstance(images, Files):
        requests = requests_in_order(len(images), batch_size) if len(images) else ()
        yield from (loaded.pixels[0] for loaded in batches(images, requests, CentreCrop(dataset), workers))
        return
    for start in range(0, len(images), batch_size):
        yield torch.from_numpy(np.ascontiguousarray(images.pixels[start : start + batch_size]))


def network_input(pixels_B3HW: Tensor, dataset: Dataset) -> Tensor:
    """What the backbone sees of uint8 images at test time: resized, cropped and normalised as the data set says."""
    if dataset.test_resize and not dataset.large:  # large ones were, by the workers
        from torchvision.transforms.v2 import functional as vision  # seconds to import, and seldom needed

        # on uint8, so that overshoot at edges is clipped and levels are rounded as in the source's 8-bit pipeline
        resized_B3HW = vision.resize(
            pixels_B3HW, [dataset.test_resize], interpolation=vision.InterpolationMode.BICUBIC, antialias=True
        )
        pixels_B3HW = vision.center_crop(resized_B3HW, [dataset.view_size])
    scaled_B3SS = pixels_B3HW.float() / 255
    mean = scaled_B3SS.new_tensor(dataset.mean).view(3, 1, 1)
    std = scaled_B3SS.new_tensor(dataset.std).view(3, 1, 1)
    return (scaled_B3SS - mean) / std


@contextlib.contextmanager
def full_precision(device: torch.device | str) -> Iterator[None]:
    """Float32 products and convolutions without TF32 or autocast, whatever the caller trains with."""
    matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast(torch.device(device).type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolution


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def _statistics_of_the_first(network: nn.Module) -> Iterator[None]:
    """The first process's buffers: with batch norm over parts of the batch, every process has its own statistics."""
    own = [buffer.clone() for buffer in network.buffers()]
    broadcast_(list(network.buffers()))
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in zip(network.buffers(), own, strict=True):
                buffer.copy_(before)
