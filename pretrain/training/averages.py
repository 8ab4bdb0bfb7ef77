"""Averages: means of what a training logs, over the steps since its last line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..runtime.copies import HostCopy
from .checkpoint import whole_number


class Means:
    """The means of one line, on their way to the host."""

    def __init__(self, sums: Mapping[str, Tensor], steps: int) -> None:
        self._names, self._steps = list(sums), steps
        self._sums = HostCopy(torch.stack(list(sums.values())))

    def arrived(self) -> bool:
        """Whether `values` would not wait for the device."""
        return self._sums.arrived()

    def values(self) -> dict[str, float]:
        """The means by name."""
        sums = self._sums.values().tolist()
        return {name: value / self._steps for name, value in zip(self._names, sums, strict=True)}


class Averages:
    """Sums of scalars, kept on the device, so that adding to them does not wait for it."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.steps = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add one step's scalars."""
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value.detach() if name in self.sums else value.detach().clone()
        self.steps += 1

    def take(self) -> Means:
        """The means, and begin anew. At least one step was added."""
        means = Means(self.sums, self.steps)
        self.sums, self.steps = {}, 0
        return means

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"sums": self.sums, "summed": self.steps}

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Take over what `state` gave. Raises an error on what does not fit."""
        self.sums = {name: value.to(device) for name, value in state["sums"].items()}
        self.steps = whole_number(state["summed"])
