"""Status: where every pretraining and measurement of some tables stands, from records, journal, failures and SLURM.

The record decides what is done; SLURM, where it answers, what waits and runs; what the task noted, or else its log, why
it ended. Nothing is written, and no torch imported.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..pretrain.record import Record
from ..pretrain.run import Run
from ..tables.table import Table
from ..tables.throughput import Work
from . import journal, queue
from .failures import Failure, Kind, classify, histories, last_line, retried
from .journal import Entry
from .pace import Pace, pace
from .queue import Accounted, Queued, SlurmError

State = Literal["done", "running", "queued", "failed", "lost", "stopped", "damaged", "unknown", "to do"]
STATES: tuple[State, ...] = ("done", "running", "queued", "failed", "lost", "stopped", "damaged", "unknown", "to do")
LOG_BYTES = 16_384  # of the end of a log
ATTEMPT = "Starting with JobEnvironment"  # submitit's first line of each start; a log holds all of them


@dataclass(frozen=True, kw_only=True)
class Task:
    """One pretraining or measurement, and where it stands.

    lost: submitted, not finished, and SLURM does not know it any more. stopped: begun, and never submitted. unknown:
    submitted, and SLURM does not answer.
    """

    spec: Work
    tables: tuple[int, ...]
    state: State
    kind: Kind | None = None  # of what failed
    reason: str = ""  # why it waits, or the line that says why it failed
    entry: Entry | None = None  # its newest submission
    elapsed: str = ""  # of a job that runs
    nodes: str = ""
    pace: Pace | None = None
    stops: Mapping[str, int] = field(default_factory=dict)  # how often it was stopped and tried again, by kind

    @property
    def run(self) -> Run:
        """The pretraining itself, or the one that is measured."""
        return self.spec if isinstance(self.spec, Run) else self.spec.run


@dataclass(frozen=True, kw_only=True)
class Status:
    """Every task of some tables at one moment."""

    numbers: tuple[int, ...]  # of the tables
    tasks: tuple[Task, ...]
    remarks: tuple[str, ...] = ()  # what could not be asked

    def of_table(self, number: int) -> tuple[Task, ...]:
        """The tasks that one table wants, also those that others want too."""
        return tuple(task for task in self.tasks if number in task.tables)

    def to_json(self) -> str:
        """Counts by table and state, and every task that is not done, for other programs."""
        counts = {str(number): counted(self.of_table(number)) for number in self.numbers}
        document = {
            "tables": counts | {"all": counted(self.tasks)},
            "remarks": list(self.remarks),
            "tasks": [_task_json(task) for task in self.tasks if task.state != "done"],
        }
        return json.dumps(document, indent=2, ensure_ascii=False)


class Board:
    """Reads the status of tables again and again; what is done stays done, and what has ended is asked for once."""

    def __init__(self, tables: Sequence[Table], runs: Path) -> None:
        self.numbers = tuple(dict.fromkeys(table.number for table in tables))
        self.runs = Path(runs)
        self.wanted = wanted(tables)
        self._done: set[str] = set()
        self._ended: dict[str, Accounted] = {}
        self._without_account: set[str] = set()  # jobs that sacct said nothing of
        self._queue: Mapping[str, Queued] | None = {}
        self._remark = ""

    def read(self, *, ask: bool = True) -> Status:
        """How everything stands now; without `ask`, SLURM's last answer holds."""
        statuses = self._statuses()
        unfinished = {digest for digest, status in statuses.items() if status != "done"}
        entries = {digest: entry for digest, entry in journal.entries(self.runs).items() if digest in unfinished}
        if ask:
            self._ask(list(entries.values()))
        self._account(list(entries.values()))
        failures = histories(self.runs, unfinished)
        tasks = []
        for digest, (spec, numbers) in self.wanted.items():
            entry, status = entries.get(digest), statuses[digest]
            tasks.append(self._task(spec, numbers, status, entry, failures.get(digest, ())))
        return Status(numbers=self.numbers, tasks=tuple(tasks), remarks=(self._remark,) if self._remark else ())

    def _statuses(self) -> dict[str, str]:
        """By digest, what each record says; folders that are not there are not looked into."""
        try:
            folders = frozenset(os.listdir(self.runs))
        except (FileNotFoundError, NotADirectoryError):
            folders = frozenset()
        found: dict[str, str] = {}
        for digest, (spec, _) in self.wanted.items():
            top = spec.folder.partition("/")[0]
            if digest in self._done:
                found[digest] = "done"
            elif top not in folders:
                found[digest] = "absent"
            else:
                found[digest] = _status(self.runs, spec)
        self._done |= {digest for digest, status in found.items() if status == "done"}
        return found

    def _ask(self, entries: Sequence[Entry]) -> None:
        self._remark = ""
        try:
            self._queue = queue.queued([entry.job_id for entry in entries if entry.job_id])
        except SlurmError as error:
            self._queue = None
            self._remark = f"{error}; what waits or runs is not known"

    def _account(self, entries: Sequence[Entry]) -> None:
        """Ask sacct of those that squeue knows no more, each once."""
        if self._queue is None:
            return
        gone = [
            entry.job_id
            for entry in entries
            if entry.job_id and entry.job_id not in self._queue
            if entry.job_id not in self._ended and entry.job_id not in self._without_account
        ]
        found = queue.accounted(gone)
        self._ended.update({job_id: job for job_id, job in found.items() if job.state in queue.FINISHED})
        self._without_account.update(set(gone) - set(found))

    def _task(
        self, spec: Work, numbers: tuple[int, ...], status: str, entry: Entry | None, history: Sequence[Failure]
    ) -> Task:
        if status == "done":
            return Task(spec=spec, tables=numbers, state="done", entry=entry)
        job = self._queue.get(entry.job_id) if self._queue is not None and entry else None
        live = job is not None and job.live
        last = history[-1] if history else None
        found = _Standing("to do")
        if status == "damaged":
            found = _Standing("damaged", None, "remove its folder to have it done again")
        elif job is not None and live:
            found = _Standing("queued" if job.waiting else "running", None, _reason(job))
        elif status == "running":
            found = _Standing("running")
        elif entry and self._queue is None:
            found = _Standing("unknown")
        elif entry:
            found = self._ending(spec, entry, job, history)
        elif status == "failed" or last:
            found = _of_record(self.runs, spec, last)
        elif status == "unfinished":
            found = _Standing("stopped")
        stopped = history[:-1] if found.state == "failed" else history
        return Task(
            spec=spec,
            tables=numbers,
            state=found.state,
            kind=found.kind,
            reason=found.reason,
            entry=entry,
            elapsed=job.elapsed if job and live else "",
            nodes=job.nodes if job and live else "",
            pace=pace(self.runs, spec) if found.state in ("running", "queued", "stopped") else None,
            stops=Counter(failure.kind for failure in stopped),
        )

    def _ending(self, spec: Work, entry: Entry, job: Queued | None, history: Sequence[Failure]) -> _Standing:
        """How a job ended that neither waits nor runs: by the task's own note, by SLURM, by record and log."""
        if not entry.job_id:
            return _Standing("lost", None, "its submission was cut short; compmod submit")
        if history and _is_of(history[-1], entry) and not retried(history):
            return _Standing("failed", history[-1].kind, history[-1].error)
        ended = self._ended.get(entry.job_id)
        state = job.state if job else ended.state if ended else ""
        error = _error(self.runs, spec, since=entry.submitted)
        log = log_tail(entry.log)
        if state in ("", "COMPLETED") and not error:
            return _Standing("lost", None, f"job {entry.job_id} is gone; {last_line(log)}".rstrip("; "))
        code, signal = (ended.exit_code, ended.signal) if ended else (0, 0)
        kind = classify(state=state, exit_code=code, signal=signal, log=f"{log}\n{error}")
        return _Standing("failed", kind, error or last_line(log) or f"SLURM says {state}")


class _Standing(NamedTuple):
    state: State
    kind: Kind | None = None
    reason: str = ""


def wanted(tables: Iterable[Table]) -> dict[str, tuple[Work, tuple[int, ...]]]:
    """By digest, every pretraining and measurement of the tables, with the numbers of those that want it."""
    specs: dict[str, Work] = {}
    numbers: dict[str, dict[int, None]] = {}
    for table in tables:
        for spec in table.specs:
            for each in (spec.run, spec):
                specs.setdefault(each.digest, each)
                numbers.setdefault(each.digest, {})[table.number] = None
    return {digest: (spec, tuple(numbers[digest])) for digest, spec in specs.items()}


def counted(tasks: Iterable[Task]) -> dict[State, int]:
    """How many stand in each state."""
    count = Counter(task.state for task in tasks)
    return {state: count[state] for state in STATES}


def log_tail(path: Path) -> str:
    """The end of a log, as far as its newest start wrote it; "" where there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    before, found, after = text.rpartition(ATTEMPT)
    return after.partition("\n")[2] if found else before + after


def _status(runs: Path, spec: Work) -> str:
    try:
        return Record(runs, spec).status
    except OSError:  # a folder in place of a file, or no right to read it
        return "damaged"


def _reason(job: Queued) -> str:
    return "" if job.reason == "None" or not job.waiting else job.reason


def _is_of(failure: Failure, entry: Entry) -> bool:
    """Whether a failure is of this submission; outside SLURM a task knows no number of its own."""
    return failure.job_id == entry.job_id or (not failure.job_id and failure.when >= entry.submitted)


def _of_record(runs: Path, spec: Work, last: Failure | None) -> _Standing:
    """Of what failed and was not submitted, or not by any journal that is left."""
    error = _error(runs, spec, since=0.0)
    if last:
        return _Standing("failed", last.kind, error or last.error)
    return _Standing("failed", classify(log=error), error)


def _error(runs: Path, spec: Work, since: float) -> str:
    """The record's own word on why it failed, in one line, unless it is older than `since`."""
    path = Path(runs) / spec.folder / "failed.json"
    try:
        if path.stat().st_mtime < since:
            return ""
        return " ".join(str(json.loads(path.read_text())["error"]).split())
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _task_json(task: Task) -> dict[str, Any]:
    entry = task.entry
    found: dict[str, Any] = {
        "digest": task.spec.digest,
        "kind": type(task.spec).__qualname__,
        "folder": task.spec.folder,
        "method": task.run.label,
        "data": task.run.data_label,
        "seed": task.run.seed,
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
        found |= {
            "epoch": round(task.pace.epoch, 3),
            "epochs": task.pace.epochs,
            "images_per_second": task.pace.images_per_second,
            "seconds_left": task.pace.seconds_left,
        }
    return found
