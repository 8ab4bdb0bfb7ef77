"""TwoTrunks: the colour spaces against their definitions and known colours, and what each trunk is given."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from compmod.pretrain.networks.build import build_backbone
from compmod.pretrain.networks.two_trunks import TwoTrunks, lab, ycbcr
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.run import Backbone
from torch import Tensor


def _two_trunks(colours: str, **changes: Any) -> TwoTrunks:
    spec = Backbone(**{"name": "resnet10", "width": 8, "colours": colours, **changes})
    network = build_backbone(spec, 16, DATASETS["cifar10"])
    assert isinstance(network, TwoTrunks)
    return network


def _normalised(pixels: Tensor) -> Tensor:
    dataset = DATASETS["cifar10"]
    mean, std = (torch.tensor(value, dtype=pixels.dtype).view(3, 1, 1) for value in (dataset.mean, dataset.std))
    return (pixels - mean) / std


def _entering(network: TwoTrunks, pixels: Tensor) -> Tensor:
    """What the two trunks are given for these pixels in 0..1, as one tensor of three channels."""
    given: list[Tensor] = []
    for trunk in (network.lightness, network.colour):
        trunk.register_forward_pre_hook(lambda module, args: given.append(args[0]))
    with torch.no_grad():
        network.eval()(_normalised(pixels))
    assert [x.shape[1] for x in given] == [1, 2]
    return torch.cat(given, dim=1)


def _lab_of_one_pixel(red: float, green: float, blue: float) -> list[float]:
    """CIE 15 with white at D65, one number at a time."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    x = 0.4124 * linear[0] + 0.3576 * linear[1] + 0.1805 * linear[2]
    y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    z = 0.0193 * linear[0] + 0.1192 * linear[1] + 0.9505 * linear[2]
    f = [
        t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116  # CIE's epsilon and kappa
        for t in (x / 0.9505, y, z / 1.089)
    ]
    return [116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])]


def test_lab_equals_the_definition_pixel_by_pixel() -> None:
    pixels = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pixels[1] *= 0.06  # dark ones, where both of its curves have a straight foot
    found = lab(pixels)
    for n, row, column in itertools.product(range(2), range(5), range(5)):
        expected = _lab_of_one_pixel(*pixels[n, :, row, column].tolist())
        assert found[n, :, row, column].tolist() == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize(
    "colour, expected",  # as published tables print them, for D65
    [
        ((1.0, 1.0, 1.0), (100.0, 0.0, 0.0)),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((1.0, 0.0, 0.0), (53.24, 80.09, 67.20)),
        ((0.0, 1.0, 0.0), (87.73, -86.18, 83.18)),
        ((0.0, 0.0, 1.0), (32.30, 79.19, -107.86)),
        ((1.0, 1.0, 0.0), (97.14, -21.55, 94.48)),
        ((128 / 255, 128 / 255, 128 / 255), (53.59, 0.0, 0.0)),
    ],
)
def test_known_colours_have_their_known_lab(colour: tuple[float, ...], expected: tuple[float, ...]) -> None:
    found = lab(torch.tensor(colour, dtype=torch.float64).view(1, 3, 1, 1))
    assert found.flatten().tolist() == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(
    "colour, expected",  # JFIF 1.02, which prints the coefficients
    [
        ((1.0, 1.0, 1.0), (1.0, 0.0, 0.0)),
        ((1.0, 0.0, 0.0), (0.299, -0.1687, 0.5)),
        ((0.0, 1.0, 0.0), (0.587, -0.3313, -0.4187)),
        ((0.0, 0.0, 1.0), (0.114, 0.5, -0.0813)),
    ],
)
def test_known_colours_have_their_known_ycbcr(colour: tuple[float, ...], expected: tuple[float, ...]) -> None:
    found = ycbcr(torch.tensor(colour, dtype=torch.float64).view(1, 3, 1, 1))
    assert found.flatten().tolist() == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("to_colours", [lab, ycbcr])
def test_colours_are_finite_and_so_are_their_slopes_at_black(to_colours: Callable[[Tensor], Tensor]) -> None:
    black = torch.zeros(1, 3, 1, 1, requires_grad=True)
    to_colours(black).sum().backward()
    assert black.grad is not None
    assert torch.isfinite(black.grad).all()


@pytest.mark.parametrize("colours", ["lab", "ycbcr"])
def test_each_channel_enters_its_trunk_spread_over_minus_one_to_one(colours: str) -> None:
    corners = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)))
    pixels = corners.T.reshape(1, 3, 2, 4).repeat(1, 1, 8, 4)
    entering = _entering(_two_trunks(colours), pixels)
    torch.testing.assert_close(entering.amin((0, 2, 3)), -torch.ones(3), rtol=0, atol=1e-3)
    torch.testing.assert_close(entering.amax((0, 2, 3)), torch.ones(3), rtol=0, atol=1e-3)


@pytest.mark.parametrize("colours", ["lab", "ycbcr"])
def test_grey_images_tell_the_colour_trunk_nothing(colours: str) -> None:
    grey = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(1)).expand(2, 3, 16, 16)
    colour = _entering(_two_trunks(colours), grey)[:, 1:]
    flat = colour[:, :, :1, :1].expand_as(colour)
    torch.testing.assert_close(colour, flat, rtol=0, atol=1e-5)


def test_two_trunks_see_the_images_before_their_normalisation() -> None:
    pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    entering = _entering(_two_trunks("ycbcr"), pixels)
    torch.testing.assert_close(entering, ycbcr(pixels) * 2 - torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1))


def test_two_trunks_cut_values_outside_an_images_range() -> None:
    bright = torch.full((1, 3, 16, 16), 7.0)
    network = _two_trunks("lab")
    assert torch.equal(_entering(network, bright), _entering(network, torch.ones(1, 3, 16, 16)))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_two_trunks_have_half_the_width_each_and_give_as_many_features_as_one(name: str) -> None:
    one, two = build_backbone(Backbone(name=name, width=8), 16), _two_trunks("lab", name=name)
    assert two.features == one.features
    assert two.lightness.conv1.weight.shape[:2] == (4, 1)
    assert two.colour.conv1.weight.shape[:2] == (4, 2)


@torch.no_grad()
def test_two_trunks_give_lightness_features_beside_colour_features() -> None:
    network = _two_trunks("lab").eval()
    images = torch.randn(2, 3, 16, 16)
    lightness, colour = network.parts(images)
    assert torch.equal(network(images), torch.cat([lightness, colour], dim=1))
    assert lightness.shape == colour.shape == (2, network.features // 2)


def test_two_trunks_weights_hold_networks_alone() -> None:
    keys = _two_trunks("lab").state_dict()
    assert {key.split(".")[0] for key in keys} == {"lightness", "colour"}


@pytest.mark.parametrize(
    "changes, dataset, message",
    [
        ({"name": "pixels"}, "cifar10", "backbone pixels has no trunks for lab; expected colours rgb"),
        ({"width": 7}, "cifar10", "backbone width 7 must be even"),
        ({}, None, "colours lab need the data set"),
    ],
)
def test_two_trunks_that_cannot_be_built_say_why(changes: dict[str, Any], dataset: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_backbone(Backbone(**{"colours": "lab", **changes}), 16, None if dataset is None else DATASETS[dataset])
