"""Table, Row, Column, Cell: what the paper printed and the specs whose results stand beside it.

A table is a frozen value made by `tableN.py` for one scale. It holds no result and reads no folder; `outcome.py` looks
results up and `render.py` prints them. Adding a table is one file `tableN.py` with a function of that name, and one
line in TABLES.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal

from ..pretrain.run import Evaluation
from .paper import Printed
from .scales import Scale

TABLES: dict[int, str] = {  # number in the paper -> file in this folder, which holds a function of the same name
    1: "table1",
}

Part = Literal["paper", "ours", "difference"]
ALL_PARTS: tuple[Part, ...] = ("paper", "ours", "difference")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One measured quantity. `group` and `name` are as printed; columns of one `heading` are shown side by side."""

    group: str
    name: str
    heading: str
    parts: tuple[Part, ...] = ALL_PARTS


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What the paper printed (None = a dash) and the specs, one a seed, whose `metric` fills our side."""

    metric: str  # key in the results, such as linear/top1
    paper: Printed | None = None
    specs: tuple[Evaluation, ...] = ()
    why_empty: str = ""  # without specs: the reason, such as "cited, not run"

    @property
    def paper_bold(self) -> bool:
        """Whether the paper prints the number in bold."""
        return self.paper is not None and self.paper.bold


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table; `method` is a method's command-line name, or empty for a floor."""

    label: str
    cells: tuple[Cell, ...]
    method: str = ""
    meaning: str = ""  # one sentence for the report


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of the paper at one scale; `rows[i].cells[j]` belongs to `columns[j]`."""

    number: int
    title: str
    scale: Scale
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    cost: str  # of filling it once, and whether measured or estimated
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(f"row {row.label!r} has {len(row.cells)} cells for {len(self.columns)} columns")

    @property
    def headings(self) -> tuple[str, ...]:
        """The headings of the column groups, in order."""
        return tuple(dict.fromkeys(column.heading for column in self.columns))

    @property
    def specs(self) -> tuple[Evaluation, ...]:
        """Every spec of the table in order of rows, each once: equal digests are the same experiment."""
        unique = {spec.digest: spec for row in self.rows for cell in row.cells for spec in cell.specs}
        return tuple(unique.values())


def build_table(number: int, scale: Scale = "paper", seeds: int = 1) -> Table:
    """Table `number` of the paper at `scale`, its cells over `seeds` seeds. Raises ValueError on an unknown number."""
    if number not in TABLES:
        raise ValueError(f"unknown table {number}; known: {', '.join(map(str, TABLES))}")
    name = TABLES[number]
    table: Table = getattr(importlib.import_module(f".{name}", __package__), name)(scale, seeds)
    return table
