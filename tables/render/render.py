"""Render: a table with our results beside the paper's numbers, as markdown, HTML, LaTeX, or CSV for programs.

Only reads folders and never imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ...pretrain.data.identity import SHOWN
from ..paper.table import Format, Table
from ..results.cells import CellResult, cell_results, cells_of_column, decimal
from ..results.comparability import differing_splits
from ..results.gains import Pair
from ..results.gains import pairs as gain_pairs
from ..results.results import Results
from .html_table import html_page
from .latex import latex
from .markdown import markdown

if TYPE_CHECKING:
    import pandas as pd

FORMATS: tuple[Format, ...] = get_args(Format)
CSV_DECIMALS = 4  # of our numbers, for programs
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
    "verdict",
    "low",  # ends of the 95 % interval of our mean
    "high",
    "gain_paper",  # of a "+" row alone: the printed number less that of its plain row
    "gain",  # the same of ours, the mean over the seeds that both have
    "gain_low",  # ends of its 95 % interval
    "gain_high",
    "gain_n",  # how many seeds both have
    "fact",  # in a column of settings: our own
    "status",
    "stale",  # files changed since; "unknown" where a record does not tell
    "commit",
    "hardware",
    "seconds",  # wall time of each seed, in the order of the digests
    "digests",
)


def render(table: Table, runs: Path, form: Format = "md", *, provenance: bool = False) -> str:
    """The table as text that ends with a newline; with `provenance`, markdown also lists where each number comes from.

    Raises ValueError on an unknown format.
    """
    return render_all([table], runs, form, provenance=provenance)


def render_all(tables: Sequence[Table], runs: Results | Path, form: Format = "md", *, provenance: bool = False) -> str:
    """Tables of one scale as one text: one HTML page, one CSV, or one table after another."""
    if form not in FORMATS:
        raise ValueError(f"unknown format {form!r}; known: {', '.join(FORMATS)}")
    results = runs if isinstance(runs, Results) else Results(runs)
    pairs = [(table, cell_results(table, results)) for table in tables]
    if form == "html":
        return html_page(pairs, results)
    if form == "csv":
        return _frame([line for table, cells in pairs for line in _lines(table, cells)]).to_csv(index=False)
    if form == "latex":
        return "\n".join(latex(table, cells, results) for table, cells in pairs)
    return "\n".join(markdown(table, cells, results, provenance=provenance) for table, cells in pairs)


def long_frame(table: Table, cells: list[CellResult]) -> pd.DataFrame:
    """One line a cell, with the columns CSV_COLUMNS; an empty text where there is no value."""
    return _frame(_lines(table, cells))


def _frame(lines: list[dict[str, object]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(lines, columns=list(CSV_COLUMNS))


def _data(result: CellResult, cells: Sequence[CellResult]) -> str:
    """The data of a cell by name; also by content, where several data of the column share a name."""
    differing = differing_splits(cells_of_column(cells, result.column))
    contents = (
        content
        for provenance in result.seed_results.provenances
        for content in provenance.contents
        if content[:2] in differing
    )
    named = [f"content of {split} {digest[:SHOWN]}" for _, split, digest in contents]
    return "; ".join(dict.fromkeys([*(spec.run.data_label for spec in result.cell.specs), *named]))


def _lines(table: Table, cells: Sequence[CellResult]) -> list[dict[str, object]]:
    gained = {id(pair.plus): pair for pair in gain_pairs(cells)}
    return [_line(table, result, cells) | _gain(gained.get(id(result))) for result in cells]


def _gain(pair: Pair | None) -> dict[str, object]:
    """What "+" changes in a column; empty texts in a row that is not a "+" row."""
    if pair is None:
        return dict.fromkeys(("gain_paper", "gain", "gain_low", "gain_high", "gain_n"), "")
    gain, half = pair.gain, pair.gain.half_width if pair.gain else None
    difference = gain.difference if gain else None
    low, high = (difference - half, difference + half) if difference is not None and half is not None else (None, None)
    return {
        "gain_paper": pair.paper_text.removeprefix("+"),
        "gain": decimal(difference, CSV_DECIMALS),
        "gain_low": decimal(low, CSV_DECIMALS),
        "gain_high": decimal(high, CSV_DECIMALS),
        "gain_n": len(gain.plus) if gain else 0,
    }


def _line(table: Table, result: CellResult, cells: Sequence[CellResult]) -> dict[str, object]:
    seed_results, judgement = result.seed_results, result.judgement
    return {
        "table": table.number,
        "row": result.row.label,
        "group": result.column.group,
        "column": result.column.name,
        "metric": result.cell.metric,
        "scale": table.scale,
        "data": _data(result, cells),
        "paper": result.cell.paper.text if result.cell.paper else "",
        "ours_mean": decimal(seed_results.mean, CSV_DECIMALS),
        "ours_std": decimal(seed_results.std, CSV_DECIMALS),
        "n": len(seed_results.values),
        "difference": decimal(result.difference, CSV_DECIMALS),
        "verdict": judgement.verdict if judgement else "",
        "low": decimal(judgement.low, CSV_DECIMALS) if judgement else "",
        "high": decimal(judgement.high, CSV_DECIMALS) if judgement else "",
        "fact": result.cell.fact,
        "status": result.status,
        "stale": "; ".join([*result.stale, *(["unknown"] if result.unknown_files else [])]),
        "commit": "; ".join(
            dict.fromkeys(provenance.checkout for provenance in seed_results.provenances if provenance.commit)
        ),
        "hardware": "; ".join(
            dict.fromkeys(provenance.hardware for provenance in seed_results.provenances if provenance.hardware)
        ),
        "seconds": " ".join(decimal(provenance.seconds, 1) or "unknown" for provenance in seed_results.provenances),
        "digests": " ".join(seed_results.digests),
    }
