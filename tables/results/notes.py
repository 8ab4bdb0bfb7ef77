"""Notes: the sentences under a table: how to read it, what is wrong with it, and which records could not be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ...pretrain.recipes.presets import recipes
from ...pretrain.recipes.recipe import UNVERIFIED
from ...pretrain.specs.datasets import known
from ...pretrain.specs.methods import METHODS
from ..paper.table import Table
from .cells import NAMED, STALE, UNKNOWN, CellResult
from .comparability import condition_warnings, content_warnings
from .gains import NOTE, pairs
from .gaps import gap_sentence
from .results import Results
from .verdict import method_note


def table_notes(table: Table, cells: Sequence[CellResult], results: Results) -> list[str]:
    """The sentences under a table. Text between backticks is what a user types."""
    mixed, damaged = (
        [sentence.replace("`", "'") for sentence in sentences]
        for sentences in ([*condition_warnings(table), *content_warnings(cells)], _damaged(table, results))
    )
    return [*_legend(cells), *mixed, *_gaps(table, cells), *_unverified(table), *table.notes, *damaged]


def _legend(cells: Sequence[CellResult]) -> Iterator[str]:
    """What the numbers, verdicts and marks mean."""
    yield "ours: mean ± sample standard deviation over n seeds; bold: best of its column, theirs as printed."
    judged = [result for result in cells if result.judgement is not None and result.judgement.verdict != "not run"]
    if judged:
        yield method_note([result.column.unit for result in judged])
    if pairs(cells):
        yield NOTE
    stale = [result for result in cells if result.stale]
    if stale:
        files = sorted({file for result in stale for file in result.stale})
        named = ", ".join(files[:NAMED]) + (f" and {len(files) - NAMED} more" if len(files) > NAMED else "")
        yield f"{STALE} stale: these files have changed since the number was made: {named} ({_rows(stale)})."
    unknown = [result for result in cells if result.unknown_files]
    if unknown:
        yield f"{UNKNOWN} source unknown: the record does not tell which files made it ({_rows(unknown)})."


def _gaps(table: Table, cells: Sequence[CellResult]) -> Iterator[str]:
    """Which rows have no runs and why, and what filling the table costs."""
    for reason in dict.fromkeys(result.cell.why_empty for result in cells if result.cell.why_empty):
        yield f"not run, {reason}: {_rows(result for result in cells if result.cell.why_empty == reason)}."
    if sentence := gap_sentence(table, cells):
        yield sentence


def _unverified(table: Table) -> Iterator[str]:
    """Which methods have no recipe of their own for the data set that they are trained on here."""
    runs = [spec.run for spec in table.specs if spec.run.kind != "import"]
    pairs = dict.fromkeys((run.base_method, run.dataset, run.own) for run in runs)
    named = [
        f"{METHODS[method].label} on {own.entry(dataset).label if own else known(dataset).label}"
        for method, dataset, own in pairs
        if not recipes(method, dataset, own)[""].verified
    ]
    if named:
        yield f"Recipe {UNVERIFIED}: {', '.join(named)}."


def _rows(cells: Iterable[CellResult]) -> str:
    return ", ".join(dict.fromkeys(result.row.label for result in cells))


def _damaged(table: Table, results: Results) -> list[str]:
    """The records of this table among those that `results` could not read."""
    if not results.damaged:
        return []
    folders = {spec.run.folder for spec in table.specs}
    return [sentence for sentence in results.damaged if any(folder in sentence for folder in folders)]
