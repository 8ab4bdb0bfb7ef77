"""Options: those that several commands of clusters have, beside those of tables."""

from __future__ import annotations

from typing import Annotated, Literal

from tyro.conf import arg

from ...pretrain.specs.fields import Range

NodesOption = Annotated[int, Range(0, 10_000), arg(help="of a pretraining; 0 = as the cluster's entry says")]
GpusOption = Annotated[
    int, Range(-1, 1024), arg(help="of a pretraining on each node; -1 = as the cluster's entry says")
]
RecomputeOption = Annotated[bool, arg(help="compute activations again in the backward pass: less memory, more time")]
TooLargeOption = Annotated[
    Literal["refuse", "skip", "submit"], arg(help="what to do with runs that need more than the entry's gpu_memory_gb")
]
