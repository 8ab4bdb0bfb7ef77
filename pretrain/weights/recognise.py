"""Recognise: which trunk weights are of, by their shapes, and that nothing is absent or superfluous."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from ..networks.resnet import ResNet
from ..specs.run import Backbone, Stem
from .read import few

_DEPTHS: dict[tuple[str, tuple[int, ...]], Literal["resnet10", "resnet18", "resnet34", "resnet50"]] = {
    ("basic", (1, 1, 1, 1)): "resnet10",
    ("basic", (2, 2, 2, 2)): "resnet18",
    ("basic", (3, 4, 6, 3)): "resnet34",
    ("bottleneck", (3, 4, 6, 3)): "resnet50",
}
SMALL: tuple[Stem, ...] = ("small", "small-pool", "small-padded")


def recognised(state: Mapping[str, Tensor], stem: Stem | None = None) -> Backbone:
    """The trunk whose weights these are, under torchvision's names. Raises ValueError when it is none that we build.

    `stem` says what weights do not: the border of a 3 x 3 convolution, and whether max-pool follows.
    """
    first = state.get("conv1.weight")
    if first is None or first.ndim != 4 or first.shape[1] != 3:
        nearest = sorted(state, key=lambda name: (not name.startswith("conv1"), name))
        found = f"; found {few(nearest)}" if state else ""
        raise ValueError(f"no conv1.weight of three channels; expected a ResNet on RGB images{found}")
    blocks = [{name.split(".")[1] for name in state if name.startswith(f"layer{stage}.")} for stage in range(1, 5)]
    kind = "bottleneck" if "layer1.0.conv3.weight" in state else "basic"
    depths = tuple(map(len, blocks))
    if (kind, depths) not in _DEPTHS:
        raise ValueError(f"a ResNet of {kind} blocks, {depths} a stage, is none of {', '.join(_DEPTHS.values())}")
    large = first.shape[-1] == 7
    if stem is None and not large:
        raise ValueError(
            "weights of a 3 x 3 stem do not tell its border and whether max-pool follows; name the stem: small (border "
            "1), small-pool (border 1, max-pool), small-padded (border 2, as in solo-learn on CIFAR)"
        )
    if stem is not None and large != (stem == "large"):
        raise ValueError(f"stem {stem!r} is not that of weights with a first kernel of {first.shape[-1]}")
    width, inner = first.shape[0], 1
    if kind == "bottleneck":
        inner = max(1, state["layer1.0.conv1.weight"].shape[0] // width) if "layer1.0.conv1.weight" in state else 1
    backbone = Backbone(name=_DEPTHS[kind, depths], width=width, stem=stem or "large", inner=inner)
    check_weights(state, backbone)
    return backbone


def check_weights(state: Mapping[str, Tensor], backbone: Backbone) -> None:
    """Raise ValueError, naming it, on a tensor of `backbone` that is absent, superfluous or of another shape."""
    with torch.device("meta"):
        wanted = {name: tensor.shape for name, tensor in ResNet(backbone, backbone.width).state_dict().items()}
    counted = {name for name in wanted if name.endswith("num_batches_tracked")}
    given = {name: tensor.shape for name, tensor in state.items()}
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


def completed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights in float32, each with memory of its own, and with the counts of batches that old files lack.

    Raises ValueError, naming it, on a tensor of no ordinary kind, or with a value that is not finite.
    """
    whole: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            whole[name] = tensor.detach().clone()
            continue
        if not tensor.is_floating_point() or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise ValueError(f"{name} is {tensor.dtype} in {tensor.layout} on {tensor.device}, not dense real numbers")
        whole[name] = tensor.detach().to(torch.float32, copy=True).contiguous()
        if not whole[name].isfinite().all():
            raise ValueError(f"{name} has values that are not finite")
    for name in [name for name in whole if name.endswith("running_mean")]:
        whole.setdefault(name.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    return whole
