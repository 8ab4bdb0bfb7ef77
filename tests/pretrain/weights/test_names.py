"""The trunk is found in the layout of every release, and what else is in the file is named or refused."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from compmod.pretrain.networks.resnet import ResNet
from compmod.pretrain.specs.run import Backbone
from compmod.pretrain.weights.imported import read_foreign
from compmod.pretrain.weights.load import load_encoder
from compmod.pretrain.weights.names import trunk_of
from foreign_files import LAYOUTS, OTHER, OWN, SPEC, State, below
from lightly.models.resnet import ResNetGenerator
from torch import nn


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_trunk_is_found_in_every_layout_and_the_rest_is_named(layout: str, tmp_path: Path) -> None:
    value, dropped = LAYOUTS[layout]
    torch.save(value, tmp_path / "release.pth.tar")
    found = read_foreign(tmp_path / "release.pth.tar")
    assert found.backbone == SPEC
    assert all(torch.equal(found.state[name], tensor) for name, tensor in OWN.items())
    assert found.state.keys() == OWN.keys()
    assert found.dropped == dropped


def test_a_file_of_pytorch_before_1_6_is_read(tmp_path: Path) -> None:
    file = tmp_path / "moco.pth.tar"
    torch.save(LAYOUTS["MoCo"][0], file, _use_new_zipfile_serialization=False)
    assert read_foreign(file).state.keys() == OWN.keys()


def test_lightlys_resnet_gives_the_features_that_lightly_gives(tmp_path: Path) -> None:
    torch.manual_seed(1)
    theirs = ResNetGenerator("resnet-18", width=0.0625).eval()
    torch.save(theirs.state_dict(), tmp_path / "lightly.pth")
    images = torch.rand(2, 3, 32, 32)
    theirs.linear = nn.Identity()
    with torch.no_grad():
        found = load_encoder(tmp_path / "lightly.pth", stem="small")(images)
        torch.testing.assert_close(found, theirs(images), rtol=1e-5, atol=1e-6)


def test_a_sequential_of_lightlys_resnet_without_its_relu_is_refused() -> None:
    model = nn.Sequential(*list(ResNetGenerator("resnet-18", width=0.0625).children())[:-1])
    with pytest.raises(ValueError, match="which has no ReLU after its first norm"):
        trunk_of(model.state_dict())


def test_solo_learns_border_of_two_changes_features_and_is_a_stem_of_its_own(tmp_path: Path) -> None:
    spec = Backbone(name="resnet10", width=4)
    torch.manual_seed(1)
    theirs = ResNet(spec, 4).eval()
    theirs.conv1 = nn.Conv2d(3, 4, 3, stride=1, padding=2, bias=False)  # solo-learn, methods/base.py
    torch.save({"state_dict": below("backbone", theirs.state_dict())}, tmp_path / "solo.ckpt")
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        expected = theirs(images)
        assert torch.equal(load_encoder(tmp_path / "solo.ckpt", stem="small-padded")(images), expected)
        assert not torch.allclose(load_encoder(tmp_path / "solo.ckpt", stem="small")(images), expected)


@pytest.mark.parametrize(
    "state, message",
    [
        ({**OWN, "layer1.0.se.fc1.weight": torch.ones(1)}, r"have besides layer1\.0\.se\.fc1\.weight of a resnet10"),
        ({**OWN, "temperature": torch.ones(1)}, "have besides temperature of a resnet10"),
        ({name: OWN[name] for name in OWN if name != "layer2.0.bn2.bias"}, r"lack layer2\.0\.bn2\.bias of a resnet10"),
        (
            {**below("backbone"), **below("encoder", OTHER)},
            "two tensors for conv1.weight: backbone",
        ),
        (below("teacher"), r"no trunk; found teacher \(another copy\)"),
        ({"blocks.0.weight": torch.ones(1)}, r"no conv1\.weight of three channels.*found blocks\.0\.weight"),
    ],
    ids=["squeeze", "unknown", "lacking", "two trunks", "another copy alone", "no ResNet"],
)
def test_what_no_rule_knows_or_is_absent_is_an_error_that_names_it(state: State, message: str, tmp_path: Path) -> None:
    torch.save(OrderedDict(state), tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=rf"odd\.pth: .*{message}"):
        read_foreign(tmp_path / "odd.pth")
