"""Read: the status of every pretraining and measurement of some tables.

The record decides what is done. The queues decide what waits and runs, where they answer. The failure that the task
noted, or else SLURM and the log, says why it ended. This writes nothing, and imports no torch.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ...pretrain.files.printable import printable
from ...pretrain.files.stored_fields import FAILED, check_fields
from ...pretrain.files.stored_json import read_object
from ...pretrain.records.files import FAILURE_FILE
from ...pretrain.records.pace import pace
from ...pretrain.records.record import Record
from ...pretrain.specs.measurement import Work
from ...tables.paper.cell_names import cell_names
from ...tables.paper.table import Table
from ..clusters.squeue import Queued
from ..submission import journal
from ..submission.journal import JournalEntry
from ..task.failures import RETRIES, Failure, FailureKind, classify, histories, retried
from ..task.log import last_line, log_tail
from .schedulers import Schedulers, in_slurm
from .status import Status, TaskState, TaskStatus

WAITS = "Dependency"  # squeue's reason; also where squeue gives none yet, and for a driver on this machine


class _StateWithReason(NamedTuple):
    state: TaskState
    kind: FailureKind | None = None
    reason: str = ""


class StatusReader:
    """Reads the status of tables, as often as asked; it does not read again what is done."""

    def __init__(self, tables: Sequence[Table], runs: Path) -> None:
        self.numbers = tuple(dict.fromkeys(table.number for table in tables))
        self.runs = Path(runs)
        self.schedulers = Schedulers(self.runs)
        self.wanted = wanted(tables)
        self.names = cell_names(tables)
        self._done: set[str] = set()

    def read(self, *, ask: bool = True) -> Status:
        """The status now; without `ask` it uses the last answers of the queues."""
        statuses = self._statuses()
        unfinished = {digest for digest, status in statuses.items() if status != "done"}
        remarks: list[str] = []
        noted = journal.entries(self.runs, remarks)
        entries = {digest: entry for digest, entry in noted.items() if digest in unfinished}
        if ask:
            self.schedulers.ask(entries.values())
        failures = histories(self.runs, unfinished, remarks)
        tasks = [self._task(digest, statuses, entries.get(digest), failures.get(digest, ())) for digest in self.wanted]
        return Status(numbers=self.numbers, tasks=tuple(tasks), remarks=(*self.schedulers.remarks, *remarks))

    def _statuses(self) -> dict[str, str]:
        """The status of every record, by digest; a folder that does not exist is not opened."""
        try:
            folders = frozenset(os.listdir(self.runs))
        except (FileNotFoundError, NotADirectoryError):
            folders = frozenset()
        statuses: dict[str, str] = {}
        for digest, (spec, _) in self.wanted.items():
            if digest in self._done:
                statuses[digest] = "done"
            elif spec.folder.partition("/")[0] in folders:
                statuses[digest] = record_status(self.runs, spec)
            else:
                statuses[digest] = "absent"
        self._done |= {digest for digest, status in statuses.items() if status == "done"}
        return statuses

    def _task(
        self, digest: str, statuses: Mapping[str, str], entry: JournalEntry | None, history: Sequence[Failure]
    ) -> TaskStatus:
        spec, tables = self.wanted[digest]
        status = statuses[digest]
        if status == "done":
            return TaskStatus(spec=spec, tables=tables, state="done", cell=self.names[spec.run.digest])
        trained = spec.kind == "pretraining" or statuses[spec.run.digest] == "done"
        judged = self._state(spec, status, entry, history, trained=trained)
        job = self.schedulers.job(entry) if entry and self.schedulers.live(entry) else None
        return TaskStatus(
            spec=spec,
            tables=tables,
            state=judged.state,
            cell=self.names[spec.run.digest],
            kind=judged.kind,
            reason=judged.reason,
            entry=entry,
            elapsed=job.elapsed if job else "",
            nodes=job.nodes if job else "",
            pace=pace(self.runs, spec) if judged.state in ("running", "queued", "stopped") else None,
            stops=_stops(history[:-1] if judged.state == "failed" else history),
        )

    def _state(
        self, spec: Work, status: str, entry: JournalEntry | None, history: Sequence[Failure], *, trained: bool
    ) -> _StateWithReason:
        job = self.schedulers.job(entry) if entry else None
        if status == "damaged":
            return _StateWithReason("damaged", None, "remove its folder to have it done again")
        if job and job.live:
            if not job.waiting:
                return _StateWithReason("running")
            given = "" if job.reason == "None" else job.reason
            return _StateWithReason("queued", None, given or ("" if trained else WAITS))
        if status == "running":
            return _StateWithReason("running")
        if entry and not self.schedulers.answers(entry):
            return _StateWithReason("unknown", None, f"on {entry.cluster}, which does not answer")
        if entry:
            return self._ending(spec, entry, job, history, trained=trained)
        if status == "failed" or history:
            error = stored_error(self.runs, spec, since=0.0)
            kind = history[-1].kind if history else classify(log=error)
            noted = history[-1].error if history else "failed.json does not say why"
            return _StateWithReason("failed", kind, error or noted)
        return _StateWithReason("stopped" if status == "unfinished" else "to do")

    def _ending(
        self, spec: Work, entry: JournalEntry, job: Queued | None, history: Sequence[Failure], *, trained: bool
    ) -> _StateWithReason:
        """How a job ended that neither waits nor runs: by the failure it noted, by SLURM, by record and log."""
        if history and is_of(history[-1], entry) and not retried(history):
            return _StateWithReason("failed", history[-1].kind, history[-1].error)
        ended = self.schedulers.ended(entry)
        state = job.state if job else ended.state if ended else ""
        error, log = stored_error(self.runs, spec, since=entry.submitted), log_tail(entry.log)
        if state in ("", "CANCELLED") and not trained and not log:  # it never started: its pretraining failed
            return _StateWithReason("to do")
        if state in ("", "COMPLETED") and not error:
            why = history[-1].error if history and is_of(history[-1], entry) else last_line(log)
            return _StateWithReason("lost", None, f"job {entry.job_id} is gone; {why}".rstrip("; "))
        code, signal = (ended.exit_code, ended.signal) if ended else (0, 0)
        kind = classify(state=state, exit_code=code, signal=signal, log=f"{log}\n{error}")
        said = f"SLURM says {state}" if in_slurm(entry) else ""
        return _StateWithReason("failed", kind, error or last_line(log) or said)


def wanted(tables: Iterable[Table]) -> dict[str, tuple[Work, tuple[int, ...]]]:
    """By digest, every pretraining and measurement of the tables, with the numbers of the tables that need it."""
    specs: dict[str, Work] = {}
    numbers: dict[str, dict[int, None]] = {}
    for table in tables:
        for spec in table.specs:
            for needed in (spec.run, spec):
                specs.setdefault(needed.digest, needed)
                numbers.setdefault(needed.digest, {})[table.number] = None
    return {digest: (spec, tuple(numbers[digest])) for digest, spec in specs.items()}


def record_status(runs: Path, spec: Work) -> str:
    try:
        return Record(runs, spec).status
    except OSError:  # a folder in place of a file, or no right to read it
        return "damaged"


def _stops(history: Sequence[Failure]) -> Counter[str]:
    return Counter(failure.kind for failure in history if failure.kind in RETRIES)


def is_of(failure: Failure, entry: JournalEntry) -> bool:
    """Whether a failure is of this submission; outside SLURM a task does not know its number."""
    return failure.job_id == entry.job_id or (not failure.job_id and failure.when >= entry.submitted)


def stored_error(runs: Path, spec: Work, since: float) -> str:
    """The error in failed.json, in one line; "" where that file is older than `since`."""
    path = Path(runs) / spec.folder / FAILURE_FILE
    try:
        if path.stat().st_mtime < since:
            return ""
        stored = read_object(path) or {}
        check_fields(stored, FAILED, path)
    except OSError:
        return ""
    except ValueError as error:
        return f"damaged record {printable(str(error))}"
    return printable(" ".join((stored.get("error") or "").split()))
