"""Filled: a table's cells with what was found for them, and the words that every renderer prints of them.

Only reads folders; imports neither pandas nor torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..paper.table import Cell, Column, Row, Table
from .origin import Source
from .results import Outcome, Runs
from .verdict import MARGIN, Judgement, judge

DECIMALS = 2  # of our numbers, as the paper prints Table 1
NAMED = 6  # changed files that a note names; the list of where the numbers come from has all
STALE, UNKNOWN = "†", "‡"  # beside a number; the notes below the table say what they mean


@dataclass(frozen=True)
class Ours:
    """Our side of a cell in words: a number with its deviation and count, or the state that stands in its place."""

    number: str = ""
    deviation: str = ""
    count: str = ""
    state: str = ""
    best: bool = False
    marks: str = ""


@dataclass(frozen=True)
class Filled:
    """One cell with what was found for it."""

    row: Row
    column: Column
    cell: Cell
    outcome: Outcome

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, where the column compares them and both exist."""
        mean, paper = self.outcome.mean, self.cell.paper
        if "difference" not in self.column.parts or mean is None or paper is None:
            return None
        return mean - paper.value

    @cached_property
    def judgement(self) -> Judgement | None:
        """The verdict on our seeds; None where there is nothing to compare: no printed number, other data, a fact."""
        margin = MARGIN.get(self.column.unit)
        if "difference" not in self.column.parts or self.cell.paper is None or margin is None:
            return None
        return judge(self.outcome.values, self.cell.paper.value, margin)

    @property
    def status(self) -> str:
        """done, the state of the seed that needs attention most, or why there is nothing to run."""
        if self.column.unit == "fact":
            return "fact"
        if "ours" not in self.column.parts:
            return "paper only"
        return self.outcome.state if self.cell.specs else self.cell.why_empty

    @cached_property
    def stale(self) -> tuple[str, ...]:
        """The files that determine one of its numbers and have changed since, in order."""
        return tuple(sorted({file for source in self.outcome.sources for file in source.stale}))

    @property
    def source_unknown(self) -> bool:
        """Whether one of its numbers does not tell which files made it."""
        return any(source.unknown for source in self.outcome.sources)


def fill(table: Table, results: Runs) -> list[Filled]:
    """Every cell with its results, in order of rows."""
    return [
        Filled(row=row, column=column, cell=cell, outcome=results.outcome(cell))
        for row in table.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
    ]


def of_column(cells: Iterable[Filled], column: Column) -> list[Filled]:
    """The cells of one column, in order of rows."""
    return [filled for filled in cells if filled.column is column]


def column_name(column: Column) -> str:
    """The name of a column under its heading, with its group where the heading does not say it."""
    return column.name if column.group in column.heading else f"{column.group} {column.name}"


def row_name(table: Table) -> str:
    """What the rows of a table are."""
    return "Method" if len({row.method for row in table.rows if row.method}) > 1 else "Row"


def parts(column: Column) -> tuple[str, ...]:
    """What is shown of each cell of a column: its parts, and after a difference the verdict."""
    judged = "difference" in column.parts and column.unit in MARGIN
    return (*column.parts, "verdict") if judged else column.parts


def difference(filled: Filled) -> str:
    """Ours minus the paper's as printed; a hyphen for minus, as in the numbers of a CSV file."""
    return "" if filled.difference is None else f"{filled.difference:+.{DECIMALS}f}"


def verdict(filled: Filled) -> str:
    """The verdict as printed."""
    return "" if filled.judgement is None else filled.judgement.verdict


def ours(cells: Sequence[Filled]) -> list[Ours]:
    """Our side of the cells of one column; of several that print alike as the largest, each is the best."""
    means = [filled.outcome.mean for filled in cells if filled.outcome.mean is not None]
    best = decimal(max(means), DECIMALS) if means else None
    return [_ours(filled, best) for filled in cells]


def _ours(filled: Filled, best: str | None) -> Ours:
    outcome, cell = filled.outcome, filled.cell
    if filled.column.unit == "fact" or cell.blank:
        return Ours(state=cell.fact)
    if outcome.mean is None:
        return Ours(state=outcome.state if cell.specs else "not run")
    number = decimal(outcome.mean, DECIMALS)
    count = f"n={len(outcome.values)}"
    if len(outcome.states) > len(outcome.values):
        count += f" of {len(outcome.states)}, {outcome.state}"
    marks = (STALE if filled.stale else "") + (UNKNOWN if filled.source_unknown else "")
    deviation = decimal(outcome.std, DECIMALS)
    return Ours(number=number, deviation=deviation, count=count, best=number == best, marks=marks)


def decimal(value: float | None, decimals: int) -> str:
    """So many decimals; nothing for nothing."""
    return "" if value is None else f"{value:.{decimals}f}"


def sources(cells: Iterable[Filled]) -> list[Source]:
    """Where every number comes from, each measurement once, in order of rows."""
    return list({source.digest: source for filled in cells for source in filled.outcome.sources}.values())
