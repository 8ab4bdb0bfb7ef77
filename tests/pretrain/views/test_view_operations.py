"""The operations of a view: each equals torchvision's functional of the same name for every image's own parameters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from compmod.pretrain.runtime.randomness import generator
from compmod.pretrain.views.colour import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    grayscale,
    solarize,
)
from compmod.pretrain.views.geometry import gaussian_blur, resized_crop, rotate
from tolerance import rounding
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

TOLERANCE = 1e-12  # of values up to 1, in float64: thousands of roundings
# torchvision turns hues in float32 whatever the image: ten operations on a circle of six sextants
HUE_TOLERANCE = rounding(torch.float32, 10, 6)


def random_images(images: int, height: int = 24, width: int = 20) -> Tensor:
    """Noise, smooth ramps, grey images and saturated primaries, in [0, 1]."""
    x = torch.rand(images, 3, height, width, generator=generator(0, f"images {height} {width}"), dtype=torch.float64)
    quarter = images // 4
    x[:quarter] = x[:quarter, :1]
    x[quarter : 2 * quarter] = x[quarter : 2 * quarter].round()
    x[2 * quarter : 3 * quarter] = x[2 * quarter : 3 * quarter, :, :1, :1] * torch.linspace(
        0, 1, width, dtype=torch.float64
    )
    return x


def random_factors(count: int, least: float, most: float) -> Tensor:
    """Uniform factors with both ends and the neutral middle among them."""
    factor = least + (most - least) * torch.rand(count, generator=generator(1, "factors"), dtype=torch.float64)
    factor[:3] = factor[-3:] = torch.tensor([least, most, (least + most) / 2], dtype=torch.float64)
    return factor


def assert_close(ours: Tensor, theirs: list[Tensor], tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(ours, torch.stack(theirs).to(ours.dtype), rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "ours, theirs, least, most",
    [
        (adjust_brightness, reference.adjust_brightness, 0, 2),
        (adjust_contrast, reference.adjust_contrast, 0, 2),
        (adjust_saturation, reference.adjust_saturation, 0, 2),
        (adjust_hue, reference.adjust_hue, -0.5, 0.5),
    ],
)
def test_jitter_equals_torchvisions(
    ours: Callable[..., Tensor], theirs: Callable[..., Tensor], least: float, most: float
) -> None:
    x, factor = random_images(80), random_factors(80, least, most)
    expected = [theirs(image, float(value)) for image, value in zip(x, factor, strict=True)]
    assert_close(ours(x, factor), expected, HUE_TOLERANCE if ours is adjust_hue else TOLERANCE)


def test_hue_is_exact_where_channels_nearly_tie() -> None:
    x = 0.5 + torch.randint(-2, 3, (64, 3, 8, 8), generator=generator(0, "ties")) * 2.0**-24
    factor = random_factors(64, -0.5, 0.5)
    expected = [reference.adjust_hue(image, float(value)) for image, value in zip(x, factor, strict=True)]
    assert_close(adjust_hue(x, factor), expected, HUE_TOLERANCE)


def test_grayscale_equals_torchvisions() -> None:
    x = random_images(20)
    assert_close(grayscale(x), [reference.rgb_to_grayscale(image, 3) for image in x])


def test_solarize_equals_torchvisions_also_at_the_threshold() -> None:
    x = random_images(20)
    x[:, :, 0] = 0.5
    assert_close(solarize(x, 0.5), [reference.solarize(image, 0.5) for image in x])


def test_rotate_equals_torchvisions() -> None:
    x, degrees = random_images(60), random_factors(60, -180, 180)
    expected = [
        reference.rotate(image, float(angle), interpolation=InterpolationMode.BILINEAR)
        for image, angle in zip(x, degrees, strict=True)
    ]
    assert_close(rotate(x, degrees), expected)


@pytest.mark.parametrize("kernel_size", [3, 7, 23])
def test_gaussian_blur_equals_torchvisions(kernel_size: int) -> None:
    x, sigma = random_images(40, 30, 25), random_factors(40, 0.1, 2)
    expected = [reference.gaussian_blur(i, kernel_size, [float(s)]) for i, s in zip(x, sigma, strict=True)]
    assert_close(gaussian_blur(x, sigma, kernel_size), expected)


@pytest.mark.parametrize("kernel_size", [4, 17])
def test_a_blur_kernel_that_is_even_or_too_wide_is_refused(kernel_size: int) -> None:
    with pytest.raises(ValueError, match=f"odd and below twice the side of 8 x 8, not {kernel_size}"):
        gaussian_blur(torch.rand(1, 3, 8, 8), torch.ones(1), kernel_size)


@pytest.mark.parametrize("height, width, size", [(32, 32, 32), (96, 96, 64), (16, 16, 16), (20, 27, 33), (96, 50, 8)])
def test_resized_crop_with_flip_equals_torchvisions(height: int, width: int, size: int) -> None:
    images = 60
    x = random_images(images, height, width)
    u = torch.rand(images, 5, generator=generator(0, "boxes"), dtype=torch.float64)
    tall, wide = 1 + (u[:, 0] * height).long(), 1 + (u[:, 1] * width).long()
    tall[:4], wide[:4] = torch.tensor([1, 1, 2, height]), torch.tensor([1, 2, 1, width])
    top, left = (u[:, 2] * (height - tall + 1)).long(), (u[:, 3] * (width - wide + 1)).long()
    top[4:8], left[4:8] = 0, (width - wide)[4:8]
    top[8:12], left[8:12] = (height - tall)[8:12], 0
    flip = u[:, 4] < 0.5
    expected = []
    for image, *box, mirrored in zip(x, top, left, tall, wide, flip, strict=True):
        cut = [int(value) for value in box]
        view = reference.resized_crop(image, *cut, [size, size], InterpolationMode.BICUBIC, antialias=True)
        expected.append(reference.hflip(view) if mirrored else view)
    assert_close(resized_crop(x, top, left, tall, wide, flip, size), expected)


def test_products_stay_float32_under_autocast_and_reduced_precision() -> None:
    x, sigma, angle = random_images(8, 16, 16), torch.ones(8), torch.full((8,), 30.0)
    exact = gaussian_blur(x, sigma, 3), rotate(x, angle)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            reduced = gaussian_blur(x, sigma, 3), rotate(x, angle)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(reduced, exact, rtol=0, atol=0)
