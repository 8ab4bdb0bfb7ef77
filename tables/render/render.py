"""Render a table: our results looked up and set beside the paper's, as text, a page, LaTeX, or CSV for machines.

Only reads folders and never imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ...pretrain.data.identity import SHOWN
from ..paper.table import Format, Table
from ..results.cells import Filled, decimal, fill, of_column
from ..results.comparability import differing_contents
from ..results.results import Runs
from .html_table import html_page, html_provenance, html_table
from .latex import latex
from .markdown import heading_frame, markdown

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CSV_COLUMNS",
    "FORMATS",
    "Filled",
    "fill",
    "heading_frame",
    "html_provenance",
    "html_table",
    "long_frame",
    "markdown",
    "render",
    "render_all",
]

FORMATS: tuple[Format, ...] = get_args(Format)
CSV_DECIMALS = 4  # of our numbers for machines
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
    "fact",  # in a column of settings: our own
    "status",
    "stale",  # files changed since; "unknown" where a record does not tell
    "commit",
    "hardware",
    "seconds",  # wall time of each seed, in the order of the digests
    "digests",
)


def render(table: Table, runs: Path, form: Format = "md", *, provenance: bool = False) -> str:
    """The table as text, ending with a newline; in markdown with `provenance` also where each number comes from.

    Raises ValueError on an unknown format.
    """
    return render_all([table], runs, form, provenance=provenance)


def render_all(tables: Sequence[Table], runs: Runs | Path, form: Format = "md", *, provenance: bool = False) -> str:
    """Tables of one scale as one text: one page, one list of cells under one line of names, or one after another."""
    if form not in FORMATS:
        raise ValueError(f"unknown format {form!r}; known: {', '.join(FORMATS)}")
    results = runs if isinstance(runs, Runs) else Runs(runs)
    filled = [(table, fill(table, results)) for table in tables]
    if form == "html":
        return html_page(filled, results)
    if form == "csv":
        return _frame([_line(table, cell, cells) for table, cells in filled for cell in cells]).to_csv(index=False)
    if form == "latex":
        return "\n".join(latex(table, cells, results) for table, cells in filled)
    return "\n".join(markdown(table, cells, results, provenance=provenance) for table, cells in filled)


def long_frame(table: Table, cells: list[Filled]) -> pd.DataFrame:
    """One line a cell, with the columns CSV_COLUMNS; empty where there is nothing."""
    return _frame([_line(table, filled, cells) for filled in cells])


def _frame(lines: list[dict[str, object]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(lines, columns=list(CSV_COLUMNS))


def _data(filled: Filled, cells: Sequence[Filled]) -> str:
    """The data of a cell by name, and by content where the column has several of one name."""
    differing = differing_contents(of_column(cells, filled.column))
    contents = (each for source in filled.outcome.sources for each in source.contents if each[:2] in differing)
    named = [f"content of {split} {digest[:SHOWN]}" for _, split, digest in contents]
    return "; ".join(dict.fromkeys([*(spec.run.data_label for spec in filled.cell.specs), *named]))


def _line(table: Table, filled: Filled, cells: Sequence[Filled]) -> dict[str, object]:
    outcome, judgement = filled.outcome, filled.judgement
    return {
        "table": table.number,
        "row": filled.row.label,
        "group": filled.column.group,
        "column": filled.column.name,
        "metric": filled.cell.metric,
        "scale": table.scale,
        "data": _data(filled, cells),
        "paper": filled.cell.paper.text if filled.cell.paper else "",
        "ours_mean": decimal(outcome.mean, CSV_DECIMALS),
        "ours_std": decimal(outcome.std, CSV_DECIMALS),
        "n": len(outcome.values),
        "difference": decimal(filled.difference, CSV_DECIMALS),
        "verdict": judgement.verdict if judgement else "",
        "low": decimal(judgement.low, CSV_DECIMALS) if judgement else "",
        "high": decimal(judgement.high, CSV_DECIMALS) if judgement else "",
        "fact": filled.cell.fact,
        "status": filled.status,
        "stale": "; ".join([*filled.stale, *(["unknown"] if filled.source_unknown else [])]),
        "commit": "; ".join(dict.fromkeys(source.checkout for source in outcome.sources if source.commit)),
        "hardware": "; ".join(dict.fromkeys(source.hardware for source in outcome.sources if source.hardware)),
        "seconds": " ".join(decimal(source.seconds, 1) or "unknown" for source in outcome.sources),
        "digests": " ".join(outcome.digests),
    }
