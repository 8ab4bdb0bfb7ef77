"""Networks: torchvision's ResNets where torchvision has them, and what it lacks."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torchvision
from compmod.pretrain.networks.batch_norm import BatchNorm
from compmod.pretrain.networks.build import build_backbone
from compmod.pretrain.networks.heads import mlp, projector_widths
from compmod.pretrain.networks.resnet import ResNet
from compmod.pretrain.specs.run import Backbone
from torch import Tensor, nn

NAMES = ("resnet18", "resnet50")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Tensors this small only lose by being shared out, most of all beside other busy processes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def theirs() -> dict[str, nn.Module]:
    """torchvision's networks without their classifiers, batch norms moved off their initial 1, 0, 0, 1."""
    torch.manual_seed(0)
    networks = {name: getattr(torchvision.models, name)(weights=None) for name in NAMES}
    for network in networks.values():
        network.fc = nn.Identity()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.normal_(std=0.1)
    return networks


def _ours(name: str, **changes: Any) -> ResNet:
    network = build_backbone(Backbone(**{"name": name, "stem": "large", **changes}), 224)
    assert isinstance(network, ResNet)
    return network


def _loaded(name: str, state: dict[str, Tensor]) -> ResNet:
    """Our network with these weights, without drawing initial ones first."""
    with torch.device("meta"):
        network = _ours(name)
    network.load_state_dict({key: value.clone() for key, value in state.items()}, assign=True)
    return network


@pytest.mark.parametrize("name", NAMES)
def test_the_large_stem_has_torchvisions_names_and_shapes(name: str, theirs: dict[str, nn.Module]) -> None:
    with torch.device("meta"):
        ours = {key: value.shape for key, value in _ours(name).state_dict().items()}
    assert ours == {key: value.shape for key, value in theirs[name].state_dict().items()}


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_large_stem_computes_torchvisions_features(name: str, theirs: dict[str, nn.Module]) -> None:
    torch.manual_seed(2)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    expected = copy.deepcopy(theirs[name]).double().eval()(x)
    found = _loaded(name, theirs[name].state_dict()).double().eval()(x)
    assert expected.std() > 0
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


@torch.no_grad()
def test_training_moves_batch_norms_statistics_as_torchvisions_does(theirs: dict[str, nn.Module]) -> None:
    torch.manual_seed(3)
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    expected = copy.deepcopy(theirs["resnet18"]).double()
    found = _loaded("resnet18", theirs["resnet18"].state_dict()).double()
    expected.train()(x)
    found.train()(x)
    assert not torch.equal(
        expected.state_dict()["bn1.running_mean"], theirs["resnet18"].state_dict()["bn1.running_mean"].double()
    )
    for key, value in expected.state_dict().items():
        assert torch.allclose(found.state_dict()[key], value, rtol=1e-12, atol=1e-12), key


@pytest.mark.parametrize(
    "stem, size, side",
    [("small", 32, 4), ("small-pool", 64, 4), ("large", 224, 7), ("small", 16, 2)],
)
@torch.no_grad()
def test_the_last_map_has_the_side_its_stem_is_for(stem: str, size: int, side: int) -> None:
    network = _ours("resnet18", stem=stem, width=8).eval()
    shapes: list[torch.Size] = []
    network.get_submodule("layer4").register_forward_hook(lambda module, given, out: shapes.append(out.shape))
    network(torch.zeros(1, 3, size, size))
    assert shapes == [(1, 64, side, side)]


@pytest.mark.parametrize("stem, pooled", [("small", False), ("small-pool", True)])
def test_a_small_stem_is_a_3x3_convolution_of_stride_one(stem: str, pooled: bool) -> None:
    network = _ours("resnet18", stem=stem)
    convolution = network.conv1
    assert (convolution.kernel_size, convolution.stride, convolution.padding) == ((3, 3), (1, 1), (1, 1))
    assert convolution.bias is None
    assert isinstance(network.maxpool, nn.MaxPool2d) is pooled


@pytest.mark.parametrize("name, expansion", [("resnet18", 1), ("resnet50", 4)])
@pytest.mark.parametrize("width", [4, 16])
def test_features_are_eight_widths_times_the_blocks_expansion(name: str, expansion: int, width: int) -> None:
    with torch.device("meta"):
        network = _ours(name, width=width, stem="small")
        found = network(torch.zeros(2, 3, 16, 16))
    assert network.features == 8 * width * expansion
    assert found.shape == (2, network.features)


@torch.no_grad()
def test_features_are_the_average_over_the_last_map() -> None:
    network = _ours("resnet18", width=4, stem="small").eval()
    maps: list[Tensor] = []
    network.get_submodule("layer4").register_forward_hook(lambda module, given, out: maps.append(out))
    features = network(torch.randn(3, 3, 32, 32))
    assert torch.equal(features, maps[0].mean(dim=(2, 3)))


@pytest.mark.parametrize("name", NAMES)
def test_initial_weights_have_torchvisions_spread(name: str) -> None:
    torch.manual_seed(1)
    ours = _ours(name, width=16).state_dict()
    theirs = getattr(torchvision.models, name)(weights=None).state_dict()
    compared = 0
    for key, weight in ours.items():
        if weight.dim() < 4:
            assert weight.unique().numel() == 1, key
            assert weight.flatten()[0] == theirs[key].flatten()[0], key
        elif weight.numel() > 10_000:  # the spread of fewer numbers is too uncertain to compare
            compared += 1
            widened = (theirs[key].shape[0] / weight.shape[0]) ** 0.5  # the fan-out grows with the width
            assert weight.std().item() == pytest.approx(widened * theirs[key].std().item(), rel=0.04), key
            assert abs(weight.mean().item()) < 0.04 * weight.std().item(), key
    assert compared >= 5


def test_pixels_are_the_image_itself() -> None:
    pixels = build_backbone(Backbone(name="pixels"), 16)
    images = torch.randn(2, 3, 16, 16)
    assert pixels.features == 768
    assert torch.equal(pixels(images), images.reshape(2, 768))
    assert not list(pixels.parameters())


def test_an_mlp_has_batch_norm_and_relu_between_its_linear_layers_only() -> None:
    kinds = [type(layer) for layer in mlp((8, 6, 5, 4))]
    assert kinds == [nn.Linear, BatchNorm, nn.ReLU, nn.Linear, BatchNorm, nn.ReLU, nn.Linear]


def test_an_mlp_of_two_widths_is_one_linear_layer() -> None:
    (layer,) = mlp((8, 4))
    assert isinstance(layer, nn.Linear)
    assert layer.weight.shape == (4, 8)


@pytest.mark.parametrize("bias, last_bias", [(True, True), (True, False), (False, True), (False, False)])
def test_an_mlps_biases_are_where_they_were_asked_for(bias: bool, last_bias: bool) -> None:
    linear = [layer for layer in mlp((8, 6, 5, 4), bias=bias, last_bias=last_bias) if isinstance(layer, nn.Linear)]
    assert [layer.bias is not None for layer in linear] == [bias, bias, last_bias]


@pytest.mark.parametrize(
    "layers, widths",
    [(1, (512, 64)), (2, (512, 1024, 64)), (3, (512, 1024, 1024, 64))],
)
def test_a_projector_of_n_layers_has_n_linear_maps(layers: int, widths: tuple[int, ...]) -> None:
    assert projector_widths(512, layers, 1024, 64) == widths


@pytest.mark.parametrize("name, last", [("resnet18", "bn2"), ("resnet50", "bn3")])
def test_a_zeroed_residual_network_starts_with_its_shortcuts_alone(name: str, last: str) -> None:
    spec = Backbone(name=name, width=4)  # type: ignore[arg-type]
    plain, zeroed = (build_backbone(replace(spec, zero_residual=zero), 32).state_dict() for zero in (False, True))
    for key, value in zeroed.items():
        if key.endswith(f".{last}.weight"):
            assert not value.any()
            assert plain[key].all()
