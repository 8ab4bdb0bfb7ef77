"""Finished: the measurements behind the numbers of tables, for the list that a report ends with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...pretrain.specs.measurement import Measurement
from ...pretrain.specs.run import Run
from .cells import Filled
from .origin import Source
from .results import Runs


@dataclass(frozen=True, kw_only=True)
class Finished:
    """One finished measurement, the tables that show it, and the time that went into it."""

    name: str  # of the row, and of the column where that is a setting
    source: Source
    spec: Measurement
    tables: tuple[int, ...]
    pretraining_s: float | None  # None = its record says nothing of it

    @property
    def measured(self) -> str:
        """What was done with the run."""
        return self.spec.protocol

    @property
    def measuring_s(self) -> float | None:
        """The time without the pretraining's."""
        return None if self.source.seconds is None else self.source.seconds - (self.pretraining_s or 0.0)


def finished(cells: Iterable[tuple[int, Filled]], results: Runs) -> tuple[Finished, ...]:
    """The finished measurements behind cells, each once; a cell comes with the number of its table."""
    tables: dict[str, dict[int, None]] = {}
    found: dict[str, tuple[str, Source, Measurement]] = {}
    for number, filled in cells:
        specs = {spec.digest: spec for spec in filled.cell.specs}
        for source in filled.outcome.sources:
            tables.setdefault(source.digest, {})[number] = None
            spec = specs[source.digest]
            found.setdefault(source.digest, (_name(filled, spec.run), source, spec))
    runs = {spec.run.digest: spec.run for _, _, spec in found.values()}
    seconds = {digest: results.provenance(run).get("seconds") for digest, run in runs.items()}
    return tuple(
        Finished(
            name=name, source=source, spec=spec, tables=tuple(tables[digest]), pretraining_s=seconds[spec.run.digest]
        )
        for digest, (name, source, spec) in found.items()
    )


def _name(filled: Filled, run: Run) -> str:
    """A method's row by its method, a floor by its label, a variant by its method and what it varies."""
    row = filled.row
    if not row.meaning or not run.epochs:
        return run.label if run.epochs else row.label
    place = [f"row {row.label}" if row.label.isdigit() else row.label, filled.column.name]
    return ", ".join([run.label, *(name for name in place if name.replace(" ", "") != run.label)])


def wall_time_s(listed: Iterable[Finished]) -> float:
    """Of all measurements, and of every pretraining once."""
    measuring, pretraining = 0.0, {}
    for each in listed:
        measuring += each.measuring_s or 0.0
        pretraining[each.spec.run.digest] = each.pretraining_s or 0.0
    return measuring + sum(pretraining.values())
