"""FinishedMeasurement: the measurements behind the numbers of tables, for the list at the end of a report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...pretrain.specs.measurement import Measurement
from ...pretrain.specs.run import Run
from .cells import CellResult
from .number_provenance import NumberProvenance
from .results import Results


@dataclass(frozen=True, kw_only=True)
class FinishedMeasurement:
    """One finished measurement, the tables that show it, and the time that went into it."""

    name: str  # of the row, and of the column where that is a setting
    provenance: NumberProvenance
    spec: Measurement
    tables: tuple[int, ...]
    pretraining_s: float | None  # None = its record does not tell

    @property
    def measured(self) -> str:
        """What was measured of the run, in words."""
        return self.spec.protocol

    @property
    def measuring_s(self) -> float | None:
        """The time without the pretraining's."""
        return None if self.provenance.seconds is None else self.provenance.seconds - (self.pretraining_s or 0.0)


def finished_measurements(cells: Iterable[tuple[int, CellResult]], results: Results) -> tuple[FinishedMeasurement, ...]:
    """The finished measurements behind cells, each once; a cell comes with the number of its table."""
    tables: dict[str, dict[int, None]] = {}
    behind: dict[str, tuple[str, NumberProvenance, Measurement]] = {}
    for number, result in cells:
        specs = {spec.digest: spec for spec in result.cell.specs}
        for provenance in result.seed_results.provenances:
            tables.setdefault(provenance.digest, {})[number] = None
            spec = specs[provenance.digest]
            behind.setdefault(provenance.digest, (_name(result, spec.run), provenance, spec))
    runs = {spec.run.digest: spec.run for _, _, spec in behind.values()}
    seconds = {digest: results.provenance(run).get("seconds") for digest, run in runs.items()}
    return tuple(
        FinishedMeasurement(
            name=name,
            provenance=provenance,
            spec=spec,
            tables=tuple(tables[digest]),
            pretraining_s=seconds[spec.run.digest],
        )
        for digest, (name, provenance, spec) in behind.items()
    )


def _name(result: CellResult, run: Run) -> str:
    """The name of a row: its method, for a variant also what it varies; the label of a row that trains nothing."""
    row = result.row
    if not row.meaning or not run.epochs:
        return run.label if run.epochs else row.label
    position = [f"row {row.label}" if row.label.isdigit() else row.label, result.column.name]
    return ", ".join([run.label, *(name for name in position if name.replace(" ", "") != run.label)])


def wall_time_s(listed: Iterable[FinishedMeasurement]) -> float:
    """Wall time of all measurements together, and of every pretraining once, in seconds."""
    measuring, pretraining = 0.0, {}
    for measurement in listed:
        measuring += measurement.measuring_s or 0.0
        pretraining[measurement.spec.run.digest] = measurement.pretraining_s or 0.0
    return measuring + sum(pretraining.values())
