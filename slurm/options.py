"""Options: those that several commands of clusters have, beside those of tables."""

from __future__ import annotations

from typing import Annotated

from tyro.conf import arg

Nodes = Annotated[int, arg(help="of every pretraining; 0 = as the cluster's entry says")]
Gpus = Annotated[int, arg(help="of every pretraining on each node; -1 = as the cluster's entry says")]
