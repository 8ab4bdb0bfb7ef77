"""The trunk is found in the layout of every release, and what else is in the file is named or refused."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from compmod.pretrain.networks.resnet import ResNet
from compmod.pretrain.specs.run import Backbone
from compmod.pretrain.weights.imported import read_foreign
from compmod.pretrain.weights.load import load_encoder
from compmod.pretrain.weights.names import trunk_of
from lightly.models.modules import MoCoProjectionHead, SimCLRProjectionHead
from lightly.models.resnet import ResNetGenerator
from torch import Tensor, nn

State = Mapping[str, Tensor]
SPEC = Backbone(name="resnet10", width=4, stem="large")
torch.manual_seed(3)
TRUNK = ResNet(SPEC, SPEC.width).eval()
OWN = TRUNK.state_dict()
OTHER = {name: tensor + 1 for name, tensor in OWN.items()}
HEAD = SimCLRProjectionHead(32, 8, 4).state_dict()


def below(prefix: str, state: State = OWN) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in state.items()}


def numbered(state: State) -> dict[str, Tensor]:
    """As nn.Sequential(*list(model.children())[:-1]) of torchvision's ResNet has it."""
    place = {"conv1": "0", "bn1": "1", **{f"layer{stage}": str(3 + stage) for stage in range(1, 5)}}
    return {".".join([place[name.split(".")[0]], *name.split(".")[1:]]): tensor for name, tensor in state.items()}


LAYOUTS: dict[str, tuple[Any, tuple[str, ...]]] = {  # what a release's file holds, and what is dropped of it
    "torchvision, timm": ({**OWN, "fc.weight": torch.ones(2, 32), "fc.bias": torch.ones(2)}, ("fc (classifier, 2)",)),
    "MoCo": (
        {
            "epoch": 200,
            "arch": "resnet50",
            "state_dict": {
                **below("module.encoder_q"),
                **below("module.encoder_q.fc", {"0.weight": torch.ones(2, 2)}),
                **below("module.encoder_k", OTHER),
                "module.queue": torch.ones(2, 3),
                "module.queue_ptr": torch.zeros(1),
            },
            "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.03}]},
        },
        (
            "state_dict.module.encoder_q.fc (classifier, 1)",
            f"state_dict.module.encoder_k (another copy, {len(OWN)})",
            "state_dict.module.queue (state of the loss, 1)",
            "state_dict.module.queue_ptr (state of the loss, 1)",
            "optimizer (state of training, 1)",
        ),
    ),
    "Barlow Twins, VICReg": (
        {"epoch": 9, "model": {**below("module.backbone"), **below("module.projector", HEAD)}},
        (f"model.module.projector (head, {len(HEAD)})",),
    ),
    "SwAV": (
        {**below("module"), **below("module.projection_head", HEAD), "module.prototypes.weight": torch.ones(2, 2)},
        (f"module.projection_head (head, {len(HEAD)})", "module.prototypes (head, 1)"),
    ),
    "VISSL": (
        {
            "classy_state_dict": {
                "base_model": {
                    "model": {"trunk": below("_feature_blocks"), "heads": below("0.clf.0", {"weight": torch.ones(2)})},
                    "meta": {},
                },
                "optimizer": {"optim": {"state": {}}},
                "loss": {"memory": torch.ones(3)},
            }
        },
        ("classy_state_dict.base_model.model.heads (head, 1)", "classy_state_dict.loss (state of the loss, 1)"),
    ),
    "solo-learn": (
        {
            "state_dict": {
                **below("backbone"),
                **below("momentum_backbone", OTHER),
                **below("projector", HEAD),
                **below("momentum_projector", HEAD),
                "classifier.weight": torch.ones(2, 2),
            },
        },
        (
            f"state_dict.momentum_backbone (another copy, {len(OWN)})",
            f"state_dict.projector (head, {len(HEAD)})",
            f"state_dict.momentum_projector (another copy, {len(HEAD)})",
            "state_dict.classifier (classifier, 1)",
        ),
    ),
    "Lightly": (
        {
            "state_dict": {
                **below("backbone", numbered(OWN)),
                **below("projection_head", MoCoProjectionHead(32, 8, 4).state_dict()),
                **below("backbone_momentum", numbered(OTHER)),
            }
        },
        ("state_dict.projection_head (head, 4)", f"state_dict.backbone_momentum (another copy, {len(OWN)})"),
    ),
    "Lightly's MoCo on ImageNet": (
        {"state_dict": {**below("backbone"), **below("query_backbone", OTHER), **below("online_classifier", HEAD)}},
        (
            f"state_dict.query_backbone (another copy, {len(OWN)})",
            f"state_dict.online_classifier (classifier, {len(HEAD)})",
        ),
    ),
}


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
