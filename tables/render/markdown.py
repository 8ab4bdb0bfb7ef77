"""Markdown: a table to read in a terminal, and the list of where its numbers come from. Uses pandas and tabulate."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ...pretrain.files.printable import printable
from ..paper.table import Table
from ..results.cells import (
    CellResult,
    OurText,
    cells_of_column,
    column_name,
    decimal,
    difference_text,
    our_texts,
    provenances,
    row_name,
    shown_parts,
    verdict_text,
)
from ..results.gains import gain_lines
from ..results.gaps import hides_numbers, rows_with_results
from ..results.notes import table_notes
from ..results.results import Results

if TYPE_CHECKING:
    import pandas as pd


# Characters with a meaning in markdown, in HTML and in formulas; _ inside a word has none.
MARKS = re.compile(r"[\\`*\[\]<>|&~$]|\b_|_\b|(?<!\w)_")


def escaped(text: str) -> str:
    """A text from outside, such as the name of a processor, as plain characters of one line."""
    return MARKS.sub(r"\\\g<0>", printable(text))


def escaped_note(note: str) -> str:
    """A sentence of ours. Text between backticks is unchanged; elsewhere no character starts a tag or a table cell."""
    parts = re.split(r"(`[^`]*`)", printable(note))
    return "".join(
        part if position % 2 else re.sub(r"[<>|\[\]]", r"\\\g<0>", part) for position, part in enumerate(parts)
    )


def markdown(
    table: Table, cells: list[CellResult], results: Results, *, provenance: bool = False, folded: bool = False
) -> str:
    """A heading, one markdown table a column heading, and below them the notes.

    With `provenance` also a table of where each number comes from. With `folded`, rows without a number of ours stand
    in a folded part, which has all rows.
    """
    lines = [f"### Table {table.number}, scale {table.scale}: {table.title}", ""]
    whole: list[str] = []  # tables of which rows are left out
    for heading in table.headings:
        shown, of_shown = rows_with_results(table, cells, heading) if folded else (table, cells)
        lines += _heading(shown, of_shown, heading) if shown.rows else []
        whole += _heading(table, cells, heading) if hides_numbers(table, shown.rows, heading) else []
    if whole:
        summary = f"<summary>Table {table.number} with all rows of the paper</summary>"
        lines += ["<details>", summary, "", *whole, "</details>", ""]
    lines += [f"- {note if note in table.notes else escaped_note(note)}" for note in table_notes(table, cells, results)]
    if provenance:
        frame = provenance_frame(cells)
        lines += ["", _text(frame, left=len(frame.columns)) if len(frame) else "No number of ours yet."]
    return "\n".join(lines) + "\n"


def _heading(table: Table, cells: list[CellResult], heading: str) -> list[str]:
    lines = [f"**{escaped(heading)}**", "", _text(heading_frame(table, cells, heading), left=1), ""]
    gains = gain_frame(cells, heading)
    return [*lines, _text(gains, left=1), ""] if len(gains) else lines


def heading_frame(table: Table, cells: list[CellResult], heading: str) -> pd.DataFrame:
    """The columns under one heading as texts, each with its parts."""
    import pandas as pd

    frame = {row_name(table): [row.label for row in table.rows]}
    for column in table.columns:
        if column.heading == heading:
            name, column_cells = escaped(column_name(column)), cells_of_column(cells, column)
            frame |= {f"{name}: {part}": _PARTS[part](column_cells) for part in shown_parts(column)}
    return pd.DataFrame(frame)


def gain_frame(cells: Sequence[CellResult], heading: str) -> pd.DataFrame:
    """What "+" changes under one heading, one line a method; empty where no "+" row has its plain row."""
    import pandas as pd

    lines = []
    for label, pairs in gain_lines(cells, heading).items():
        line = {"Gain of +": label}
        for pair in pairs:
            texts = {"paper": pair.paper_text, "ours": _ours_text(pair.our_text)}
            line |= {f"{escaped(column_name(pair.column))}: {part}": texts[part] for part in pair.shown_parts}
        lines.append(line)
    return pd.DataFrame(lines)


def provenance_frame(cells: Sequence[CellResult]) -> pd.DataFrame:
    """Where every number comes from, one line a measurement; an empty text where a record does not tell."""
    import pandas as pd

    lines = [
        {
            "digest": f"`{provenance.digest}`",
            "seed": str(provenance.seed),
            "data": escaped(provenance.data),
            "commit": escaped(provenance.checkout),
            "hardware": escaped(provenance.hardware),
            "wall time, s": decimal(provenance.seconds, 1),
            "changed since": "unknown" if provenance.unknown else escaped(", ".join(provenance.stale)),
            "folder": f"`{provenance.folder}`",
        }
        for provenance in provenances(cells)
    ]
    return pd.DataFrame(lines)


def _text(frame: pd.DataFrame, *, left: int) -> str:
    """The frame as a markdown table; its first `left` columns are aligned to the left, the others to the right."""
    alignment = ["left" if count < left else "right" for count in range(len(frame.columns))]
    return str(frame.to_markdown(index=False, colalign=alignment, disable_numparse=True))


def _ours_text(cell: OurText) -> str:
    if not cell.number:
        return cell.state
    text = f"{cell.number} ± {cell.deviation}" if cell.deviation else cell.number
    return f"{_bold(text) if cell.best else text} ({cell.count}){cell.marks}"


def _bold(text: str) -> str:
    return f"**{text}**" if text else ""


_PARTS: dict[str, Callable[[list[CellResult]], list[str]]] = {
    "paper": lambda cells: [
        _bold(result.cell.paper_text) if result.cell.paper_bold else result.cell.paper_text for result in cells
    ],
    "ours": lambda cells: [_ours_text(cell) for cell in our_texts(cells)],
    "difference": lambda cells: [difference_text(result) for result in cells],
    "verdict": lambda cells: [verdict_text(result) for result in cells],
}
