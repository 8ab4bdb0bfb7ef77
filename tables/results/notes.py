"""Notes: what stands under a table: how to read it, what to beware of, and what could not be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..paper.table import Table
from .cells import NAMED, STALE, UNKNOWN, Filled
from .comparability import mixed_contents, mixed_settings
from .results import Runs
from .verdict import method_note


def notes(table: Table, cells: Sequence[Filled], results: Runs) -> list[str]:
    """What stands under the table: how to read it, what to beware of, and the records that could not be read.

    Backticks hold what is to be typed.
    """
    mixed, damaged = (
        [said.replace("`", "'") for said in read]
        for read in ([*mixed_settings(table), *mixed_contents(cells)], _damaged(table, results))
    )
    return [*_legend(cells), *mixed, *_gaps(table, cells), *table.notes, *damaged]


def _legend(cells: Sequence[Filled]) -> Iterator[str]:
    """What the numbers, verdicts and marks mean."""
    yield "ours: mean ± sample standard deviation over n seeds; bold: best of its column, theirs as printed."
    judged = [filled for filled in cells if filled.judgement is not None and filled.judgement.verdict != "not run"]
    if judged:
        yield method_note([filled.column.unit for filled in judged])
    stale = [filled for filled in cells if filled.stale]
    if stale:
        files = sorted({file for filled in stale for file in filled.stale})
        named = ", ".join(files[:NAMED]) + (f" and {len(files) - NAMED} more" if len(files) > NAMED else "")
        yield f"{STALE} stale, for these files have changed since: {named} ({_rows(stale)})."
    unknown = [filled for filled in cells if filled.source_unknown]
    if unknown:
        yield f"{UNKNOWN} source unknown, for the record does not tell which files made it ({_rows(unknown)})."


def _gaps(table: Table, cells: Sequence[Filled]) -> Iterator[str]:
    """Which rows cannot run yet, and what filling the table costs."""
    for reason in dict.fromkeys(filled.cell.why_empty for filled in cells if filled.cell.why_empty):
        yield f"not run, {reason}: {_rows(filled for filled in cells if filled.cell.why_empty == reason)}."
    if any(state != "done" for filled in cells for state in filled.outcome.states):
        yield f"To fill it: `compmod table {table.number} --scale {table.scale} --run`; {table.cost}."


def _rows(cells: Iterable[Filled]) -> str:
    return ", ".join(dict.fromkeys(filled.row.label for filled in cells))


def _damaged(table: Table, results: Runs) -> list[str]:
    """Of what `results` could not read, for this table or another, what belongs to this one."""
    if not results.damaged:
        return []
    folders = {spec.run.folder for spec in table.specs}
    return [sentence for sentence in results.damaged if any(folder in sentence for folder in folders)]
