"""CUDA: large images come off the disk into pinned memory, and their views are the CPU's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from compmod.pretrain.data.imagenet import Files
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.run import Run
from compmod.pretrain.views.batches import feed
from compmod.pretrain.views.crops import RandomCrops
from compmod.pretrain.views.loader import batches
from compmod.pretrain.views.requests import training_requests
from gpu_device import DEVICE, REHEARSAL, no_waits
from PIL import Image

pytestmark = pytest.mark.gpu
NORMALISED = 1e-4  # views are in units of a standard deviation, about a fifth of the range of the operations


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Smooth JPEG pictures of several sizes."""
    folder, names = tmp_path_factory.mktemp("pictures"), []
    for number in range(24):
        coarse = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        names.append(f"{number}.jpg".encode())
        Image.fromarray(coarse).resize((150 + 5 * number, 120), Image.Resampling.BICUBIC).save(
            folder / names[-1].decode(), quality=95
        )
    return Files(folder, np.array(names), np.arange(len(names)))


def run_of(method: str) -> Run:
    """The recipe of ImageNet with small views, without the one step that a rounding error may turn over."""
    run = preset(method, "imagenet")
    views = tuple(replace(view, size=max(16, (view.size or 224) // 4), solarize=0.0) for view in run.views)
    return replace(run, batch_size=8, views=views)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("method", ["simclr", "byol", "swav"])
def test_views_of_large_images_are_the_cpus(files: Files, method: str, workers: int) -> None:
    run, steps = run_of(method), range(4)  # the second epoch begins in them
    ours = list(feed(files, run, steps, torch.device(DEVICE), workers))
    theirs = list(feed(files, run, steps, torch.device("cpu"), workers))
    assert len(ours) == len(theirs) == 4
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.labels.cpu(), other.labels)
        for view, expected in zip(one.views, other.views, strict=True):
            assert view.device.type == DEVICE
            assert float(((view.cpu() - expected).abs() < NORMALISED).double().mean()) > 0.999


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_pinned_memory_and_go_without_a_wait(files: Files, workers: int) -> None:
    run = run_of("simclr")
    crops = RandomCrops(DATASETS["imagenet"], run.views, run.seed)
    requests = training_requests(len(files), run.batch_size, run.seed, range(3))
    for loaded in batches(files, requests, crops, workers, pin_memory=not REHEARSAL):
        assert REHEARSAL or all(pixels.is_pinned() for pixels in (*loaded.pixels, loaded.labels))
        with no_waits():
            for pixels in loaded.pixels:
                pixels.to(DEVICE, non_blocking=True)
