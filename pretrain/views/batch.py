"""Batch: what a training step sees."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """One process's share of a batch. N samples in it."""

    views: tuple[Tensor, ...]  # each N x 3 x S x S, normalised
    index: Tensor  # int64, N, on the CPU: which samples of the data set they are
    labels: Tensor  # int64, N, on the views' device; -1 = unlabelled
    step: int = 0  # updates made before this one
    epoch: float = 0.0  # epochs done, with fractions
    draw: float = 0.0  # a uniform random number of this batch

    @property
    def step_epochs(self) -> float:
        """Epochs that a step takes; 0 in the first one, where it cannot be told."""
        return self.epoch / self.step if self.step else 0.0
