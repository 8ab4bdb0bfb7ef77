"""Build: the list of tables (TABLES), and the function that builds one for a scale, seeds, copies and a precision.

Adding a table is one file `tableN.py` with a function of that name (see
`paper/builder.py`), and one line in TABLES.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType

from ..pretrain.recipes.scales import SCALES, Scale
from ..pretrain.specs.datasets import DATASETS, known
from ..pretrain.specs.run import Precision
from ..transfer.spec import COCO
from .paper.table import Table

TABLES: dict[int, str] = {  # number in the paper -> file in this folder, which holds a function of the same name
    1: "table1",
    2: "table2",
    3: "table3",
    4: "table4",
    5: "table5",
    6: "table6",
    7: "table7",
}


def tables_at(scale: Scale) -> tuple[int, ...]:
    """The numbers of the tables that have `scale`: those whose COSTS name it."""
    return tuple(number for number in TABLES if scale in _module(number).COSTS)


def build_table(
    number: int,
    scale: Scale = "paper",
    seeds: int = 1,
    copies: Mapping[str, str] | None = None,
    precision: Precision | None = None,
) -> Table:
    """Table `number` of the paper at `scale`, each cell measured with the seeds 0 to `seeds` - 1.

    `copies` maps a data set to the name of a re-encoded copy of it; without an entry a cell uses the official data.
    `precision` is that of pretraining in place of the scale's own.
    Raises ValueError on an unknown number, scale or data set, and on a scale that the table lacks.
    """
    if number not in TABLES:
        raise ValueError(f"unknown table {number}; known: {', '.join(map(str, TABLES))}")
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, not {seeds}")
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; known: {', '.join(SCALES)}")
    if number not in tables_at(scale):
        numbers = ", ".join(map(str, tables_at(scale)))
        raise ValueError(f"table {number} has no scale {scale}; tables that have it: {numbers}")
    _check_copies(scale, copies or {})
    table: Table = getattr(_module(number), TABLES[number])(scale, seeds, copies, precision)
    return table


def _module(number: int) -> ModuleType:
    return importlib.import_module(f".{TABLES[number]}", __package__)


def _check_copies(scale: Scale, copies: Mapping[str, str]) -> None:
    for dataset in copies:
        if dataset != COCO and not known(dataset).folder:
            valid = ", ".join([*(name for name, entry in DATASETS.items() if entry.folder), COCO])
            raise ValueError(f"{dataset} is embedded and has no copies; valid: {valid}")
    if copies and scale == "demo":
        raise ValueError("scale demo runs on the embedded digits, which have no copies; use --scale paper or short")
