"""Names: the trunk among the tensors of a file, under torchvision's names, and what else the file has, by rule.

The layouts are those of the releases: torchvision and timm (`conv1`), MoCo (`module.encoder_q`), MoCo v3
(`module.base_encoder`), SimSiam (`module.encoder`), Barlow Twins and VICReg (`module.backbone`), SwAV (`module`), VISSL
(`classy_state_dict.base_model.model.trunk._feature_blocks`), solo-learn (`backbone`, before 2022 `encoder`), Lightly
(`backbone`, also as a Sequential, whose layers are numbers). Where a file has two copies of the trunk, the one is taken
that the authors evaluate.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from .read import few

PREFIXES = {  # of the trunk's names, any number of them
    *("state_dict", "model_state_dict", "classy_state_dict", "model", "base_model", "module", "_orig_mod", "network"),
    *("trunk", "_feature_blocks", "backbone", "encoder", "encoder_q", "base_encoder", "online_encoder"),
    *("online_network", "online", "net", "resnet", "feature_extractor"),
}
DROPPED = {  # pattern of the first part of a name after the prefixes -> what it is
    r"encoder_k|.*_momentum|(momentum|target|teacher|student|query|key|ema|model_ema)(_.*)?": "another copy",
    r"fc|linear|classifier|.*_classifier": "classifier",
    r"heads?|.*_heads?|proj.*|.*projector|pred.*|.*predictor|prototypes.*|expander|mlp|bn": "head",
    r"optimizers?(_.*)?|lr_schedulers?|scheduler|scaler|amp|callbacks|loops": "state of training",
    r"queue.*|memory_bank.*|criterion|.*loss.*|met(er|ric)s?": "state of the loss",
}
SEQUENTIAL = {"0": "conv1", "1": "bn1", **{str(stage + 3): f"layer{stage}" for stage in range(1, 5)}}


@dataclass(frozen=True)
class Trunk:
    """What a file has of a ResNet, and what else."""

    state: dict[str, Tensor]  # under torchvision's names
    dropped: tuple[str, ...]  # every other part of the file, what it is, and of how many tensors


def trunk_of(tensors: Mapping[str, Tensor]) -> Trunk:
    """Sort the tensors of a file. Raises ValueError, with the names, on no trunk and on two tensors for one place.

    A name that no rule knows stays in the state, where `recognised` refuses it.
    """
    state: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    dropped: Counter[tuple[str, str]] = Counter()
    for name, tensor in tensors.items():
        parts = name.split(".")
        first = next((place for place, part in enumerate(parts) if part not in PREFIXES), 0)
        reason = next((what for pattern, what in DROPPED.items() if re.fullmatch(pattern, parts[first])), "")
        if reason:
            dropped[".".join(parts[: first + 1]), reason] += 1
            continue
        place = _torchvision(parts[first:], name)
        if place in origin:
            raise ValueError(f"two tensors for {place}: {origin[place]} and {name}; expected one trunk")
        state[place], origin[place] = tensor, name
    if not state:
        raise ValueError(f"no trunk; found {few([f'{part} ({what})' for part, what in dropped])}")
    return Trunk(state, tuple(f"{part} ({what}, {count})" for (part, what), count in dropped.items()))


def _torchvision(parts: list[str], name: str) -> str:
    """The name of a layer in torchvision's ResNet, also of a Sequential of its layers and of Lightly's ResNet."""
    if parts[0] in ("2", "3"):  # in torchvision's order the ReLU and max-pool of the stem, without tensors
        raise ValueError(
            f"{name} is of a Sequential of Lightly's ResNetGenerator, which has no ReLU after its first norm; no trunk "
            "here is like that, and its features would be others"
        )
    first = SEQUENTIAL.get(parts[0], parts[0])
    return ".".join([first, *("downsample" if part == "shortcut" else part for part in parts[1:])])
