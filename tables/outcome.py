"""Outcome: what the runs folder holds for one cell, read without guessing.

A damaged, failed or running record is reported as such and never stops a table. Standard deviations are those of a
sample (n - 1), so one seed has none.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeGuard

from ..pretrain.record import Record
from ..pretrain.run import Evaluation
from .table import Cell

State = Literal["done", "damaged", "failed", "running", "unfinished", "not evaluated", "not run"]
PER_CENT = 100.0  # results are shares from 0 to 1; tables print per cent
WORST_FIRST: tuple[State, ...] = ("damaged", "failed", "running", "unfinished", "not evaluated", "not run", "done")


@dataclass(frozen=True)
class Outcome:
    """The finished seeds of one cell, and how far the others got."""

    values: tuple[float, ...]  # the metric of every finished seed, in per cent
    states: tuple[State, ...]  # of every wanted seed
    digests: tuple[str, ...]  # of the evaluations behind `values`

    @property
    def mean(self) -> float | None:
        """Mean over the finished seeds."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation, from two seeds on."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def state(self) -> State:
        """The state that needs attention most; done when every wanted seed is."""
        return min(self.states, key=WORST_FIRST.index, default="not run")


@dataclass
class Runs:
    """The results below a runs directory, each file read once; `damaged` collects what could not be read."""

    path: Path
    damaged: dict[str, None] = field(default_factory=dict)  # an ordered set of sentences, each with its path
    _seen: dict[str, tuple[State, dict[str, Any]]] = field(default_factory=dict)

    def outcome(self, cell: Cell) -> Outcome:
        """Look up every seed of a cell."""
        values, states, digests = [], [], []
        for spec in cell.specs:
            state, results = self._look_up(spec)
            if state == "done":
                value = results.get(cell.metric)
                if _is_share(value):
                    values.append(PER_CENT * value)
                    digests.append(spec.digest)
                else:
                    file = Record(self.path, spec).path / "results.json"
                    self.damaged[f"damaged record {file}: {cell.metric!r} is {value!r}, not a number from 0 to 1"] = (
                        None
                    )
                    state = "damaged"
            states.append(state)
        return Outcome(values=tuple(values), states=tuple(states), digests=tuple(digests))

    def _look_up(self, spec: Evaluation) -> tuple[State, dict[str, Any]]:
        if spec.folder not in self._seen:
            self._seen[spec.folder] = self._read(spec)
        return self._seen[spec.folder]

    def _read(self, spec: Evaluation) -> tuple[State, dict[str, Any]]:
        """The evaluation's state and results; where it was not started, the state of its pretraining."""
        state, results = self._state(Record(self.path, spec))
        if state != "absent":
            return state, results
        state, _ = self._state(Record(self.path, spec.run))
        return ("not evaluated" if state == "done" else "not run" if state == "absent" else state), {}

    def _state(self, record: Record) -> tuple[Any, dict[str, Any]]:
        try:
            results = record.results
            if results is not None:
                return "done", results
            return record.status, {}
        except ValueError as error:
            self.damaged[str(error)] = None
        except OSError as error:
            self.damaged[f"damaged record {record.path}: {error}"] = None
        return "damaged", {}


def _is_share(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
