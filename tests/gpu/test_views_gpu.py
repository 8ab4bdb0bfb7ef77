"""Views on a CUDA device: equal to the CPU's within rounding, and made without the host waiting for the device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from compmod.pretrain.runtime.randomness import generator, uniform
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.run import Augmentation
from compmod.pretrain.views.augment import Views, make_views
from compmod.pretrain.views.colour import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    grayscale,
    solarize,
)
from compmod.pretrain.views.geometry import gaussian_blur, resized_crop, rotate
from gpu_device import DEVICE, no_waits, peak_bytes_of
from torch import Tensor

pytestmark = pytest.mark.gpu

EVERYTHING = Augmentation(rotation=0.5, blur=0.5, grey=0.2)
NORMALISED = 1e-4  # views are in units of a standard deviation, about a fifth of the range of the operations


def images(count: int, side: int) -> Tensor:
    return torch.rand(count, 3, side, side, generator=generator(0, "images"))


def pixels(count: int, side: int) -> Tensor:
    return (images(count, side) * 255).byte()


def test_random_numbers_have_the_same_bits() -> None:
    index = torch.arange(1000)
    assert torch.equal(uniform(3, 5, index.to(DEVICE), 1, 36).cpu(), uniform(3, 5, index, 1, 36))


@pytest.mark.parametrize(
    "operation, least, most",
    [
        (adjust_brightness, 0, 2),
        (adjust_contrast, 0, 2),
        (adjust_saturation, 0, 2),
        (adjust_hue, -0.5, 0.5),
        (rotate, -180, 180),
        (lambda x, sigma: gaussian_blur(x, sigma, 7), 0.1, 2),
        (lambda x, _: grayscale(x), 0, 1),
        (lambda x, _: solarize(x, 0.5), 0, 1),
    ],
)
@pytest.mark.parametrize("precision", ["highest", "high"])
def test_operations_equal_the_cpus(
    operation: Callable[[Tensor, Tensor], Tensor], least: float, most: float, precision: str
) -> None:
    x, value = images(64, 32), torch.linspace(least, most, 64)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        on_device = operation(x.to(DEVICE), value.to(DEVICE))
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(on_device.cpu(), operation(x, value), rtol=0, atol=2e-5)


@pytest.mark.parametrize("side, size", [(32, 32), (96, 64)])
def test_resized_crop_equals_the_cpus(side: int, size: int) -> None:
    x = images(64, side)
    length = 1 + torch.arange(64) % side
    start = (side - length) // 2
    other_start = start.flip(0).minimum(side - length)
    flip = torch.arange(64) % 2 == 0

    def crop(device: str) -> Tensor:
        top, left, extent, mirrored = (value.to(device) for value in (start, other_start, length, flip))
        return resized_crop(x.to(device), top, left, extent, extent, mirrored, size)

    torch.testing.assert_close(crop(DEVICE).cpu(), crop("cpu"), rtol=0, atol=2e-5)


@pytest.mark.parametrize("side, dataset", [(32, "cifar10"), (96, "stl10")])
def test_whole_views_equal_the_cpus(side: int, dataset: str) -> None:
    batch, index = pixels(96, side), torch.arange(96)
    views = Views(EVERYTHING, DATASETS[dataset], seed=1, view=1)
    on_device = views(batch.to(DEVICE), index, 3)
    assert on_device.device.type == DEVICE
    torch.testing.assert_close(on_device.cpu(), views(batch, index, 3), rtol=0, atol=NORMALISED)


def test_views_made_together_equal_the_cpus_made_alone() -> None:
    batch, index = pixels(96, 32), torch.arange(96)
    kinds = (EVERYTHING, Augmentation(blur=0.9, size=16), Augmentation(grey=0.5))
    views = [Views(kind, DATASETS["cifar10"], seed=1, view=number) for number, kind in enumerate(kinds)]
    for made, view in zip(make_views(views, batch.to(DEVICE), index, 3), views, strict=True):
        torch.testing.assert_close(made.cpu(), view(batch, index, 3), rtol=0, atol=NORMALISED)


def test_solarized_views_equal_the_cpus_but_for_values_at_the_threshold() -> None:
    batch, index = pixels(96, 32), torch.arange(96)
    views = Views(Augmentation(solarize=1.0), DATASETS["cifar10"], seed=1, view=1)
    difference = (views(batch.to(DEVICE), index, 3).cpu() - views(batch, index, 3)).abs()
    assert (difference < NORMALISED).double().mean() > 0.9999


def test_views_under_autocast_are_still_float32() -> None:
    batch, index = pixels(64, 32), torch.arange(64)
    views = Views(EVERYTHING, DATASETS["cifar10"], seed=1, view=1)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        on_device = views(batch.to(DEVICE), index, 3)
    torch.testing.assert_close(on_device.cpu(), views(batch, index, 3), rtol=0, atol=NORMALISED)


def test_making_views_never_waits_for_the_device() -> None:
    batch, index = pixels(64, 32).to(DEVICE), torch.arange(64)
    views = Views(EVERYTHING, DATASETS["cifar10"], seed=1, view=1)
    views(batch, index, 0)  # the first call sets up the library that multiplies matrices
    with no_waits():
        views(batch, index, 1)


def test_a_batch_of_512_needs_little_memory() -> None:
    batch, index = pixels(512, 32).to(DEVICE), torch.arange(512)
    views = Views(EVERYTHING, DATASETS["cifar10"], seed=1, view=1)
    assert peak_bytes_of(lambda: views(batch, index, 0)) < 8 * batch.numel() * 4
