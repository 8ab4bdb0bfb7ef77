"""Gaps: what of a table has not run, which rows have something to show, and the command that fills the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...pretrain.recipes.scales import PRECISIONS
from ...transfer.spec import COCO, Detection
from ..paper.table import Row, Table
from .cells import CellResult

NOTHING = ("not run", "not evaluated")  # states of seeds that have nothing to show


def gap_sentence(table: Table, cells: Sequence[CellResult]) -> str:
    """How many cells have not run, whole rows among them, and how to fill the table; empty where all seeds are done."""
    if all(state == "done" for result in cells for state in result.seed_results.states):
        return ""
    wanted = [result for result in cells if result.cell.specs]
    without = [result for result in wanted if not result.seed_results.values]
    filled = {id(result.row) for result in wanted if result.seed_results.values}
    rows = dict.fromkeys(result.row.label for result in without if id(result.row) not in filled)
    among = f", {len(rows)} whole row{'' if len(rows) == 1 else 's'} among them" if rows else ""
    counted = f"{len(without)} of {len(wanted)} cells have no number of ours{among}. " if without else ""
    if len(without) == len(wanted):
        counted = f"None of its {len(wanted)} cells has a number of ours. "
    return f"{counted}To fill it: `{filling_command(table)}`; {table.cost}."


def filling_command(table: Table) -> str:
    """The command that runs what the table lacks."""
    copies: dict[str, str] = {}
    for spec in table.specs:
        copies |= {spec.run.dataset: spec.run.copy}
        copies |= {COCO: spec.copy} if isinstance(spec, Detection) else {}
    precisions = {spec.run.precision for spec in table.specs} - {PRECISIONS[table.scale]}
    seeds = max((len(cell.specs) for row in table.rows for cell in row.cells), default=1)
    words = [f"compmod table {table.number} --scale {table.scale}"]
    words += [f"--seeds {seeds}"] if seeds > 1 else []
    words += [f"--copies {data}={copy}" for data, copy in copies.items() if copy]
    words += [f"--precision {precision}" for precision in sorted(precisions)]
    return " ".join([*words, "--run"])


def rows_with_results(table: Table, cells: Sequence[CellResult], heading: str) -> tuple[Table, list[CellResult]]:
    """The table with those rows alone that have something of ours under `heading`, and their cells.

    Settings have no results: under their heading are the rows that have something anywhere.
    """
    measured = any(column.heading == heading and column.unit != "fact" for column in table.columns)
    rows = {
        id(result.row)
        for result in cells
        if (result.column.heading == heading or not measured) and set(result.seed_results.states) - set(NOTHING)
    }
    kept = tuple(row for row in table.rows if id(row) in rows)
    return replace(table, rows=kept), [result for result in cells if id(result.row) in rows]


def hides_numbers(table: Table, kept: Sequence[Row], heading: str) -> bool:
    """Whether rows that are not `kept` have cells of their own, printed or ours, under `heading`."""
    return any(
        column.heading == heading and not cell.blank
        for row in table.rows
        if not any(row is one for one in kept)
        for column, cell in zip(table.columns, row.cells, strict=True)
    )
