"""The same image through our trunk and through Detectron2's, whose weights were converted from ours."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
import torch
from compmod.pretrain.networks.resnet import ResNet
from compmod.pretrain.specs.run import Backbone
from compmod.transfer.detector.trunk import build_res5, build_trunk
from compmod.transfer.weights.convert import load_trunk, to_detectron2
from tiny_detections import draw_norms
from torch import Tensor, nn

STEMS = ("small", "small-pool", "large")
TRUNKS = [
    *(Backbone(name=name, width=width, stem=stem) for name, width, stem in product(("resnet10",), (5, 16), STEMS)),
    *(Backbone(name="resnet18", width=8, stem=stem) for stem in STEMS),
    *(Backbone(name="resnet50", width=8, stem=stem) for stem in STEMS),
    Backbone(name="resnet18", width=64, stem="large"),
    Backbone(name="resnet50", width=64, stem="large"),
]
ALL = ("stem", "res2", "res3", "res4", "res5")


def _label(spec: Backbone) -> str:
    return f"{spec.name}-{spec.width}-{spec.stem}"


def trained(spec: Backbone) -> ResNet:
    """A trunk in evaluation mode whose every number, running statistics too, differs from its start."""
    torch.manual_seed(3)
    trunk = ResNet(spec, spec.width)
    draw_norms(trunk)
    return trunk.eval()


def maps(trunk: ResNet, image: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Our maps by Detectron2's names."""
    x = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(image))))
    yield "stem", x
    for stage in range(1, 5):
        x = trunk.get_submodule(f"layer{stage}")(x)
        yield f"res{stage + 1}", x


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("spec", TRUNKS, ids=_label)
def test_every_map_of_detectron2s_trunk_equals_ours(spec: Backbone) -> None:
    ours, theirs = trained(spec), build_trunk(spec, features=ALL).eval()
    load_trunk(to_detectron2(ours.state_dict()), theirs)
    image = torch.randn(2, 3, 64, 96)
    found = theirs(image)
    for name, expected in maps(ours, image):
        assert (found[name] - expected).abs().max() <= 1e-5 * expected.abs().max(), name
    assert expected.std() > 1e-3, "a dead trunk would prove nothing"


@pytest.mark.parametrize("spec", TRUNKS[::3], ids=_label)
def test_the_res5_of_a_c4_head_gives_our_last_map(spec: Backbone) -> None:
    ours, trunk = trained(spec), build_trunk(spec).eval()
    head = nn.Module()
    head.res5, channels = build_res5(spec)
    load_trunk(to_detectron2(ours.state_dict()), trunk, head.eval())
    image = torch.randn(1, 3, 64, 64)
    found, expected = head.res5(trunk(image)["res4"]), dict(maps(ours, image))["res5"]
    assert channels == ours.features == found.shape[1]
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("spec", TRUNKS, ids=_label)
def test_the_stride_that_detectron2_assumes_is_that_of_the_map(spec: Backbone) -> None:
    trunk = build_trunk(spec, features=ALL).eval()
    for name, feature in trunk(torch.zeros(1, 3, 64, 64)).items():
        assert 64 // feature.shape[-1] == trunk.output_shape()[name].stride, name


def test_a_stride_in_the_first_convolution_gives_other_maps() -> None:
    spec = Backbone(name="resnet50", width=8, stem="large")
    ours, theirs = trained(spec), build_trunk(spec, stride_in_1x1=True, features=ALL).eval()
    load_trunk(to_detectron2(ours.state_dict()), theirs)
    image = torch.randn(1, 3, 64, 64)
    expected = dict(maps(ours, image))["res4"]
    assert (theirs(image)["res4"] - expected).abs().max() > 0.01 * expected.abs().max()


def test_no_stage_after_the_last_wanted_map_is_built() -> None:
    names = dict(build_trunk(Backbone(width=4)).named_children())
    assert "res4" in names
    assert "res5" not in names


def test_the_norm_layers_are_those_asked_for() -> None:
    kinds = {type(module).__name__ for module in build_trunk(Backbone(width=4), norm="naiveSyncBN").modules()}
    assert "NaiveSyncBatchNorm" in kinds
    assert "BatchNorm2d" not in kinds


@pytest.mark.parametrize("spec", [Backbone(name="pixels"), Backbone(colours="lab")], ids=["pixels", "lab"])
def test_a_trunk_that_is_no_single_resnet_is_refused(spec: Backbone) -> None:
    with pytest.raises(ValueError, match="Detectron2 holds one ResNet on rgb images, not"):
        build_trunk(spec)
