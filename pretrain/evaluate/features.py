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
from ..specs.datasets import Dataset
from ..views.crops import CentreCrop
from ..views.loader import batches
from ..views.requests import requests_in_order


def extract(
    backbone: nn.Module,
    images: Images | Files,
    dataset: Dataset,
    device: torch.device | str,
    batch_size: int = 512,
    workers: int = 0,
) -> Tensor:
    """Features of all `images` in their order: images x features, float32, on `device`.

    Batch norm uses its running statistics; the mode of every submodule is as before afterwards. `workers` processes
    decode images that are on disk.
    """
    if not len(images):
        raise ValueError("no images to extract features from; expected at least one")
    backbone = backbone.to(device)
    batches_BD = []
    with _evaluating(backbone), full_precision(device), torch.inference_mode():
        for pixels_B3HW in pixels_in_order(images, dataset, batch_size, workers):
            input_B3SS = network_input(pixels_B3HW.to(device), dataset)
            dtype = next((p.dtype for p in backbone.parameters()), torch.float32)
            batches_BD.append(backbone(input_B3SS.to(dtype)).float())
    # a copy made outside inference mode, so that a probe may keep it for a backward pass
    return torch.cat(batches_BD).clone()


def pixels_in_order(images: Images | Files, dataset: Dataset, batch_size: int, workers: int) -> Iterator[Tensor]:
    """All images in their order, uint8 batches on the CPU; those on disk come resized and cropped."""
    if isinstance(images, Files):
        requests = requests_in_order(len(images), batch_size)
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
