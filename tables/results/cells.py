"""CellResult: a cell of a table with its results, and the texts that every renderer prints of it.

Only reads folders; imports neither pandas nor torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..paper.table import Cell, Column, Row, Table
from .number_provenance import NumberProvenance
from .results import Results, SeedResults
from .verdict import MARGIN, Judgement, judge

DECIMALS = 2  # of our numbers, as the paper prints Table 1
NAMED = 6  # changed files that a note names; the list of provenances names all
STALE, UNKNOWN = "†", "‡"  # beside a number; the notes below the table say what they mean


@dataclass(frozen=True)
class OurText:
    """Our side of a cell as texts: a number with its deviation and count, or else the state of its seeds."""

    number: str = ""
    deviation: str = ""
    count: str = ""
    state: str = ""
    best: bool = False
    marks: str = ""


@dataclass(frozen=True)
class CellResult:
    """One cell with its row, its column and its results."""

    row: Row
    column: Column
    cell: Cell
    seed_results: SeedResults

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, where the column compares them and both exist."""
        mean, paper = self.seed_results.mean, self.cell.paper
        if "difference" not in self.column.parts or mean is None or paper is None:
            return None
        return mean - paper.value

    @cached_property
    def judgement(self) -> Judgement | None:
        """The verdict on our seeds; None where there is nothing to compare: no printed number, other data, a fact."""
        margin = MARGIN.get(self.column.unit)
        if "difference" not in self.column.parts or self.cell.paper is None or margin is None:
            return None
        return judge(self.seed_results.values, self.cell.paper.value, margin)

    @property
    def status(self) -> str:
        """done, the state of the seed that needs attention most, or why there is nothing to run."""
        if self.column.unit == "fact":
            return "fact"
        if "ours" not in self.column.parts:
            return "paper only"
        return self.seed_results.state if self.cell.specs else self.cell.why_empty

    @cached_property
    def stale(self) -> tuple[str, ...]:
        """The files that determine one of its numbers and have changed since, in order."""
        return tuple(sorted({file for provenance in self.seed_results.provenances for file in provenance.stale}))

    @property
    def unknown_files(self) -> bool:
        """Whether the record of one of its numbers does not tell which files made it."""
        return any(provenance.unknown for provenance in self.seed_results.provenances)


def cell_results(table: Table, results: Results) -> list[CellResult]:
    """Every cell with its results, in order of rows."""
    return [
        CellResult(row=row, column=column, cell=cell, seed_results=results.seed_results(cell))
        for row in table.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
    ]


def cells_of_column(cells: Iterable[CellResult], column: Column) -> list[CellResult]:
    """The cells of one column, in order of rows."""
    return [result for result in cells if result.column is column]


def column_name(column: Column) -> str:
    """The name of a column under its heading, with its group where the heading does not say it."""
    return column.name if column.group in column.heading else f"{column.group} {column.name}"


def row_name(table: Table) -> str:
    """What the rows of a table are."""
    return "Method" if len({row.method for row in table.rows if row.method}) > 1 else "Row"


def shown_parts(column: Column) -> tuple[str, ...]:
    """What is shown of each cell of a column: its parts, and after a difference the verdict."""
    judged = "difference" in column.parts and column.unit in MARGIN
    return (*column.parts, "verdict") if judged else column.parts


def difference_text(result: CellResult) -> str:
    """Ours minus the paper's as printed; a hyphen for minus, as in the numbers of a CSV file."""
    return "" if result.difference is None else f"{result.difference:+.{DECIMALS}f}"


def verdict_text(result: CellResult) -> str:
    """The verdict as printed."""
    return "" if result.judgement is None else result.judgement.verdict


def our_texts(cells: Sequence[CellResult]) -> list[OurText]:
    """Our side of the cells of one column; numbers that are printed like the largest are all marked best."""
    means = [result.seed_results.mean for result in cells if result.seed_results.mean is not None]
    best = decimal(max(means), DECIMALS) if means else None
    return [_our_text(result, best) for result in cells]


def _our_text(result: CellResult, best: str | None) -> OurText:
    seed_results, cell = result.seed_results, result.cell
    if result.column.unit == "fact" or cell.blank:
        return OurText(state=cell.fact)
    if seed_results.mean is None:
        return OurText(state=seed_results.state if cell.specs else "not run")
    number = decimal(seed_results.mean, DECIMALS)
    count = f"n={len(seed_results.values)}"
    if len(seed_results.states) > len(seed_results.values):
        count += f" of {len(seed_results.states)}, {seed_results.state}"
    marks = (STALE if result.stale else "") + (UNKNOWN if result.unknown_files else "")
    deviation = decimal(seed_results.std, DECIMALS)
    return OurText(number=number, deviation=deviation, count=count, best=number == best, marks=marks)


def decimal(value: float | None, decimals: int) -> str:
    """`value` with so many decimals; an empty text for None."""
    return "" if value is None else f"{value:.{decimals}f}"


def provenances(cells: Iterable[CellResult]) -> list[NumberProvenance]:
    """The provenance of every number, each measurement once, in order of rows."""
    return list(
        {provenance.digest: provenance for result in cells for provenance in result.seed_results.provenances}.values()
    )
