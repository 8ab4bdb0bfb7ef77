"""Conversion: a ResNet's weights under torchvision's names to Detectron2's, no name left unaccounted for.

The names are those of Detectron2's `modeling/backbone/resnet.py`; Detectron2 itself is not needed here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...pretrain.weights.read import few

PARTS = ("stem", "res2", "res3", "res4", "res5")

DROPPED = {  # pattern of a name -> why Detectron2 has no use for it
    r"fc\.(weight|bias)": "the classifier",
    r".*\.num_batches_tracked": "a count that no norm layer here reads, for their momentum is fixed",
}
# Pattern of a part of a name -> Detectron2's; applied one after the other.
_PLACES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"^layer([1-4])\.(\d+)\.", lambda match: f"res{int(match[1]) + 1}.{match[2]}."),
    (r"^(conv1|bn1)\.", lambda match: f"stem.{match[1]}."),
    (r"\bbn([1-3])\.", lambda match: f"conv{match[1]}.norm."),
    (r"\bdownsample\.0\.", lambda match: "shortcut."),
    (r"\bdownsample\.1\.", lambda match: "shortcut.norm."),
)
_CONVOLUTION, _NORM = r"weight", r"(weight|bias|running_mean|running_var)"
_BLOCK = rf"layer[1-4]\.\d+\.(conv[1-3]\.{_CONVOLUTION}|bn[1-3]\.{_NORM}"
_KNOWN = rf"conv1\.{_CONVOLUTION}|bn1\.{_NORM}|{_BLOCK}|downsample\.0\.{_CONVOLUTION}|downsample\.1\.{_NORM})"


@dataclass(frozen=True)
class Converted:
    """A trunk's weights under Detectron2's names, and what of the original has no place there."""

    weights: dict[str, Tensor]
    dropped: dict[str, str]  # name in the original -> why


def to_detectron2(state: Mapping[str, Tensor]) -> Converted:
    """Rename every tensor of a torchvision-keyed ResNet. Raises ValueError, listing them, on names of anything else."""
    weights, dropped, foreign = {}, {}, []
    for name, tensor in state.items():
        reason = next((why for pattern, why in DROPPED.items() if re.fullmatch(pattern, name)), "")
        if reason:
            dropped[name] = reason
        elif re.fullmatch(_KNOWN, name):
            weights[_renamed(name)] = tensor
        else:
            foreign.append(name)
    if foreign:
        raise ValueError(
            f"{len(foreign)} of {len(state)} names are none of a torchvision ResNet: {few(foreign)}; "
            "expected conv1, bn1, layer1 to layer4 and fc"
        )
    return Converted(weights, dropped)


def _renamed(name: str) -> str:
    for pattern, place in _PLACES:
        name = re.sub(pattern, place, name)
    return name


def load_trunk(converted: Converted, *parts: nn.Module, fresh: Collection[str] = ()) -> None:
    """Copy the weights into the modules that hold stem and res2 to res5 between them, each exactly once.

    `parts` are a C4 model's backbone and roi_heads, or an FPN's bottom_up; `fresh` names layers of theirs that start
    anew, such as res5.norm. Raises ValueError on a weight without a place and on a place without a weight.
    """
    left = set(converted.weights)
    for part in PARTS:
        holders = [module for module in parts if isinstance(getattr(module, part, None), nn.Module)]
        assert len(holders) == 1, f"{part} is in {len(holders)} of the modules given"
        mine = {name: converted.weights[name] for name in left if name.startswith(f"{part}.")}
        left -= set(mine)
        given = {name.removeprefix(f"{part}."): tensor for name, tensor in mine.items()}
        _load(holders[0].get_submodule(part), given, part, tuple(f"{name}." for name in fresh))
    assert not left, f"names that to_detectron2 does not make: {few(sorted(left))}"


def _load(module: nn.Module, weights: dict[str, Tensor], part: str, fresh: tuple[str, ...]) -> None:
    wanted = {name: tensor for name, tensor in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    wanted = {name: tensor for name, tensor in wanted.items() if not f"{part}.{name}".startswith(fresh)}
    for kind, names in (("place", weights.keys() - wanted.keys()), ("weights", wanted.keys() - weights.keys())):
        if names:
            raise ValueError(f"no {kind} for {few(sorted(f'{part}.{name}' for name in names))}")
    for name, tensor in weights.items():
        if tensor.shape != wanted[name].shape:
            raise ValueError(f"{part}.{name} is {tuple(tensor.shape)}, its place {tuple(wanted[name].shape)}")
    with torch.no_grad():
        for name, tensor in weights.items():
            wanted[name].copy_(tensor)
