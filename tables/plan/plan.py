"""Plan: the pretrainings and measurements that tables lack, in order of dependence, and what they cost.

Every one is in it once. `lacking` is a pure function of tables, progress and rates; `plan` first reads the progress.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...pretrain.specs.measurement import Measurement, Work
from ...pretrain.specs.run import Run
from ..paper.cell_names import cell_names
from ..paper.table import Table
from ..results.results import Results
from .cost import Basis, disk_bytes, predict
from .measured_rates import DEFAULT_GPU, Rates
from .progress import NOT_RUN, Progress, WorkState, progress_of

GIGABYTE = 1e9


@dataclass(frozen=True, kw_only=True)
class Step:
    """One pretraining or measurement that is not finished, and what is left of its time."""

    spec: Work
    needs: tuple[str, ...]  # digests of the steps that must be done before it
    tables: tuple[int, ...]  # numbers of the tables that want it
    gpu_hours: float
    cpu_hours: float  # of one core; 0 for what a GPU does
    disk_gb: float
    measured: bool  # whether the hours are those of finished runs like it
    basis: Basis
    state: WorkState
    progress: float = 0.0  # share done by its newest checkpoint, 0 to 1
    cell: str = ""  # what tells its run from others of the same method and data, as `cell_names` has it
    processes: int = 0  # that share it, a GPU each; 0 = not told
    memory_gib: float = 0.0  # that each of their GPUs needs; 0 = not predicted

    @property
    def run(self) -> Run:
        """The pretraining itself, or the one that is measured."""
        return self.spec.run


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that is missing, and what prevents the rest from being planned."""

    tables: tuple[int, ...]
    steps: tuple[Step, ...]
    damaged: tuple[str, ...]  # sentences with paths; their work is planned once the folder is removed
    remarks: tuple[str, ...]  # sentences on other damaged files, which prevent no work
    held_back: int  # measurements that are not planned because of `damaged`
    rates: Rates

    @property
    def gpu_hours(self) -> float:
        """Hours of a GPU, for all steps."""
        return sum(step.gpu_hours for step in self.steps)

    @property
    def cpu_hours(self) -> float:
        """Hours of one core, for all steps."""
        return sum(step.cpu_hours for step in self.steps)

    @property
    def disk_gb(self) -> float:
        """Disk for all steps, in 10^9 bytes."""
        return sum(step.disk_gb for step in self.steps)

    def by_method_and_data(self) -> dict[tuple[str, str], list[Step]]:
        """Steps under the labels of their method and data, in order of the first of each."""
        groups: dict[tuple[str, str], list[Step]] = {}
        for step in self.steps:
            groups.setdefault((step.run.label, step.run.data_label), []).append(step)
        return groups

    def of_table(self, number: int) -> tuple[Step, ...]:
        """The steps that one table wants, also those that others want too."""
        return tuple(step for step in self.steps if number in step.tables)

    @property
    def hours_are(self) -> str:
        """What the hours were predicted from, and of how many runs and measurements."""
        known = ", ".join(name for name in (self.rates.gpu, self.rates.cpu) if name)
        meanings: dict[Basis, str] = {
            "measured": f"by rates measured on {known}",
            "scaled": f"scaled from other methods measured on {known}",
            "default": f"by default figures, not measured, for {DEFAULT_GPU}, or for digits one core of an Intel Xeon",
        }
        of = {basis: [step for step in self.steps if step.basis == basis] for basis in meanings}
        return "; ".join(f"{counted(of[basis])} {words}" for basis, words in meanings.items() if of[basis])

    def to_json(self) -> str:
        """Every step and the totals, for other programs."""
        totals = {str(number): _totals(self.of_table(number)) for number in self.tables} | {"all": _totals(self.steps)}
        document = {
            "tables": list(self.tables),
            "hours_are": self.hours_are,
            "totals": totals,
            "damaged": list(self.damaged),
            "remarks": list(self.remarks),
            "held_back": self.held_back,
            "steps": [_step_json(step) for step in self.steps],
        }
        return json.dumps(document, indent=2, ensure_ascii=False)


def counted(steps: Sequence[Step]) -> str:
    """How many of them are runs, and how many measurements, in words."""
    runs = sum(step.spec.kind == "pretraining" for step in steps)
    parts = ((runs, "run"), (len(steps) - runs, "measurement"))
    return " and ".join(f"{count:,} {noun}{'s'[: count != 1]}" for count, noun in parts if count) or "nothing"


def plan(tables: Sequence[Table], runs: Results | Path, rates: Rates) -> Plan:
    """What `tables` lack, by the folder of the runs."""
    results = runs if isinstance(runs, Results) else Results(runs)
    progress = progress_of(tables, results)
    unusable = {
        work.folder
        for spec, _ in _wanted(tables)
        for work in (spec, spec.run)
        if progress.get(work.digest, NOT_RUN).state == "damaged"
    }
    # where only the provenance of a finished record is damaged, the record keeps its number and needs no work
    damaged = tuple(sentence for sentence in results.damaged if any(f"/{folder}" in sentence for folder in unusable))
    for sentence in rates.damaged:
        results.damage(sentence)
    remarks = tuple(sentence for sentence in results.damaged if sentence not in damaged)
    return lacking(tables, progress, rates, damaged=damaged, remarks=remarks)


def lacking(
    tables: Sequence[Table],
    progress: Mapping[str, Progress],
    rates: Rates,
    *,
    damaged: tuple[str, ...] = (),
    remarks: tuple[str, ...] = (),
) -> Plan:
    """What `tables` lack, given the progress by digest; a digest that is not in it was not run."""
    wanted = _wanted(tables)
    numbers: dict[str, dict[int, None]] = {}  # of a pretraining: the tables of the measurements that wait for it
    measurements: dict[str, list[tuple[Measurement, tuple[int, ...]]]] = {}
    held_back = 0
    for spec, of_spec in wanted:
        own, below = progress.get(spec.digest, NOT_RUN), progress.get(spec.run.digest, NOT_RUN)
        if own.state == "done":
            continue
        if "damaged" in (own.state, below.state):
            held_back += 1
            continue
        measurements.setdefault(spec.run.digest, []).append((spec, of_spec))
        numbers.setdefault(spec.run.digest, {}).update(dict.fromkeys(of_spec))
    steps: list[Step] = []
    names = cell_names(tables)
    for digest, waiting in measurements.items():
        run, below = waiting[0][0].run, progress.get(digest, NOT_RUN)
        needs = () if below.state == "done" else (digest,)
        if needs:
            steps.append(_step(run, (), tuple(numbers[digest]), below, rates, names[digest]))
        steps += [
            _step(spec, needs, of, progress.get(spec.digest, NOT_RUN), rates, names[digest]) for spec, of in waiting
        ]
    return Plan(
        tables=tuple(dict.fromkeys(table.number for table in tables)),
        steps=tuple(steps),
        damaged=damaged,
        remarks=remarks,
        held_back=held_back,
        rates=rates,
    )


def _wanted(tables: Iterable[Table]) -> list[tuple[Measurement, tuple[int, ...]]]:
    """Every measurement once, in order of the tables, with the numbers of the tables that want it."""
    specs: dict[str, Measurement] = {}
    numbers: dict[str, dict[int, None]] = {}
    for table in tables:
        for spec in table.specs:
            specs.setdefault(spec.digest, spec)
            numbers.setdefault(spec.digest, {})[table.number] = None
    return [(spec, tuple(numbers[digest])) for digest, spec in specs.items()]


def _step(
    spec: Work, needs: tuple[str, ...], tables: tuple[int, ...], progress: Progress, rates: Rates, cell: str
) -> Step:
    prediction = predict(spec, rates)
    share = min(1.0, progress.updates / spec.updates) if spec.updates else 0.0
    hours = prediction.hours * (1 - share)
    return Step(
        spec=spec,
        needs=needs,
        tables=tables,
        gpu_hours=hours if prediction.device == "gpu" else 0.0,
        cpu_hours=hours if prediction.device == "cpu" else 0.0,
        disk_gb=disk_bytes(spec, prediction.hours, rates) / GIGABYTE,
        measured=prediction.basis == "measured",
        basis=prediction.basis,
        state=progress.state,
        progress=share,
        cell=cell,
    )


def _totals(steps: Sequence[Step]) -> dict[str, float]:
    return {
        "pretrainings": sum(step.spec.kind == "pretraining" for step in steps),
        "measurements": sum(step.spec.kind != "pretraining" for step in steps),
        "gpu_hours": round(sum(step.gpu_hours for step in steps), 3),
        "cpu_hours": round(sum(step.cpu_hours for step in steps), 3),
        "disk_gb": round(sum(step.disk_gb for step in steps), 3),
    }


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "digest": step.spec.digest,
        "kind": step.spec.kind,
        "folder": step.spec.folder,
        "method": step.run.label,
        "data": step.run.data_label,
        "seed": step.run.seed,
        "cell": step.cell,
        "needs": list(step.needs),
        "tables": list(step.tables),
        "state": step.state,
        "progress": round(step.progress, 4),
        "gpu_hours": round(step.gpu_hours, 4),
        "cpu_hours": round(step.cpu_hours, 4),
        "disk_gb": round(step.disk_gb, 6),
        "processes": step.processes or None,
        "gpu_memory_gib": round(step.memory_gib, 2) or None,
        "measured": step.measured,
        "basis": step.basis,
    }
