"""MSRA: the supervised ResNet-50 that Detectron2's models start from (ImageNetPretrained/MSRA/R-50.pkl).

It is of Caffe (He et al., CVPR 2016): it sees BGR less the mean and undivided, its blocks stride in the first 1 x 1
convolution, and its batch norms are scales and shifts alone. So its detector has settings of its own, `pixels` msra.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...pretrain.data.cifar_stl import ArraysOnly
from ...pretrain.weights.read import few

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOVES_NO_NUMBER = "reads weights, and their checksum is in the spec's digest"

SUFFIX = ".pkl"
_CONVOLUTIONS = {"1": "downsample.0", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
_NORMS = {"1": "downsample.1", "2a": "bn1", "2b": "bn2", "2c": "bn3"}
_FIELDS = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
_DROPPED = r"(fc1000|pred)_[wb]|.*_momentum"  # the classifier, and what its training left


def read_msra(path: Path) -> dict[str, Tensor]:
    """Its weights under torchvision's names. Raises ValueError on a pickle of anything but arrays, and on other names.

    Where the file has no running statistics those of a norm that has seen nothing stand in: mean 0, variance 1.
    """
    try:
        with open(path, "rb") as handle:
            stored = ArraysOnly(handle, encoding="latin1").load()
        arrays = {str(name): _tensor(value) for name, value in stored.get("blobs", stored).items()}
    except Exception as error:  # a damaged pickle can raise any exception at all
        raise ValueError(
            f"{path} is no pickle of names with arrays ({type(error).__name__}: {error}), as Detectron2's R-50.pkl is; "
            "save weights of torchvision's names as .pth or .safetensors"
        ) from error
    try:
        return _with_statistics(_renamed(arrays))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array.copy())  # a pickle's arrays cannot be written to


def _renamed(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    state, foreign = {}, []
    for name, tensor in arrays.items():
        if re.fullmatch(_DROPPED, name):
            continue
        if name == "conv1_b":  # before a norm, which would take it away again
            if tensor.any():
                raise ValueError("conv1_b is not zero, and a convolution before a norm has no bias here")
        elif place := _place(name):
            state[place] = tensor
        else:
            foreign.append(name)
    if foreign:
        raise ValueError(
            f"names that are none of a Caffe ResNet: {few(foreign)}; expected conv1_w, res2_0_branch2a_w …"
        )
    return state


def _place(name: str) -> str:
    """Its name in torchvision's ResNet; "" for none."""
    if name == "conv1_w":
        return "conv1.weight"
    if stem := re.fullmatch(r"res_conv1_bn_(s|b|rm|riv)", name):
        return f"bn1.{_FIELDS[stem[1]]}"
    block = re.fullmatch(r"res([2-5])_(\d+)_branch(1|2a|2b|2c)_(?:(w)|bn_(s|b|rm|riv))", name)
    if not block:
        return ""
    stage, position, branch, convolution, field = block.groups()
    layer = f"{_CONVOLUTIONS[branch]}.weight" if convolution else f"{_NORMS[branch]}.{_FIELDS[field]}"
    return f"layer{int(stage) - 1}.{position}.{layer}"


def _with_statistics(state: dict[str, Tensor]) -> dict[str, Tensor]:
    norms = [name.removesuffix("bias") for name in state if name.endswith(".bias")]
    fresh = {f"{norm}running_mean": torch.zeros_like(state[f"{norm}bias"]) for norm in norms}
    fresh |= {f"{norm}running_var": torch.ones_like(state[f"{norm}bias"]) for norm in norms}
    return fresh | state
