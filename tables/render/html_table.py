"""HTML: a table as a fragment to embed in a page, the list of where its numbers come from, and both as a small page.

Captions and scoped headers tell the row and column of a cell, and every meaning is in words, so that the table can be
read without styles. Each of our numbers links to the line `run-DIGEST` of its first seed; the other seeds follow it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from ...pretrain.recipes.scales import Scale
from ..paper.table import Column, Table
from ..results.cells import (
    DECIMALS,
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
from ..results.gains import Pair, gain_lines
from ..results.gaps import gap_sentence, hides_numbers, rows_with_results
from ..results.notes import table_notes
from ..results.number_provenance import NumberProvenance
from ..results.results import Results

PROVENANCE_COLUMNS = ("measurement", "seed", "scale", "data", "commit", "hardware", "wall time", "sources", "folder")

_STYLE = """
body { font: 16px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 1rem auto; max-width: 75rem;
  padding: 0 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: bold; padding: 0.3rem 0; }
th, td { padding: 0.2rem 0.6rem; text-align: right; border-bottom: 1px solid #ccc; white-space: nowrap; }
th[scope=row], th[rowspan], .sources th, .sources td { text-align: left; }
thead th[scope=colgroup] { text-align: center; }
"""


def html_page(pairs: Sequence[tuple[Table, list[CellResult]]], results: Results) -> str:
    """A whole page of tables of one scale, and of where the numbers of all of them come from."""
    numbers = ", ".join(str(table.number) for table, _ in pairs)
    scale = pairs[0][0].scale
    title = f"Table{'s' if len(pairs) > 1 else ''} {numbers}, scale {scale}: ours beside the paper&#x27;s"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
        f"{''.join(html_table(table, cells, results) for table, cells in pairs)}"
        "<h2>Where the numbers come from</h2>\n"
        f"{html_provenance([cell for _, cells in pairs for cell in cells], scale)}"
        "</main>\n</body>\n</html>\n"
    )


def html_table(table: Table, cells: Sequence[CellResult], results: Results, *, folded: bool = False) -> str:
    """A section with a heading, one table a column group, and notes. Its numbers link to lines of `html_provenance`.

    That list is separate because two tables of a page may share a number, and the page lists it once. With `folded`,
    rows without a number of ours stand in a folded part, which has all rows; the sentence on them stands above it.
    """
    name, gap = f"table-{table.number}", gap_sentence(table, cells)
    lines = [f'<section id="{name}" aria-labelledby="{name}-title">']
    lines.append(f'<h2 id="{name}-title">Table {table.number}, scale {table.scale}: {escape(table.title)}</h2>')
    whole: list[str] = []  # tables of which rows are left out
    for heading in table.headings:
        shown, of_shown = rows_with_results(table, cells, heading) if folded else (table, list(cells))
        lines += _heading(shown, of_shown, heading) if shown.rows else []
        whole += _heading(table, cells, heading) if hides_numbers(table, shown.rows, heading) else []
    texts = [note for note in table_notes(table, cells, results) if not (folded and note == gap)]
    notes = ['<ul class="notes">', *(f"<li>{_with_code(note)}</li>" for note in texts), "</ul>"]
    if folded and gap:
        lines.append(f'<p class="gap">{_with_code(gap)}</p>')
    if whole:
        empty = not any(result.seed_results.values for result in cells)  # then the notes have no table to stand under
        summary = (
            f"<summary>Table {table.number} with all rows of the paper{' and its notes' if empty else ''}</summary>"
        )
        lines += ["<details>", summary, *whole, *(notes if empty else []), "</details>", *([] if empty else notes)]
    else:
        lines += notes
    return "\n".join([*lines, "</section>"]) + "\n"


def html_provenance(cells: Iterable[CellResult], scale: Scale) -> str:
    """A table with one line a measurement behind the numbers of `cells`, its id `run-DIGEST`."""
    listed = provenances(cells)
    if not listed:
        return "<p>No number of ours yet.</p>\n"
    head = "".join(f'<th scope="col">{name}</th>' for name in PROVENANCE_COLUMNS)
    lines = [_scroll("runs and measurements"), '<table class="sources">', "<caption>Runs and measurements</caption>"]
    lines += [f"<thead><tr>{head}</tr></thead>", "<tbody>", *(_provenance(provenance, scale) for provenance in listed)]
    return "\n".join([*lines, "</tbody>", "</table>", "</div>"]) + "\n"


def _heading(table: Table, cells: Sequence[CellResult], heading: str) -> list[str]:
    """The lines of one table: the columns under one heading, each with its parts; below it what "+" changes there."""
    columns = [column for column in table.columns if column.heading == heading]
    bodies = [_column(cells_of_column(cells, column), column) for column in columns]
    body = [(row.label, "".join(texts)) for row, *texts in zip(table.rows, *bodies, strict=True)]
    parts = [(column, shown_parts(column)) for column in columns]
    lines = _grid(f"Table {table.number}, {heading}", heading, row_name(table), parts, body)
    gains = gain_lines(cells, heading)
    if not gains:
        return lines
    caption = f"Gain of +, {heading}"
    gain_parts = [(pair.column, pair.shown_parts) for pair in next(iter(gains.values()))]
    gain_body = [(label, "".join(map(_gain, pairs))) for label, pairs in gains.items()]
    return [*lines, *_grid(f"Table {table.number}, {caption}", caption, "Method", gain_parts, gain_body)]


def _grid(
    region: str,
    caption: str,
    first: str,
    columns: Sequence[tuple[Column, Sequence[str]]],
    body: Iterable[tuple[str, str]],
) -> list[str]:
    """The lines of one table: its columns with their parts, and for each row its label and its data cells."""
    above = "".join(
        f'<th scope="colgroup" colspan="{len(parts)}">{escape(column_name(column))}</th>' for column, parts in columns
    )
    below = "".join(f'<th scope="col">{part}</th>' for _, parts in columns for part in parts)
    lines = [_scroll(region), "<table>", f"<caption>{escape(caption)}</caption>", "<thead>"]
    lines += [
        f'<tr><th scope="col" rowspan="2">{first}</th>{above}</tr>',
        f"<tr>{below}</tr>",
        "</thead>",
        "<tbody>",
    ]
    lines += [f'<tr><th scope="row">{escape(label)}</th>{data_cells}</tr>' for label, data_cells in body]
    return [*lines, "</tbody>", "</table>", "</div>"]


def _scroll(label: str) -> str:
    """The start of a box that scrolls sideways, also by keyboard, where a table is wider than the page."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">'


def _column(cells: list[CellResult], column: Column) -> list[str]:
    """The data cells of one column: for each row, those of all parts as one text."""
    lines = []
    for result, our in zip(cells, our_texts(cells), strict=True):
        paper = escape(result.cell.paper_text)
        shown = {
            "paper": f"<td>{f'<b>{paper}</b>' if result.cell.paper_bold and paper else paper}</td>",
            "ours": f"<td>{_ours(our, result.seed_results.digests)}</td>",
            "difference": f"<td>{_signed(difference_text(result))}</td>",
            "verdict": _verdict(result),
        }
        lines.append("".join(shown[part] for part in shown_parts(column)))
    return lines


def _gain(pair: Pair) -> str:
    """The data cells of a "+" row and its plain row in one column."""
    shown = {"paper": _signed(pair.paper_text), "ours": _ours(pair.our_text)}
    return "".join(f"<td>{shown[part]}</td>" for part in pair.shown_parts)


def _signed(number: str) -> str:
    return number.replace("-", "&minus;")


def _ours(our: OurText, digests: Sequence[str] = ()) -> str:
    """Our side of a cell; a number links to the first of its measurements."""
    if not our.number:
        return escape(our.state)
    text = _signed(our.number) + (f" ± {our.deviation}" if our.deviation else "")
    text = f'<a href="#run-{digests[0]}">{text}</a>' if digests else text
    count = f"({our.count}){our.marks}"
    return f"{f'<b>{text}</b>' if our.best else text} {count}"


def _verdict(result: CellResult) -> str:
    """The word of the verdict and, where there is one, the interval behind it."""
    judgement = result.judgement
    if judgement is None:
        return "<td></td>"
    word = verdict_text(result)
    interval = ""
    if judgement.low is not None and judgement.high is not None:
        ends = f"{decimal(judgement.low, DECIMALS)} to {decimal(judgement.high, DECIMALS)}"
        interval = f'<br><small class="interval">95 %: {ends}</small>'
    return f'<td class="verdict {word.replace(" ", "-")}">{word}{interval}</td>'


def _provenance(provenance: NumberProvenance, scale: Scale) -> str:
    changes = f"changed since: {', '.join(provenance.stale)}" if provenance.stale else ""
    shown = (
        str(provenance.seed),
        scale,
        provenance.data,
        provenance.checkout,
        provenance.hardware,
        f"{provenance.seconds:.1f} s" if provenance.seconds is not None else "",
        ", ".join(filter(None, (changes, "unknown" if provenance.unknown else ""))) or "as now",
        provenance.folder,
    )
    first = f'<th scope="row"><code>{provenance.digest}</code></th>'
    return f'<tr id="run-{provenance.digest}">{first}{"".join(f"<td>{escape(text)}</td>" for text in shown)}</tr>'


def _with_code(note: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(note))
