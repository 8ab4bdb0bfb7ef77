"""Features: what the backbone is shown at test time, and how it is left behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from compmod.pretrain.data.images import Images
from compmod.pretrain.evaluate.features import extract, full_precision, network_input
from compmod.pretrain.networks.build import build_backbone
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.run import Backbone
from numpy.typing import NDArray
from PIL import Image
from tolerance import rounding
from torch import Tensor, nn

CIFAR = DATASETS["cifar10"]
STL = DATASETS["stl10"]


def images(count: int, side: int, seed: int = 0) -> Images:
    """Noise, smooth enough that resizing it is no lottery."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    pixels_N3HW = nn.functional.interpolate(coarse, size=side, mode="bilinear").mul(255).byte().numpy()
    labels_N = np.arange(count) % CIFAR.classes
    return Images(pixels_N3HW, labels_N, np.arange(count))


def small_trunk() -> nn.Module:
    torch.manual_seed(0)
    return build_backbone(Backbone(width=4), 32)


def normalised(pixels_3HW: NDArray[Any], mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """The definition, channel by channel, in float64, rounded at the end."""
    channels = [(channel.astype(np.float64) / 255 - m) / s for channel, m, s in zip(pixels_3HW, mean, std, strict=True)]
    return torch.from_numpy(np.stack(channels)).float()


def test_small_images_are_shown_as_they_are_and_normalised() -> None:
    pixels_N3HW = images(3, 32).pixels
    expected = torch.stack([normalised(pixels, CIFAR.mean, CIFAR.std) for pixels in pixels_N3HW])
    # a quotient, a difference that may lose the mean's digits, and a quotient of numbers up to 1
    allowed = rounding(torch.float32, 3) / min(CIFAR.std)
    torch.testing.assert_close(network_input(torch.from_numpy(pixels_N3HW), CIFAR), expected, rtol=0, atol=allowed)


def test_stl_10_is_resized_to_70_by_pillow_s_bicubic_and_cut_to_its_central_64() -> None:
    pixels_3HW = images(1, 96).pixels[0]
    resized = np.asarray(Image.fromarray(pixels_3HW.transpose(1, 2, 0)).resize((70, 70), Image.Resampling.BICUBIC))
    expected = normalised(resized[3:67, 3:67].transpose(2, 0, 1), STL.mean, STL.std)
    found = network_input(torch.from_numpy(pixels_3HW[None]), STL)[0]
    one_level = 1 / 255 / min(STL.std)
    assert found.shape == (3, 64, 64)
    assert float((found - expected).abs().max()) <= one_level * 1.01
    assert float((found - expected).abs().mean()) <= one_level / 20


def test_features_are_the_backbone_s_output_in_evaluation_mode_not_normalised() -> None:
    trunk, chosen = small_trunk().double(), images(5, 32)
    trunk.eval()
    with torch.no_grad():
        expected = trunk(network_input(torch.from_numpy(chosen.pixels), CIFAR).double()).float()
    trunk.train()
    torch.testing.assert_close(extract(trunk, chosen, CIFAR, "cpu"), expected, rtol=rounding(torch.float32), atol=0)


def test_batches_change_nothing() -> None:
    trunk, chosen = small_trunk().double(), images(7, 32)  # products of another shape may be added in another order
    some, all_at_once = (extract(trunk, chosen, CIFAR, "cpu", size) for size in (3, 7))
    torch.testing.assert_close(some, all_at_once, rtol=rounding(torch.float32), atol=0)


def test_raw_pixels_are_the_normalised_image() -> None:
    chosen = images(2, 32)
    found = extract(build_backbone(Backbone(name="pixels"), 32), chosen, CIFAR, "cpu")
    assert torch.equal(found, network_input(torch.from_numpy(chosen.pixels), CIFAR).flatten(1))


def test_batch_norm_s_running_statistics_do_not_move() -> None:
    trunk = small_trunk()
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    extract(trunk, images(4, 32), CIFAR, "cpu")
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())


def test_every_submodule_gets_its_own_mode_back() -> None:
    trunk = small_trunk().train()
    trunk.get_submodule("layer1").eval()
    before = [module.training for module in trunk.modules()]
    extract(trunk, images(2, 32), CIFAR, "cpu")
    assert [module.training for module in trunk.modules()] == before
    assert True in before
    assert False in before


def test_modes_come_back_after_an_error() -> None:
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(7, 2)).train()
    with pytest.raises(RuntimeError):
        extract(trunk, images(2, 32), CIFAR, "cpu")
    assert trunk.training


def test_features_are_float32_inside_autocast_too() -> None:
    trunk, chosen = small_trunk(), images(3, 32)
    expected = extract(trunk, chosen, CIFAR, "cpu")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(extract(trunk, chosen, CIFAR, "cpu"), expected)
    assert expected.dtype == torch.float32


def test_features_can_be_trained_on() -> None:
    found = extract(small_trunk(), images(3, 32), CIFAR, "cpu")
    layer = nn.Linear(found.shape[1], 2)
    layer(found).sum().backward()
    assert layer.weight.grad is not None


def test_no_images_are_an_error() -> None:
    with pytest.raises(ValueError, match="no images to extract features from"):
        extract(small_trunk(), images(0, 32), CIFAR, "cpu")


def test_full_precision_holds_inside_and_the_caller_s_settings_come_back() -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    try:
        with full_precision("cpu"):
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
