"""Progress: how far the work on the specs of tables got, read from the runs folder for the plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...pretrain.records.files import CHECKPOINTS_FOLDER, newest_updates
from ...pretrain.records.record import Record
from ...pretrain.specs.measurement import Work
from ..paper.table import Table
from ..results.results import Results

WorkState = Literal["not run", "unfinished", "failed", "running", "damaged", "done"]


@dataclass(frozen=True)
class Progress:
    """How far the work of one spec got; a measurement and its pretraining have one each."""

    state: WorkState
    updates: int = 0  # that its newest checkpoint holds


NOT_RUN, DONE, DAMAGED = Progress("not run"), Progress("done"), Progress("damaged")


def progress_of(tables: Iterable[Table], results: Results) -> Mapping[str, Progress]:
    """By digest: every measurement of the tables, and the pretraining of every one that is not done."""
    progress: dict[str, Progress] = {}
    for table in tables:
        for row in table.rows:
            for cell in row.cells:
                states = results.seed_results(cell).states if cell.specs else ()
                for spec, state in zip(cell.specs, states, strict=True):
                    if spec.digest not in progress or state == "damaged":  # a single metric can be damaged
                        progress[spec.digest] = _of_measurement(results.path, spec, state)
                    if state != "done" and spec.run.digest not in progress:
                        progress[spec.run.digest] = _of_pretraining(results.path, spec.run, state)
    return progress


def _of_measurement(runs: Path, spec: Work, state: str) -> Progress:
    """From the state of a table's cell, which is that of the pretraining where the measurement has not started."""
    if state in ("not run", "not evaluated"):
        return NOT_RUN
    progress = DONE if state == "done" else _of_folder(Record(runs, spec))
    return DAMAGED if state == "damaged" and progress is DONE else progress  # valid JSON without the number


def _of_pretraining(runs: Path, spec: Work, state: str) -> Progress:
    if state == "not evaluated":
        return DONE
    return NOT_RUN if state == "not run" else _of_folder(Record(runs, spec))


def _of_folder(record: Record) -> Progress:
    try:
        status = record.status
    except OSError:  # a folder in place of a file, or no right to read it
        return DAMAGED
    if status in ("done", "damaged"):
        return DONE if status == "done" else DAMAGED
    return NOT_RUN if status == "absent" else Progress(status, newest_updates(record.path / CHECKPOINTS_FOLDER))
