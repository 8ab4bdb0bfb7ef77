"""Status: where every pretraining and measurement of some tables stands at one moment."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...pretrain.records.pace import Pace
from ...pretrain.specs.measurement import Work
from ...pretrain.specs.run import Run
from ..submission.journal import JournalEntry
from ..task.failures import FailureKind

TaskState = Literal["done", "running", "queued", "failed", "lost", "stopped", "damaged", "unknown", "to do"]
STATES: tuple[TaskState, ...] = (
    "done",
    "running",
    "queued",
    "failed",
    "lost",
    "stopped",
    "damaged",
    "unknown",
    "to do",
)


@dataclass(frozen=True, kw_only=True)
class TaskStatus:
    """One pretraining or measurement, and its state.

    lost: submitted, not finished, and SLURM has forgotten it. stopped: begun, and never submitted. unknown:
    submitted, and SLURM does not answer.
    """

    spec: Work
    tables: tuple[int, ...]
    state: TaskState
    cell: str = ""  # what tells its run from others of the same method and data, as `cell_names` has it
    kind: FailureKind | None = None  # of what failed
    reason: str = ""  # why it waits, or the line that says why it failed
    entry: JournalEntry | None = None  # its newest submission
    elapsed: str = ""  # of a job that runs
    nodes: str = ""
    pace: Pace | None = None
    stops: Mapping[str, int] = field(default_factory=dict)  # how often it was stopped and tried again, by kind

    @property
    def run(self) -> Run:
        """The pretraining itself, or the one that is measured."""
        return self.spec.run


@dataclass(frozen=True, kw_only=True)
class Status:
    """Every task of some tables at one moment."""

    numbers: tuple[int, ...]  # of the tables
    tasks: tuple[TaskStatus, ...]
    remarks: tuple[str, ...] = ()  # on schedulers that did not answer, and on damaged files

    def of_table(self, number: int) -> tuple[TaskStatus, ...]:
        """The tasks that one table needs; other tables may need them too."""
        return tuple(task for task in self.tasks if number in task.tables)

    def to_json(self) -> str:
        """Counts by table and state, and every task that is not done, for other programs."""
        counts = {str(number): counted(self.of_table(number)) for number in self.numbers}
        document = {
            "tables": counts | {"all": counted(self.tasks)},
            "remarks": list(self.remarks),
            "tasks": [_task_json(task) for task in self.tasks if task.state != "done"],
        }
        return json.dumps(document, indent=2, allow_nan=False)  # ASCII, so no control character reaches a terminal


def counted(tasks: Iterable[TaskStatus]) -> dict[TaskState, int]:
    """How many tasks are in each state."""
    count = Counter(task.state for task in tasks)
    return {state: count[state] for state in STATES}


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _task_json(task: TaskStatus) -> dict[str, Any]:
    entry = task.entry
    document: dict[str, Any] = {
        "digest": task.spec.digest,
        "kind": task.spec.kind,
        "folder": task.spec.folder,
        "method": task.run.label,
        "data": task.run.data_label,
        "seed": task.run.seed,
        "cell": task.cell,
        "tables": list(task.tables),
        "state": task.state,
        "failure": task.kind,
        "reason": task.reason,
        "stops": dict(task.stops),
        "job": entry.job_id if entry else None,
        "cluster": entry.cluster if entry else None,
        "user": entry.user if entry else None,
        "attempt": entry.attempt if entry else 0,
        "log": str(entry.log) if entry else None,
        "elapsed": task.elapsed,
        "nodes": task.nodes,
    }
    if task.pace:
        document |= {
            "epoch": _finite(round(task.pace.epoch, 3)),
            "epochs": task.pace.epochs,
            "images_per_second": _finite(task.pace.images_per_second),
            "seconds_left": _finite(task.pace.seconds_left),
        }
    return document
