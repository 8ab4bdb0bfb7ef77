"""Standing: how far the work on each spec of a table got, read from the runs folder for the plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...pretrain.records.record import Record, newest_updates
from ..paper.table import Table
from ..results.results import Results
from .default_rates import Work

State = Literal["not run", "unfinished", "failed", "running", "damaged", "done"]


@dataclass(frozen=True)
class Standing:
    """One spec's own work; that of the pretraining under a measurement is another's."""

    state: State
    updates: int = 0  # that its newest checkpoint holds


NOT_RUN, DONE, DAMAGED = Standing("not run"), Standing("done"), Standing("damaged")


def standings(tables: Iterable[Table], results: Results) -> Mapping[str, Standing]:
    """By digest: every measurement of the tables, and the pretraining of each that is not done."""
    found: dict[str, Standing] = {}
    for table in tables:
        for row in table.rows:
            for cell in row.cells:
                states = results.seed_results(cell).states if cell.specs else ()
                for spec, state in zip(cell.specs, states, strict=True):
                    if spec.digest not in found or state == "damaged":  # one metric of several can be damaged
                        found[spec.digest] = _of_measurement(results.path, spec, state)
                    if state != "done" and spec.run.digest not in found:
                        found[spec.run.digest] = _of_pretraining(results.path, spec.run, state)
    return found


def _of_measurement(runs: Path, spec: Work, state: str) -> Standing:
    """From the state of a table's cell, which stands for the pretraining where the measurement was not begun."""
    if state in ("not run", "not evaluated"):
        return NOT_RUN
    standing = DONE if state == "done" else _of_folder(Record(runs, spec))
    return DAMAGED if state == "damaged" and standing is DONE else standing  # sound JSON, and no number in it


def _of_pretraining(runs: Path, spec: Work, state: str) -> Standing:
    if state == "not evaluated":
        return DONE
    return NOT_RUN if state == "not run" else _of_folder(Record(runs, spec))


def _of_folder(record: Record) -> Standing:
    try:
        status = record.status
    except OSError:  # a folder in place of a file, or no right to read it
        return DAMAGED
    if status in ("done", "damaged"):
        return DONE if status == "done" else DAMAGED
    return NOT_RUN if status == "absent" else Standing(status, newest_updates(record.path / "checkpoints"))
