"""Cell names: what tells runs of one method and data apart, by the words that the paper prints beside their cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ...pretrain.specs.run import Run
from .table import Table

Place = tuple[str, str]  # a row's label and a column's name


def cell_names(tables: Iterable[Table]) -> dict[str, str]:
    """By digest of a run, the words of its first cell that no other run of its method and data has; "" needs none.

    Such as `lambda1=0.01, lambda2=0.1`, `alpha=0.5`, `row 3 of Table 4`. Seeds of one cell share its name.
    """
    names: dict[str, str] = {}
    for table in tables:
        for runs in _groups(table):
            distinct = {_without_seed(run): place for run, place in reversed(list(runs.values()))}
            for digest, (run, _) in runs.items():
                name = _name(distinct[_without_seed(run)], list(distinct.values())) if len(distinct) > 1 else ""
                names[digest] = names.get(digest) or ("" if name == run.label else name)
    return names


def settings(runs: Iterable[Run]) -> int:
    """How many different runs these are, of any seed."""
    return len({_without_seed(run) for run in runs})


def _groups(table: Table) -> Iterable[Mapping[str, tuple[Run, Place]]]:
    """The runs of a table under method and data, each with the place of its first cell."""
    groups: dict[tuple[str, str], dict[str, tuple[Run, Place]]] = {}
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            for spec in cell.specs:
                group = groups.setdefault((spec.run.label, spec.run.data_label), {})
                label = f"row {row.label} of Table {table.number}" if row.label.isdecimal() else row.label
                group.setdefault(spec.run.digest, (spec.run, (label, column.name)))
    return groups.values()


def _without_seed(run: Run) -> str:
    return replace(run, seed=0).digest


def _name(place: Place, places: list[Place]) -> str:
    """The column's name where it alone tells the places apart, else the row's label, else both."""
    row, column = place
    if len({name for _, name in places}) == len(places):
        return column
    return row if len({label for label, _ in places}) == len(places) else f"{row}, {column}"
