"""Detectron2's own supervised ResNet-50: our reading of it against Detectron2's, which its checkpointer does."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compmod.pretrain.specs.run import Backbone
from compmod.pretrain.weights.recognise import recognised
from compmod.transfer.detector import detectron2 as detectron
from compmod.transfer.detector.trunk import build_trunk
from compmod.transfer.weights.caffe import read_msra
from compmod.transfer.weights.convert import load_trunk, to_detectron2
from compmod.transfer.weights.read import pixels_of, read_weights

RESNET50 = Backbone(name="resnet50", stem="large")
STAGES = ("res2", "res3", "res4", "res5")


def caffe_arrays(width: int = 64) -> dict[str, Any]:
    """Arrays of random numbers under the names of a Caffe ResNet-50."""
    draw = np.random.default_rng(2)
    arrays = {"conv1_b": np.zeros(width, dtype=np.float32), "fc1000_w": np.ones((2, 2), dtype=np.float32)}

    def layer(name: str, norm: str, outputs: int, inputs: int, kernel: int) -> None:
        scale = (2 / (inputs * kernel**2)) ** 0.5
        arrays[f"{name}_w"] = draw.normal(0, scale, (outputs, inputs, kernel, kernel)).astype(np.float32)
        arrays[f"{norm}_s"] = draw.uniform(0.3, 0.6, outputs).astype(np.float32)
        arrays[f"{norm}_b"] = draw.normal(0, 0.1, outputs).astype(np.float32)

    layer("conv1", "res_conv1_bn", width, 3, 7)
    channels = width
    for stage, depth in zip(range(2, 6), (3, 4, 6, 3), strict=True):
        inner = width * 2 ** (stage - 2)
        for block in range(depth):
            place = f"res{stage}_{block}_branch"
            if not block:
                layer(f"{place}1", f"{place}1_bn", 4 * inner, channels, 1)
            for letter, outputs, inputs, kernel in (
                ("2a", inner, channels, 1),
                ("2b", inner, inner, 3),
                ("2c", 4 * inner, inner, 1),
            ):
                layer(f"{place}{letter}", f"{place}{letter}_bn", outputs, inputs, kernel)
            channels = 4 * inner
    return arrays


def written(folder: Path, value: object) -> Path:
    file = folder / "R-50.pkl"
    file.write_bytes(pickle.dumps(value, protocol=2))
    return file


def test_its_trunk_is_the_one_that_detectron2s_checkpointer_makes_of_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, caffe_arrays())
    ours, theirs = (build_trunk(RESNET50, features=STAGES, stride_in_1x1=True) for _ in range(2))
    load_trunk(to_detectron2(read_weights(file)), ours)
    detectron.checkpoint.DetectionCheckpointer(theirs).load(str(file))
    expected = theirs.state_dict()
    assert ours.state_dict().keys() == expected.keys()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert expected["res5.2.conv3.norm.weight"].std() > 0


def test_it_is_recognised_as_a_resnet50(tmp_path: Path) -> None:
    assert recognised(read_weights(written(tmp_path, {"blobs": caffe_arrays()}))) == RESNET50


def test_running_statistics_are_kept_where_there_are_any(tmp_path: Path) -> None:
    arrays = {**caffe_arrays(8), "res3_1_branch2b_bn_rm": np.full(16, 3, dtype=np.float32)}
    state = read_msra(written(tmp_path, arrays))
    assert state["layer2.1.bn2.running_mean"].tolist() == [3.0] * 16
    assert state["layer2.1.bn2.running_var"].tolist() == [1.0] * 16


def test_a_bias_before_the_first_norm_is_an_error(tmp_path: Path) -> None:
    arrays = {**caffe_arrays(8), "conv1_b": np.ones(8, dtype=np.float32)}
    with pytest.raises(ValueError, match=r"R-50\.pkl: conv1_b is not zero"):
        read_msra(written(tmp_path, arrays))


@pytest.mark.parametrize("name", ["res6_0_branch2a_w", "res2_0_branch2d_w", "res2_0_branch2a_b", "rpn_conv_w"])
def test_a_name_of_no_caffe_resnet_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    arrays = {**caffe_arrays(8), name: np.ones(8, dtype=np.float32)}
    with pytest.raises(ValueError, match=f"names that are none of a Caffe ResNet: {name}"):
        read_msra(written(tmp_path, arrays))


class Harmful:
    """What a pickle can hold: a call, made when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("import pathlib; pathlib.Path('harmed').touch()",))


@pytest.mark.parametrize("value", [{"conv1_w": Harmful()}, ["no dict"], {"conv1_w": "no array"}])
def test_a_pickle_of_anything_but_arrays_is_refused_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: object
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is no pickle of names with arrays"):
        read_weights(written(tmp_path, value))
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("name, pixels", [("R-50.pkl", "msra"), ("R-50.pth", "rgb"), ("R-50.safetensors", "rgb")])
def test_detectron2s_own_weights_alone_go_with_msras_pixels(name: str, pixels: str) -> None:
    assert pixels_of(Path(name)) == pixels
