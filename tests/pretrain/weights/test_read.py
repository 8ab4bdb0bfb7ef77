"""Which files are read without running code, which trunk a state dict is of, and what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from compmod.pretrain.networks.resnet import ResNet
from compmod.pretrain.specs.run import Backbone
from compmod.pretrain.weights.names import trunk_of
from compmod.pretrain.weights.read import read_tensors
from compmod.pretrain.weights.recognise import check_weights, completed, recognised
from safetensors.torch import save_file
from torch import Tensor

SMALL = Backbone(name="resnet10", width=4)


def weights(spec: Backbone = SMALL) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return ResNet(spec, spec.width).state_dict()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_are_read_from_files_of_either_kind(tmp_path: Path, suffix: str) -> None:
    state, file = weights(), tmp_path / f"encoder{suffix}"
    if suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    found = read_tensors(file).tensors
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


class Harmful:
    """What a pickle can hold: a call, made when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("import pathlib; pathlib.Path('harmed').touch()",))


@pytest.mark.parametrize("write", [torch.save, lambda value, file: file.write_bytes(pickle.dumps(value))])
def test_a_file_that_would_run_code_is_refused_and_its_code_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[object, Path], object]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "encoder.pth"
    write({"conv1.weight": Harmful()}, file)
    with pytest.raises(ValueError, match="one that needs code to be read is refused"):
        read_tensors(file)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    "value, message",
    [({"state_dict": {}, "epoch": 3}, "holds a dict of state_dict, epoch"), ([torch.zeros(1)], "holds a list")],
)
def test_a_file_without_a_state_dict_says_what_it_holds(tmp_path: Path, value: object, message: str) -> None:
    torch.save(value, tmp_path / "encoder.pth")
    with pytest.raises(ValueError, match=message):
        read_tensors(tmp_path / "encoder.pth")


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("encoder.bin", b"", r"cannot tell what .*encoder\.bin holds"),
        ("absent.pth", None, r"no weights at .*absent\.pth"),
        ("encoder.safetensors", b"not one", r"cannot read .*encoder\.safetensors"),
        ("encoder.pth", b"not one", r"encoder\.pth is no file of plain tensors"),
    ],
)
def test_a_file_that_holds_no_weights_is_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_tensors(tmp_path / name)


@pytest.mark.parametrize("name", ["resnet10", "resnet18", "resnet34", "resnet50"])
@pytest.mark.parametrize("stem", ["small", "small-pool", "small-padded", "large"])
def test_a_trunk_is_recognised_by_its_weights_and_its_stem(name: str, stem: str) -> None:
    spec = Backbone(name=name, width=4, stem=stem)  # type: ignore[arg-type]
    assert recognised(weights(spec), None if stem == "large" else stem) == spec  # type: ignore[arg-type]


def test_torchvisions_own_state_dict_with_its_classifier_is_recognised() -> None:
    assert recognised(trunk_of(torchvision.models.resnet18().state_dict()).state) == Backbone(stem="large")


def test_a_small_stem_must_be_named() -> None:
    with pytest.raises(ValueError, match="name the stem: small"):
        recognised(weights())


def test_a_stem_that_the_weights_are_not_of_is_an_error() -> None:
    with pytest.raises(ValueError, match="stem 'large' is not that of weights with a first kernel of 3"):
        recognised(weights(), "large")


def test_a_resnet_of_other_depths_is_an_error() -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=r"blocks, \(3, 4, 23, 3\) a stage, is none of resnet10"):
        recognised(trunk_of(torchvision.models.resnet101().state_dict()).state)


@pytest.mark.parametrize(
    "model, expected",
    [
        ("wide_resnet50_2", Backbone(name="resnet50", stem="large", inner=2)),
        ("resnet34", Backbone(name="resnet34", stem="large")),
    ],
)
def test_torchvisions_other_resnets_are_recognised(model: str, expected: Backbone) -> None:
    with torch.device("meta"):
        assert recognised(trunk_of(getattr(torchvision.models, model)().state_dict()).state) == expected


def test_a_resnet_of_groups_is_an_error_that_names_a_tensor() -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=r"conv2\.weight is \(128, 4, 3, 3\), in a resnet50"):
        recognised(trunk_of(torchvision.models.resnext50_32x4d().state_dict()).state)


def test_half_of_a_pair_of_trunks_is_no_encoder_of_colour_images() -> None:
    with pytest.raises(ValueError, match="expected a ResNet on RGB images"):
        recognised(ResNet(SMALL, 4, channels=1).state_dict(), "small")


def test_an_absent_tensor_is_named() -> None:
    state = weights()
    del state["layer2.0.bn1.weight"]
    with pytest.raises(ValueError, match=r"the weights lack layer2\.0\.bn1\.weight"):
        check_weights(state, SMALL)


def test_a_superfluous_tensor_is_named() -> None:
    with pytest.raises(ValueError, match=r"have besides layer1\.1\.conv1\.weight"):
        check_weights({**weights(), "layer1.1.conv1.weight": torch.zeros(4, 4, 3, 3)}, SMALL)


def test_a_tensor_of_another_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"layer2\.0\.bn1\.weight is \(3,\), in a resnet10 of width 4 \(8,\)"):
        check_weights({**weights(), "layer2.0.bn1.weight": torch.zeros(3)}, SMALL)


def test_weights_without_counts_of_batches_are_whole() -> None:
    check_weights({name: value for name, value in weights().items() if "num_batches" not in name}, SMALL)


def test_weights_are_completed_to_float32_with_counts() -> None:
    state = {name: value.half() for name, value in weights().items() if "num_batches" not in name}
    found = completed(state)
    assert found.keys() == weights().keys()
    assert found["conv1.weight"].dtype == torch.float32
    assert found["bn1.num_batches_tracked"].dtype == torch.int64


def test_a_weight_that_is_not_finite_is_named() -> None:
    state = weights()
    state["layer1.0.bn1.bias"][1] = torch.nan
    with pytest.raises(ValueError, match=r"layer1\.0\.bn1\.bias has values that are not finite"):
        completed(state)
