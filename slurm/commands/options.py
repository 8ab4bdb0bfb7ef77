"""Options: those that several commands of clusters have, beside those of tables."""

from __future__ import annotations

from typing import Annotated

from tyro.conf import arg

from ...pretrain.specs.fields import Range

NodesOption = Annotated[int, Range(0, 10_000), arg(help="of a pretraining; 0 = as the cluster's entry says")]
GpusOption = Annotated[
    int, Range(-1, 1024), arg(help="of a pretraining on each node; -1 = as the cluster's entry says")
]
