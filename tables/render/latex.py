r"""LaTeX: a table to \input, by booktabs; a legend below explains the letters of the verdicts.

The preamble needs \usepackage{booktabs,amssymb,graphicx}. Our own texts are written in ASCII, which every engine reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ..paper.table import Column, Table
from ..results.cells import (
    STALE,
    UNKNOWN,
    CellResult,
    OurText,
    cells_of_column,
    column_name,
    difference_text,
    our_texts,
    row_name,
    shown_parts,
)
from ..results.gains import Pair, gain_lines
from ..results.notes import table_notes
from ..results.results import Results
from ..results.verdict import CellVerdict

LETTERS: dict[CellVerdict, str] = {"reproduced": "r", "higher": "h", "lower": "l", "inconclusive": "i", "not run": "--"}
PART_NAMES = {"paper": "paper", "ours": "ours", "difference": r"$\Delta$", "verdict": ""}
FITTING = r"\ifdim\width>\linewidth\linewidth\else\width\fi"  # so that a tabular is never wider than the text
COMMANDS = {  # characters with a meaning in LaTeX, and every one beyond ASCII in our own texts
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": "$-$",
    "–": "--",
    "—": "---",
    "°": r"$^\circ$",
    "…": r"\dots{}",
    "“": "``",
    "”": "''",
    "’": "'",
    "✓": r"\checkmark{}",
    "α": r"$\alpha$",
    "λ": r"$\lambda$",
    STALE: r"\dag{}",
    UNKNOWN: r"\ddag{}",
}


def latex(table: Table, cells: list[CellResult], results: Results) -> str:
    """One `table` environment a heading; below them a legend and the notes."""
    lines = [r"% needs \usepackage{booktabs,amssymb,graphicx}"]
    for heading in table.headings:
        caption = escaped(f"Reproduction of Table {table.number}, scale {table.scale}, {heading}: {table.title}")
        lines += [r"\begin{table}[htbp]", r"\centering\footnotesize\setlength{\tabcolsep}{4pt}"]
        lines += [rf"\caption{{{caption}.}}", *_fitted(_tabular(table, cells, heading))]
        if gains := gain_lines(cells, heading):
            lines += [r"\par\medskip", *_fitted(_gain_tabular(gains))]
        lines.append(r"\end{table}")
    lines.append(r"{\footnotesize\raggedright\setlength{\parindent}{0pt}")
    if any(result.judgement for result in cells):
        lines.append(f"Verdicts: {', '.join(f'{letter} = {word}' for word, letter in LETTERS.items())}." + r"\par")
    lines += [rf"{_with_code(note)}\par" for note in table_notes(table, cells, results)]
    return "\n".join([*lines, "}"]) + "\n"


def escaped(text: str) -> str:
    """`text` so that LaTeX prints it literally; letters without a command, which a path may have, are unchanged."""
    return "".join(COMMANDS.get(letter, letter) for letter in text)


def _fitted(tabular: list[str]) -> list[str]:
    return [rf"\resizebox{{{FITTING}}}{{!}}{{%", *tabular, "}"]


def _tabular(table: Table, cells: Sequence[CellResult], heading: str) -> list[str]:
    """The columns under one heading, each with its parts."""
    columns = [column for column in table.columns if column.heading == heading]
    bodies = [_column(cells_of_column(cells, column), column) for column in columns]
    body = [(row.label, *texts) for row, *texts in zip(table.rows, *bodies, strict=True)]
    return _grid(row_name(table), [(column, shown_parts(column)) for column in columns], body)


def _gain_tabular(gains: Mapping[str, Sequence[Pair]]) -> list[str]:
    """What "+" changes under one heading, one line a method."""
    columns = [(pair.column, pair.shown_parts) for pair in next(iter(gains.values()))]
    return _grid("Gain of +", columns, [(label, *map(_gain, pairs)) for label, pairs in gains.items()])


def _grid(first: str, columns: Sequence[tuple[Column, Sequence[str]]], body: Iterable[Sequence[str]]) -> list[str]:
    """One tabular: its columns with their parts, and for each row its label and the texts of its columns."""
    above, rules, start = [], [], 2
    for column, parts in columns:
        width = len(parts)
        above.append(rf"\multicolumn{{{width}}}{{c}}{{{escaped(column_name(column))}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    below = [PART_NAMES[part] for _, parts in columns for part in parts]
    return [
        rf"\begin{{tabular}}{{l{'r' * (start - 2)}}}",
        r"\toprule",
        rf"& {' & '.join(above)} \\",
        "".join(rules),
        rf"{escaped(first)} & {' & '.join(below)} \\",
        r"\midrule",
        *(rf"{escaped(label)} & {' & '.join(texts)} \\" for label, *texts in body),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _column(cells: list[CellResult], column: Column) -> list[str]:
    """The cells of one column: for each row, those of all parts as one text."""
    lines = []
    for result, our in zip(cells, our_texts(cells), strict=True):
        judgement = result.judgement
        shown = {
            "paper": _bold(escaped(result.cell.paper_text), result.cell.paper_bold),
            "ours": _ours(our),
            "difference": _signed(difference_text(result)),
            "verdict": LETTERS[judgement.verdict] if judgement else "",
        }
        lines.append(" & ".join(shown[part] for part in shown_parts(column)))
    return lines


def _gain(pair: Pair) -> str:
    """The cells of a "+" row and its plain row in one column, as one text."""
    our = pair.our_text
    shown = {"paper": _signed(pair.paper_text), "ours": _ours(replace(our, number=_signed(our.number)))}
    return " & ".join(shown[part] for part in pair.shown_parts)


def _signed(number: str) -> str:
    return f"${number}$" if number else ""


def _ours(our: OurText) -> str:
    if not our.number:
        return escaped(our.state)
    text = rf"{our.number} $\pm$ {our.deviation}" if our.deviation else our.number
    return f"{_bold(text, our.best)} ({our.count}){escaped(our.marks)}"


def _bold(text: str, bold: bool) -> str:
    return rf"\textbf{{{text}}}" if bold and text else text


def _with_code(note: str) -> str:
    """The note escaped; text between backticks is set in a typewriter font."""
    return re.sub(r"`([^`]*)`", lambda code: rf"\texttt{{{code[1].replace('--', '-{}-')}}}", escaped(note))
