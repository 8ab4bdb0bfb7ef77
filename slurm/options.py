"""Options: those that several commands of clusters have, as tyro reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from ..tables.scales import Scale

Numbers = Annotated[Positional[tuple[int, ...]], arg(metavar="[N...]", help="tables of the paper; none = all")]
ScaleOption = Annotated[Scale, arg(help="the full recipes, a tenth of the epochs, or digits on a CPU")]
Seeds = Annotated[int, arg(help="number of seeds a cell")]
Copies = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(metavar="DATA=COPY", help="a re-encoded copy in place of a data set; repeatable"),
]
Runs = Annotated[Path, arg(help="folder of the runs, seen by every node")]
Data = Annotated[Path, arg(help="folder of the data sets, seen by every node")]
Nodes = Annotated[int, arg(help="of every pretraining; 0 = as the cluster's entry says")]
Gpus = Annotated[int, arg(help="of every pretraining on each node; -1 = as the cluster's entry says")]
