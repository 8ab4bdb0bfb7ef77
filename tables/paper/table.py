"""Table, Row, Column, Cell: what the paper printed, and the specs whose results stand beside it.

A table is a frozen value that `tableN.py` makes for one scale. It holds no result and reads no folder: `results/` looks
results up and `render/` prints them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from ...pretrain.recipes.scales import Scale
from ...pretrain.specs.measurement import Measurement
from .printed import Printed

Part = Literal["paper", "ours", "difference"]
Unit = Literal["accuracy", "AP", "fact"]
Format = Literal["md", "html", "latex", "csv"]  # of what is printed
ALL_PARTS: tuple[Part, ...] = ("paper", "ours", "difference")
BESIDE: tuple[Part, ...] = ("paper", "ours")  # for settings, and for numbers of other data, which do not compare
SWITCH = "switch"  # metric of a fact that is on or off; the paper prints a check mark or nothing
ON, OFF = "✓", ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One measured quantity. `group` and `name` are as printed; columns of one `heading` are shown side by side.

    A column whose `unit` is "fact" states a setting, the paper's and ours, and has no verdict.
    """

    group: str
    name: str
    heading: str
    parts: tuple[Part, ...] = ALL_PARTS
    unit: Unit = "accuracy"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What the paper printed (None = a dash), and the specs, one a seed, whose `metric` is our number.

    A cell without a printed number, specs, a fact and a reason is one that the paper does not have: it stays blank.
    """

    metric: str  # key in the results, such as linear/top1
    paper: Printed | None = None
    specs: tuple[Measurement, ...] = ()
    why_empty: str = ""  # without specs: the reason, such as "cited, not run"
    fact: str = ""  # in a fact column: our own setting, as text

    @property
    def paper_bold(self) -> bool:
        """Whether the paper prints the number in bold."""
        return self.paper is not None and self.paper.bold

    @property
    def paper_text(self) -> str:
        """What the paper prints, a switch as a check mark or nothing."""
        if self.paper is None:
            return ""
        if self.metric == SWITCH:
            return ON if self.paper.value else OFF
        return self.paper.text

    @property
    def blank(self) -> bool:
        """Whether the paper has no such cell."""
        return not (self.paper or self.specs or self.why_empty or self.fact)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table; `method` is a method's command-line name, or empty for a floor or several methods."""

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
    cost: str  # of filling it with one seed, and whether it is measured or estimated
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
    def specs(self) -> tuple[Measurement, ...]:
        """Every spec of the table once, in order of rows; specs of equal digest are the same experiment."""
        unique = {spec.digest: spec for row in self.rows for cell in row.cells for spec in cell.specs}
        return tuple(unique.values())

    def with_specs(self, wanted: Callable[[Measurement], bool]) -> Table:
        """The table with those of its measurements alone; every cell stays."""
        rows = [
            replace(row, cells=tuple(replace(cell, specs=tuple(filter(wanted, cell.specs))) for cell in row.cells))
            for row in self.rows
        ]
        return replace(self, rows=tuple(rows))
