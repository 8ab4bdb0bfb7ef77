"""Notes: what stands under a table: how to read it, what to beware of, and what could not be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..paper.table import Table
from .cells import NAMED, STALE, UNKNOWN, CellResult
from .comparability import condition_warnings, content_warnings
from .results import Results
from .verdict import method_note


def table_notes(table: Table, cells: Sequence[CellResult], results: Results) -> list[str]:
    """What stands under the table: how to read it, what to beware of, and the records that could not be read.

    Backticks hold what is to be typed.
    """
    mixed, damaged = (
        [said.replace("`", "'") for said in read]
        for read in ([*condition_warnings(table), *content_warnings(cells)], _damaged(table, results))
    )
    return [*_legend(cells), *mixed, *_gaps(table, cells), *table.notes, *damaged]


def _legend(cells: Sequence[CellResult]) -> Iterator[str]:
    """What the numbers, verdicts and marks mean."""
    yield "ours: mean ± sample standard deviation over n seeds; bold: best of its column, theirs as printed."
    judged = [result for result in cells if result.judgement is not None and result.judgement.verdict != "not run"]
    if judged:
        yield method_note([result.column.unit for result in judged])
    stale = [result for result in cells if result.stale]
    if stale:
        files = sorted({file for result in stale for file in result.stale})
        named = ", ".join(files[:NAMED]) + (f" and {len(files) - NAMED} more" if len(files) > NAMED else "")
        yield f"{STALE} stale, for these files have changed since: {named} ({_rows(stale)})."
    unknown = [result for result in cells if result.unknown_files]
    if unknown:
        yield f"{UNKNOWN} source unknown, for the record does not tell which files made it ({_rows(unknown)})."


def _gaps(table: Table, cells: Sequence[CellResult]) -> Iterator[str]:
    """Which rows cannot run yet, and what filling the table costs."""
    for reason in dict.fromkeys(result.cell.why_empty for result in cells if result.cell.why_empty):
        yield f"not run, {reason}: {_rows(result for result in cells if result.cell.why_empty == reason)}."
    if any(state != "done" for result in cells for state in result.seed_results.states):
        yield f"To fill it: `compmod table {table.number} --scale {table.scale} --run`; {table.cost}."


def _rows(cells: Iterable[CellResult]) -> str:
    return ", ".join(dict.fromkeys(result.row.label for result in cells))


def _damaged(table: Table, results: Results) -> list[str]:
    """Of what `results` could not read, for this table or another, what belongs to this one."""
    if not results.damaged:
        return []
    folders = {spec.run.folder for spec in table.specs}
    return [sentence for sentence in results.damaged if any(folder in sentence for folder in folders)]
