"""What becomes of every name of a state dict."""

from __future__ import annotations

import re

import pytest
import torch
import torchvision
from compmod.pretrain.networks.resnet import ResNet
from compmod.pretrain.specs.run import Backbone
from compmod.transfer.detector.trunk import build_res5, build_trunk
from compmod.transfer.weights.convert import DROPPED, load_trunk, to_detectron2
from torch import Tensor, nn

SMALL = Backbone(name="resnet10", width=4)
ALL = ("res2", "res3", "res4", "res5")


def weights(spec: Backbone = SMALL) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return ResNet(spec, spec.width).state_dict()


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_every_name_of_a_torchvision_resnet_is_mapped_or_named_as_dropped(name: str) -> None:
    state = torchvision.models.get_model(name).state_dict()
    converted = to_detectron2(state)
    assert len(converted.weights) + len(converted.dropped) == len(state)
    assert set(converted.dropped.values()) == set(DROPPED.values())
    assert all(name.startswith(("stem.", "res")) for name in converted.weights)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_the_names_are_all_of_those_that_detectron2_has(name: str) -> None:
    spec = Backbone(name=name, stem="large")  # type: ignore[arg-type]
    wanted = {key for key in build_trunk(spec, features=ALL).state_dict() if not key.endswith("num_batches_tracked")}
    assert set(to_detectron2(torchvision.models.get_model(name).state_dict()).weights) == wanted


@pytest.mark.parametrize(
    "name, place",
    [
        ("conv1.weight", "stem.conv1.weight"),
        ("bn1.running_var", "stem.conv1.norm.running_var"),
        ("layer1.0.conv3.weight", "res2.0.conv3.weight"),
        ("layer3.5.bn2.bias", "res4.5.conv2.norm.bias"),
        ("layer4.0.downsample.0.weight", "res5.0.shortcut.weight"),
        ("layer2.0.downsample.1.running_mean", "res3.0.shortcut.norm.running_mean"),
    ],
)
def test_a_name_becomes_that_of_the_same_layer(name: str, place: str) -> None:
    assert list(to_detectron2({name: torch.zeros(1)}).weights) == [place]


@pytest.mark.parametrize(
    "name",
    ["projector.0.weight", "module.conv1.weight", "layer5.0.conv1.weight", "layer1.0.conv1.bias", "layer1.0.bn1.scale"],
)
def test_a_name_of_no_resnet_is_an_error_that_names_it(name: str) -> None:
    with pytest.raises(ValueError, match=rf"1 of \d+ names are none of a torchvision ResNet: {re.escape(name)}"):
        to_detectron2({**weights(), name: torch.zeros(1)})


def test_loading_fills_every_weight_and_statistic_of_the_trunk() -> None:
    state, trunk = {name: torch.rand_like(value.float()) for name, value in weights().items()}, build_trunk(SMALL)
    head = nn.Module()
    head.res5, _ = build_res5(SMALL)
    load_trunk(to_detectron2(state), trunk, head)
    filled = {**trunk.state_dict(), **head.state_dict()}
    for name, tensor in to_detectron2(state).weights.items():
        assert torch.equal(filled.pop(name), tensor), name
    assert all(name.endswith("num_batches_tracked") for name in filled)


def test_a_weight_without_a_place_is_an_error() -> None:
    deep = to_detectron2(weights(Backbone(name="resnet18", width=4)))
    with pytest.raises(ValueError, match=r"no place for res2\.1\.conv1\.norm\.bias"):
        load_trunk(deep, build_trunk(SMALL, features=ALL))


def test_a_place_without_a_weight_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"no weights for res2\.1\.conv1\.norm\.bias"):
        load_trunk(to_detectron2(weights()), build_trunk(Backbone(name="resnet18", width=4), features=ALL))


def test_a_weight_of_another_shape_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"stem\.conv1.* is \(4"):
        load_trunk(to_detectron2(weights()), build_trunk(Backbone(name="resnet10", width=8), features=ALL))


def test_a_layer_named_fresh_may_lack_weights() -> None:
    trunk = build_trunk(SMALL, features=ALL)
    trunk.res5.add_module("norm", nn.BatchNorm2d(32))
    with pytest.raises(ValueError, match=r"no weights for res5\.norm\.bias"):
        load_trunk(to_detectron2(weights()), trunk)
    load_trunk(to_detectron2(weights()), trunk, fresh=("res5.norm",))
