"""Render a table: our results looked up and set beside the paper's, as markdown to read or CSV for machines.

Only reads folders; imports pandas, never torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from .outcome import Outcome, Runs
from .table import Cell, Column, Row, Table

Format = Literal["md", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)
DECIMALS = 2  # of our numbers, as the paper prints Table 1
CSV_COLUMNS = (
    "table",
    "row",
    "group",
    "column",
    "metric",
    "scale",
    "data",
    "paper",
    "ours_mean",
    "ours_std",
    "n",
    "difference",
    "status",
    "digests",
)


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

    @property
    def status(self) -> str:
        """done, the state of the seed that needs attention most, or why there is nothing to run."""
        if "ours" not in self.column.parts:
            return "paper only"
        return self.outcome.state if self.cell.specs else self.cell.why_empty


def render(table: Table, runs: Path, form: Format = "md") -> str:
    """The table as text, ending with a newline. Raises ValueError on an unknown format."""
    if form not in FORMATS:
        raise ValueError(f"unknown format {form!r}; known: {', '.join(FORMATS)}")
    results = Runs(runs)
    cells = fill(table, results)
    return markdown(table, cells, results) if form == "md" else long_frame(table, cells).to_csv(index=False)


def fill(table: Table, results: Runs) -> list[Filled]:
    """Every cell with its results, in order of rows."""
    return [
        Filled(row=row, column=column, cell=cell, outcome=results.outcome(cell))
        for row in table.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
    ]


def long_frame(table: Table, cells: list[Filled]) -> pd.DataFrame:
    """One line a cell, with the columns CSV_COLUMNS; empty where there is nothing."""
    lines = [
        {
            "table": table.number,
            "row": filled.row.label,
            "group": filled.column.group,
            "column": filled.column.name,
            "metric": filled.cell.metric,
            "scale": table.scale,
            "data": "; ".join(dict.fromkeys(spec.run.data_label for spec in filled.cell.specs)),
            "paper": filled.cell.paper.text if filled.cell.paper else "",
            "ours_mean": _decimal(filled.outcome.mean, 4),
            "ours_std": _decimal(filled.outcome.std, 4),
            "n": len(filled.outcome.values),
            "difference": _decimal(filled.difference, 4),
            "status": filled.status,
            "digests": " ".join(filled.outcome.digests),
        }
        for filled in cells
    ]
    return pd.DataFrame(lines, columns=list(CSV_COLUMNS))


def markdown(table: Table, cells: list[Filled], results: Runs) -> str:
    """A heading, one markdown table a column group, and under them the notes and what could not be read."""
    lines = [f"### Table {table.number}, scale {table.scale}: {table.title}", ""]
    for heading in table.headings:
        frame = heading_frame(table, cells, heading)
        alignment = ["left", *["right"] * (len(frame.columns) - 1)]
        text = frame.to_markdown(index=False, colalign=alignment, disable_numparse=True)
        lines += [f"**{heading}**", "", str(text), ""]
    lines += [f"- {note}" for note in (*_state_notes(table, cells), *table.notes)]
    lines += [f"- {sentence}" for sentence in results.damaged]
    return "\n".join(lines) + "\n"


def heading_frame(table: Table, cells: list[Filled], heading: str) -> pd.DataFrame:
    """The columns under one heading as text, each split into its parts."""
    frame = pd.DataFrame({"Method": [row.label for row in table.rows]})
    for column in table.columns:
        if column.heading != heading:
            continue
        of_column = [filled for filled in cells if filled.column is column]
        best = _best(of_column)
        name = column.name if column.group in heading else f"{column.group} {column.name}"
        for part in column.parts:
            if part == "paper":
                text = [_paper(filled.cell) for filled in of_column]
            elif part == "ours":
                text = [_ours(filled, best) for filled in of_column]
            else:
                text = ["" if filled.difference is None else f"{filled.difference:+.2f}" for filled in of_column]
            frame[f"{name}: {part}"] = text
    return frame


def _paper(cell: Cell) -> str:
    if cell.paper is None:
        return ""
    return f"**{cell.paper.text}**" if cell.paper_bold else cell.paper.text


def _best(of_column: list[Filled]) -> str | None:
    """The largest of our means as printed, so that what prints alike is bold alike."""
    means = [filled.outcome.mean for filled in of_column if filled.outcome.mean is not None]
    return _decimal(max(means), DECIMALS) if means else None


def _ours(filled: Filled, best: str | None) -> str:
    outcome = filled.outcome
    if not filled.cell.specs:
        return "not run"
    if outcome.mean is None:
        return outcome.state
    text = _decimal(outcome.mean, DECIMALS)
    if outcome.std is not None:
        text += f" ± {outcome.std:.{DECIMALS}f}"
    if _decimal(outcome.mean, DECIMALS) == best:
        text = f"**{text}**"
    count = f"n={len(outcome.values)}"
    if len(outcome.states) > len(outcome.values):
        count += f" of {len(outcome.states)}, {outcome.state}"
    return f"{text} ({count})"


def _state_notes(table: Table, cells: list[Filled]) -> list[str]:
    """What ours are, which rows cannot run yet and what filling the table costs."""
    notes = ["ours: mean ± sample standard deviation over n seeds; bold: best of its column, theirs as printed."]
    for reason in dict.fromkeys(filled.cell.why_empty for filled in cells if filled.cell.why_empty):
        labels = dict.fromkeys(filled.row.label for filled in cells if filled.cell.why_empty == reason)
        notes.append(f"not run, {reason}: {', '.join(labels)}.")
    if any(state != "done" for filled in cells for state in filled.outcome.states):
        notes.append(f"To fill it: `compmod table {table.number} --scale {table.scale} --run`; {table.cost}.")
    return notes


def _decimal(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"
