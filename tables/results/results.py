"""Results: the finished seeds of each cell, and where they come from, read from the runs folder and never written.

A record that is damaged, failed or running is reported as such and never stops a table. Standard deviations are those
of a sample (n - 1), so one seed has none.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeGuard

from ...pretrain.files.printable import printable
from ...pretrain.files.stored_fields import PROVENANCE, check_fields
from ...pretrain.files.stored_json import read_object, shortened
from ...pretrain.records.record import Record, check_unchanged
from ...pretrain.specs.measurement import Measurement, Work
from ..paper.table import Cell
from .number_provenance import NumberProvenance, number_provenance
from .verdict import deviation

SeedState = Literal["done", "damaged", "failed", "running", "unfinished", "not evaluated", "not run"]
PER_CENT = 100.0  # results are shares from 0 to 1; tables print per cent
WORST_FIRST: tuple[SeedState, ...] = ("damaged", "failed", "running", "unfinished", "not evaluated", "not run", "done")


@dataclass(frozen=True)
class SeedResults:
    """The finished seeds of one cell, and the state of every wanted seed."""

    values: tuple[float, ...]  # the metric of every finished seed, in per cent
    states: tuple[SeedState, ...]  # of every wanted seed
    digests: tuple[str, ...]  # of the measurements behind `values`
    provenances: tuple[NumberProvenance, ...] = ()  # of `values`, in the same order

    @cached_property
    def mean(self) -> float | None:
        """Mean over the finished seeds."""
        return math.fsum(self.values) / len(self.values) if self.values else None

    @cached_property
    def std(self) -> float | None:
        """Sample standard deviation, from two seeds on."""
        return deviation(self.values) if len(self.values) > 1 else None

    @property
    def state(self) -> SeedState:
        """The state that needs attention most; done when every wanted seed is."""
        return min(self.states, key=WORST_FIRST.index, default="not run")


class _SpecResult(NamedTuple):
    """What the folder holds of one measurement."""

    state: SeedState
    results: dict[str, Any]
    provenance: NumberProvenance | None


@dataclass
class Results:
    """The results below a runs directory; each file is read once, when its results are first asked for.

    `damaged` collects what could not be read. Reading takes no lock of a finished record.
    """

    path: Path
    damaged: dict[str, None] = field(default_factory=dict)  # an ordered set of sentences, each with its path
    _noted: set[str] = field(default_factory=set)  # files that `damaged` speaks of
    _read_specs: dict[str, _SpecResult] = field(default_factory=dict)  # by digest
    _provenances: dict[str, dict[str, Any]] = field(default_factory=dict)  # by digest

    def seed_results(self, cell: Cell) -> SeedResults:
        """Look up every seed of a cell."""
        values, states, digests, provenances = [], [], [], []
        for spec in cell.specs:
            state, results, provenance = self._look_up(spec)
            if provenance is not None:
                value = results.get(cell.metric)
                if _is_share(value):
                    values.append(PER_CENT * value)
                    digests.append(spec.digest)
                    provenances.append(provenance)
                else:
                    fault = f"{cell.metric!r} is {shortened(repr(value))}, not a number from 0 to 1"
                    self.damage(f"{self._folder(spec)}/results.json: {fault}")
                    state = "damaged"
            states.append(state)
        return SeedResults(
            values=tuple(values), states=tuple(states), digests=tuple(digests), provenances=tuple(provenances)
        )

    def _look_up(self, spec: Measurement) -> _SpecResult:
        if spec.digest not in self._read_specs:
            self._read_specs[spec.digest] = self._read(spec)
        return self._read_specs[spec.digest]

    def _read(self, spec: Measurement) -> _SpecResult:
        """The measurement's state, results and provenance; where it was not started, the state of its pretraining."""
        if spec.run.folder not in self._folders:
            return _SpecResult("not run", {}, None)
        state, results = self._state(spec)
        if state == "done":
            own, pretraining = self.provenance(spec), self.provenance(spec.run)
            if self._is_of_another(spec, own) or self._was_changed(spec, results, own):
                return _SpecResult("damaged", {}, None)
            return _SpecResult("done", results, number_provenance(spec, pretraining, own))
        if state == "absent":
            state, _ = self._state(spec.run)
            state = {"done": "not evaluated", "absent": "not run"}.get(state, state)
        return _SpecResult(state, {}, None)

    @cached_property
    def _folders(self) -> frozenset[str]:
        """The names below the runs directory: one listing tells which runs are absent, often most of a table."""
        try:
            return frozenset(os.listdir(self.path))
        except FileNotFoundError:
            return frozenset()

    def _state(self, spec: Work) -> tuple[Any, dict[str, Any]]:
        try:
            results = read_object(f"{self._folder(spec)}/results.json")
            if results is not None:
                return "done", results
            return Record(self.path, spec).status, {}
        except ValueError as error:
            self.damage(str(error))
        except OSError as error:
            self.damage(f"{self._folder(spec)}: {error}")
        return "damaged", {}

    def provenance(self, spec: Work) -> dict[str, Any]:
        """The provenance of a record; empty where there is none or it is damaged, which does not damage the number."""
        if spec.digest not in self._provenances:
            self._provenances[spec.digest] = self._read_provenance(spec)
        return self._provenances[spec.digest]

    def _read_provenance(self, spec: Work) -> dict[str, Any]:
        file = f"{self._folder(spec)}/provenance.json"
        try:
            provenance = read_object(file) or {}
            check_fields(provenance, PROVENANCE, file)
        except ValueError as error:
            self.damage(str(error))
            return {}
        return provenance

    def _is_of_another(self, spec: Measurement, provenance: dict[str, Any]) -> bool:
        """Whether the provenance names another digest, as in a copied or renamed folder."""
        digest = provenance.get("digest") or spec.digest
        if digest != spec.digest:
            fault = f"'digest' is {digest!r}, another's; this folder's is {spec.digest!r}"
            self.damage(f"{self._folder(spec)}/provenance.json: {fault}")
        return bool(digest != spec.digest)

    def _was_changed(self, spec: Measurement, results: dict[str, Any], provenance: dict[str, Any]) -> bool:
        """Whether the results were changed after their provenance was written."""
        try:
            check_unchanged(results, provenance, f"{self._folder(spec)}/results.json")
        except ValueError as error:
            self.damage(str(error))
            return True
        return False

    def damage(self, sentence: str) -> None:
        """Note a file that could not be read, once a file; `sentence` begins with its path."""
        file = sentence.removeprefix(str(self.path)).partition(": ")[0]
        if file not in self._noted:
            self._noted.add(file)
            self.damaged[f"damaged record {printable(sentence)}"] = None

    def _folder(self, spec: Work) -> str:
        return f"{self.path}/{spec.folder}"


def _is_share(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
