"""Weights: a ResNet's state dict under torchvision's names, from a file that cannot run code, and which trunk it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...pretrain.networks.resnet import ResNet
from ...pretrain.specs.run import Backbone
from .caffe import SUFFIX as MSRA_SUFFIX
from .caffe import read_msra
from .convert import few, to_detectron2

MOVES_NO_NUMBER = "reads weights, and their checksum is in the spec's digest"

Stem = Literal["small", "small-pool", "large"]
SUFFIXES = (".safetensors", ".pth", ".pt")
_DEPTHS: dict[tuple[str, tuple[int, ...]], Literal["resnet10", "resnet18", "resnet50"]] = {
    ("basic", (1, 1, 1, 1)): "resnet10",
    ("basic", (2, 2, 2, 2)): "resnet18",
    ("bottleneck", (3, 4, 6, 3)): "resnet50",
}


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a file of safetensors or torch, or Detectron2's R-50.pkl, under torchvision's names.

    Raises ValueError on a file that could run code, or holds anything else.
    """
    if path.suffix not in (*SUFFIXES, MSRA_SUFFIX):
        raise ValueError(f"cannot tell what {path} holds by its name; expected {', '.join((*SUFFIXES, MSRA_SUFFIX))}")
    if not path.is_file():
        raise ValueError(f"no weights at {path}")
    if path.suffix == MSRA_SUFFIX:
        return read_msra(path)
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as stored:
                return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    except Exception as error:  # torch.load documents no type, and its message advises to run the file's code
        raise ValueError(
            f"{path} is no file of plain tensors ({type(error).__name__}); one that needs code to be read is refused: "
            "save its state_dict() alone"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        inside = f"a dict of {few(list(map(str, state)))}" if isinstance(state, dict) else f"a {type(state).__name__}"
        raise ValueError(f"{path} holds {inside}; expected names with tensors, as model.state_dict() gives them")
    return state


def pixels_of(path: Path) -> Literal["rgb", "msra"]:
    """The pixels that the weights of a file were trained on, and no others go with them: MSRA's are their own."""
    return "msra" if path.suffix == MSRA_SUFFIX else "rgb"


def recognised(state: Mapping[str, Tensor], stem: Stem | None = None) -> Backbone:
    """The trunk whose weights these are. Raises ValueError when it is none that we build.

    `stem` says what weights do not: whether a 3 x 3 stem is followed by max-pool.
    """
    to_detectron2(state)
    first = state.get("conv1.weight")
    if first is None or first.ndim != 4 or first.shape[1] != 3:
        raise ValueError("no conv1.weight of three channels; expected a ResNet on RGB images")
    blocks = [{name.split(".")[1] for name in state if name.startswith(f"layer{stage}.")} for stage in range(1, 5)]
    kind = "bottleneck" if "layer1.0.conv3.weight" in state else "basic"
    depths = tuple(map(len, blocks))
    if (kind, depths) not in _DEPTHS:
        raise ValueError(f"a ResNet of {kind} blocks, {depths} a stage, is none of {', '.join(_DEPTHS.values())}")
    large = first.shape[-1] == 7
    if stem is None and not large:
        raise ValueError("weights of a 3 x 3 stem do not tell whether max-pool follows; name it: small, small-pool")
    if stem is not None and large != (stem == "large"):
        raise ValueError(f"stem {stem!r} is not that of weights with a first kernel of {first.shape[-1]}")
    backbone = Backbone(name=_DEPTHS[kind, depths], width=first.shape[0], stem=stem or "large")
    check_weights(state, backbone)
    return backbone


def check_weights(state: Mapping[str, Tensor], backbone: Backbone) -> None:
    """Raise ValueError, naming it, on a tensor of `backbone` that is absent, superfluous or of another shape."""
    with torch.device("meta"):
        wanted = {name: tensor.shape for name, tensor in ResNet(backbone, backbone.width).state_dict().items()}
    counted = {name for name in wanted if name.endswith("num_batches_tracked")}
    given = {name: tensor.shape for name, tensor in state.items() if not name.startswith("fc.")}
    for kind, names in (
        ("lack", wanted.keys() - given.keys() - counted),
        ("have besides", given.keys() - wanted.keys()),
    ):
        if names:
            raise ValueError(f"the weights {kind} {few(sorted(names))} of a {backbone.name} of width {backbone.width}")
    for name, shape in given.items():
        if shape != wanted[name]:
            raise ValueError(
                f"{name} is {tuple(shape)}, in a {backbone.name} of width {backbone.width} {tuple(wanted[name])}"
            )
