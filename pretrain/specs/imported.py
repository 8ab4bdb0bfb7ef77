"""Imported: an encoder that others trained, in the place of a pretraining of ours. Imports no torch.

The SHA-256 of the file of weights is its identity, and neither the path nor the name. What the weights do not tell is
beside it: which images the encoder is measured on, how their pixels are normalised for it, and its architecture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from .datasets import DATASETS, Dataset
from .fields import Positive, Share, Whole
from .run import Kind, Run

IMAGENET = DATASETS["imagenet"]
SHOWN = 12  # hexadecimal digits of a digest that a label gives


@dataclass(frozen=True, kw_only=True)
class Imported(Run):
    """Weights from elsewhere. Of what a Run says of training, such as views and optimizer, nothing applies."""

    method: str = "supervised"  # a Run names one; whether labels were used, the weights do not tell
    epochs: Whole = 0
    weights: str  # SHA-256 of the file
    mean: tuple[Share, Share, Share] = IMAGENET.mean  # per channel, of pixels in 0..1
    std: tuple[Positive, Positive, Positive] = IMAGENET.std

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch("[0-9a-f]{64}", self.weights):
            raise ValueError(f"Imported.weights must be a SHA-256 in 64 hexadecimal digits, not {self.weights!r}")
        if self.epochs or self.method != "supervised":
            raise ValueError("Imported.epochs and method are of training, which others did; use 0 and supervised")

    @property
    def kind(self) -> Kind:
        """What kind of work the spec describes."""
        return "import"

    @property
    def label(self) -> str:
        """The weights, for there is no method of ours to name."""
        return f"weights {self.weights[:SHOWN]}"

    @property
    def data(self) -> Dataset:
        """As of a Run, with the mean and deviation that the encoder expects."""
        return replace(super().data, mean=self.mean, std=self.std)

    def stated(self) -> dict[str, Any]:
        """How pixels were normalised, which others choose otherwise."""
        return {"mean": list(self.mean), "std": list(self.std)}

    @property
    def folder(self) -> str:
        """Folder below the runs directory."""
        return f"imported-{self.dataset}-{self.digest}"
