"""Board: where every pretraining and measurement of some tables stands, by records, journal, failures and queues.

The record decides what is done; the queues, where they answer, what waits and runs; what the task noted, or else SLURM
and the log, why it ended. Nothing is written, and no torch imported.
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
from ...pretrain.records.record import Record
from ...pretrain.specs.measurement import Work
from ...tables.paper.table import Table
from ..clusters.squeue import Queued
from ..submission import journal
from ..submission.journal import Entry
from ..task.failures import RETRIES, Failure, FailureKind, classify, histories, retried
from ..task.log import last_line, log_tail
from .pace import pace
from .schedulers import Places
from .status import State, Status, TaskStatus

WAITS = "Dependency"  # squeue's reason, where it has not given one yet, and of a driver on this machine


class _Standing(NamedTuple):
    state: State
    kind: FailureKind | None = None
    reason: str = ""


class Board:
    """Reads the status of tables again and again; what is done stays done."""

    def __init__(self, tables: Sequence[Table], runs: Path) -> None:
        self.numbers = tuple(dict.fromkeys(table.number for table in tables))
        self.runs = Path(runs)
        self.places = Places(self.runs)
        self.wanted = wanted(tables)
        self._done: set[str] = set()

    def read(self, *, ask: bool = True) -> Status:
        """How everything stands now; without `ask`, the queues' last answers hold."""
        statuses = self._statuses()
        unfinished = {digest for digest, status in statuses.items() if status != "done"}
        remarks: list[str] = []
        noted = journal.entries(self.runs, remarks)
        entries = {digest: entry for digest, entry in noted.items() if digest in unfinished}
        if ask:
            self.places.ask(entries.values())
        failures = histories(self.runs, unfinished, remarks)
        tasks = [self._task(digest, statuses, entries.get(digest), failures.get(digest, ())) for digest in self.wanted]
        return Status(numbers=self.numbers, tasks=tuple(tasks), remarks=(*self.places.remarks, *remarks))

    def _statuses(self) -> dict[str, str]:
        """By digest, what each record says; folders that are not there are not looked into."""
        try:
            folders = frozenset(os.listdir(self.runs))
        except (FileNotFoundError, NotADirectoryError):
            folders = frozenset()
        found: dict[str, str] = {}
        for digest, (spec, _) in self.wanted.items():
            if digest in self._done:
                found[digest] = "done"
            elif spec.folder.partition("/")[0] in folders:
                found[digest] = _status(self.runs, spec)
            else:
                found[digest] = "absent"
        self._done |= {digest for digest, status in found.items() if status == "done"}
        return found

    def _task(
        self, digest: str, statuses: Mapping[str, str], entry: Entry | None, history: Sequence[Failure]
    ) -> TaskStatus:
        spec, tables = self.wanted[digest]
        status = statuses[digest]
        if status == "done":
            return TaskStatus(spec=spec, tables=tables, state="done")
        trained = spec.kind == "pretraining" or statuses[spec.run.digest] == "done"
        found = self._standing(spec, status, entry, history, trained=trained)
        job = self.places.job(entry) if entry and self.places.live(entry) else None
        return TaskStatus(
            spec=spec,
            tables=tables,
            state=found.state,
            kind=found.kind,
            reason=found.reason,
            entry=entry,
            elapsed=job.elapsed if job else "",
            nodes=job.nodes if job else "",
            pace=pace(self.runs, spec) if found.state in ("running", "queued", "stopped") else None,
            stops=_stops(history[:-1] if found.state == "failed" else history),
        )

    def _standing(
        self, spec: Work, status: str, entry: Entry | None, history: Sequence[Failure], *, trained: bool
    ) -> _Standing:
        job = self.places.job(entry) if entry else None
        if status == "damaged":
            return _Standing("damaged", None, "remove its folder to have it done again")
        if job and job.live:
            if not job.waiting:
                return _Standing("running")
            given = "" if job.reason == "None" else job.reason
            return _Standing("queued", None, given or ("" if trained else WAITS))
        if status == "running":
            return _Standing("running")
        if entry and not self.places.answers(entry):
            return _Standing("unknown", None, f"on {entry.cluster}, which does not answer")
        if entry:
            return self._ending(spec, entry, job, history, trained=trained)
        if status == "failed" or history:
            error = _error(self.runs, spec, since=0.0)
            kind = history[-1].kind if history else classify(log=error)
            noted = history[-1].error if history else "failed.json does not say why"
            return _Standing("failed", kind, error or noted)
        return _Standing("stopped" if status == "unfinished" else "to do")

    def _ending(
        self, spec: Work, entry: Entry, job: Queued | None, history: Sequence[Failure], *, trained: bool
    ) -> _Standing:
        """How a job ended that neither waits nor runs: by the task's own note, by SLURM, by record and log."""
        if history and _is_of(history[-1], entry) and not retried(history):
            return _Standing("failed", history[-1].kind, history[-1].error)
        ended = self.places.ended(entry)
        state = job.state if job else ended.state if ended else ""
        error, log = _error(self.runs, spec, since=entry.submitted), log_tail(entry.log)
        if state in ("", "CANCELLED") and not trained and not log:  # it never started, for its pretraining failed
            return _Standing("to do")
        if state in ("", "COMPLETED") and not error:
            said = history[-1].error if history and _is_of(history[-1], entry) else last_line(log)
            return _Standing("lost", None, f"job {entry.job_id} is gone; {said}".rstrip("; "))
        code, signal = (ended.exit_code, ended.signal) if ended else (0, 0)
        kind = classify(state=state, exit_code=code, signal=signal, log=f"{log}\n{error}")
        return _Standing("failed", kind, error or last_line(log) or f"SLURM says {state}")


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


def _status(runs: Path, spec: Work) -> str:
    try:
        return Record(runs, spec).status
    except OSError:  # a folder in place of a file, or no right to read it
        return "damaged"


def _stops(history: Sequence[Failure]) -> Counter[str]:
    return Counter(failure.kind for failure in history if failure.kind in RETRIES)


def _is_of(failure: Failure, entry: Entry) -> bool:
    """Whether a failure is of this submission; outside SLURM a task knows no number of its own."""
    return failure.job_id == entry.job_id or (not failure.job_id and failure.when >= entry.submitted)


def _error(runs: Path, spec: Work, since: float) -> str:
    """The record's own word on why it failed, in one line, unless it is older than `since`."""
    path = Path(runs) / spec.folder / "failed.json"
    try:
        if path.stat().st_mtime < since:
            return ""
        found = read_object(path) or {}
        check_fields(found, FAILED, path)
    except OSError:
        return ""
    except ValueError as error:
        return f"damaged record {printable(str(error))}"
    return printable(" ".join((found.get("error") or "").split()))
