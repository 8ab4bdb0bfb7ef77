"""Added rows: encoders that others trained, below the rows of a table, from a small TOML file.

[[row]]
label = "MoCo v2, 800 epochs"
weights = "8a79dbb1…"  # SHA-256 of the file, or its first digits; or folders = ["imported-cifar10-0123456789ab"]
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...pretrain.files.printable import printable
from ...pretrain.files.stored_json import read_regular
from ...pretrain.records.record import Record
from ...pretrain.specs.imported import Imported
from ..paper.table import Cell, Column, Row, Table

MOVES_NO_NUMBER = "names records and changes none of their numbers"

MOST_BYTES = 1 << 20
THEIRS = " (theirs)"
_LABEL = re.compile(r"[\w .,:+()/-]{1,60}")
_DIGEST = re.compile("[0-9a-f]{8,64}")


@dataclass(frozen=True)
class Added:
    """One row of the file, and what was imported of its weights."""

    label: str
    runs: tuple[Imported, ...]


def read_rows(file: Path, runs: Path) -> tuple[Added, ...]:
    """The rows of a file, their encoders looked up below `runs`.

    Raises ValueError, which begins with the path, on another form, and on weights that were never imported.
    """
    content = read_regular(file, MOST_BYTES)
    if content is None:
        raise ValueError(f"{file}: no such file; expected rows, each [[row]] with label and weights or folders")
    try:
        stored = tomllib.loads(content.decode())
        rows = stored.get("row")
        if set(stored) != {"row"} or not isinstance(rows, list):
            raise ValueError(f"found {', '.join(stored) or 'nothing'}; expected [[row]] alone")
        imported = _imported(runs)
        return tuple(_added(row, imported, runs) for row in rows)
    except ValueError as error:
        raise ValueError(f"{file}: {printable(str(error))}") from error


def with_rows(table: Table, rows: Sequence[Added]) -> Table:
    """The table with these rows at its end, each cell measured as the column's others are."""
    return replace(table, rows=(*table.rows, *(_row(table, added) for added in rows)))


def _row(table: Table, added: Added) -> Row:
    cells = [
        _cell(column, [row.cells[place] for row in table.rows], added) for place, column in enumerate(table.columns)
    ]
    meaning = "An encoder that others trained, measured here by the column's protocol."
    return Row(label=added.label + THEIRS, cells=tuple(cells), meaning=meaning)


def _cell(column: Column, others: Sequence[Cell], added: Added) -> Cell:
    """What the column's first measurement is on a trained run, on the encoders that were imported for its data."""
    metric = others[0].metric if others else ""
    specs = [spec for cell in others for spec in cell.specs if spec.run.epochs]
    if not specs:
        return Cell(metric=metric)
    like, of = specs[0], specs[0].run
    data = (of.dataset, of.copy, of.train_images)
    found = [run for run in added.runs if (run.dataset, run.copy, run.train_images) == data]
    if not found:
        return Cell(metric=metric, why_empty=f"no encoder of it was imported for {of.data_label}")
    if len({replace(run, seed=0) for run in found}) > 1:
        names = ", ".join(run.folder for run in found)
        raise ValueError(f"{added.label} has several encoders for {of.data_label}: {names}; name one by folders")
    return Cell(metric=metric, specs=tuple(replace(like, run=run) for run in sorted(found, key=lambda run: run.seed)))


def _added(row: Any, imported: Sequence[Imported], runs: Path) -> Added:
    if not isinstance(row, dict) or set(row) not in ({"label", "weights"}, {"label", "folders"}):
        given = ", ".join(row) if isinstance(row, dict) else "no table"
        raise ValueError(f"a row has {given}; expected label, and weights or folders")
    label, weights, folders = row["label"], row.get("weights"), row.get("folders")
    if not isinstance(label, str) or not _LABEL.fullmatch(label):
        raise ValueError(f"label must be at most 60 letters, digits, spaces and .,:+-()/ , not {label!r}")
    if weights is not None and not (isinstance(weights, str) and _DIGEST.fullmatch(weights)):
        raise ValueError(f"weights of {label} must be 8 to 64 hexadecimal digits of a SHA-256, not {weights!r}")
    if weights is not None:
        found = [run for run in imported if run.weights.startswith(weights)]
    else:
        if not isinstance(folders, list) or not folders or not all(isinstance(name, str) for name in folders):
            raise ValueError(f"folders of {label} must be a list of names below the runs folder, not {folders!r}")
        found = [run for run in imported if run.folder in folders]
        if lacking := set(folders) - {run.folder for run in found}:
            raise ValueError(f"{label}: no imported encoder in {runs / min(lacking)}")
    if not found:
        raise ValueError(f"{label}: no weights {weights} below {runs}; first 'compmod evaluate FILE --dataset NAME'")
    if len({run.weights for run in found}) > 1:
        raise ValueError(f"{label}: several weights; give more digits, or folders of one")
    return Added(label, tuple(found))


def _imported(runs: Path) -> list[Imported]:
    """The encoders that were imported below a folder; a damaged record is none."""
    found = []
    for folder in sorted(runs.glob("imported-*")):
        try:
            spec = Record.open(folder).spec
        except ValueError:
            continue
        if isinstance(spec, Imported) and spec.folder == folder.name:
            found.append(spec)
    return found
