"""Task: the work of one task of an array, stored as JSON: the spec, and the folders of runs and data.

Every process of the task calls it. It ends with status 0 when the record is done, and with 75 when it was stopped and
saved. A failure ends it with its exception, noted for `compmod status`; jobs that wait by `afterok` then do not start.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...pretrain.files.stored_json import parse_json
from ...pretrain.files.whole_file import write_whole
from ...pretrain.loggers.names import DEFAULT, chosen
from ...pretrain.records.files import CHECKPOINTS_FOLDER, newest_updates
from ...pretrain.records.record import Record
from ...pretrain.runtime.exit_status import INTERRUPTED
from ...pretrain.runtime.launch import launch_of
from ...pretrain.specs.measurement import Work
from ...pretrain.specs.spec import Spec
from ...tables.reproduce import reproduce
from ..shared_files import Field, Flag, Number, Text, Word, fields_of, read_regular
from . import signals
from .failures import Failure, FailureKind, classify, histories, note, retried

PROGRAM = "-P -u -m compmod.slurm.task.start"  # arguments of Python; -P: it imports nothing from the current folder
VISIBLE_S = 120.0  # until this node sees a file that another node wrote: caches of NFS last a minute
OTHER_S = 1_800.0  # the longest wait for another process on the same spec: a node that SLURM gave up may still work
LATER_S = 5.0  # the other processes end after the first: their end must not cut its exit short
SLACK_S = 90.0  # SLURM may send its warning a minute early (man sbatch, --signal)


@dataclass(frozen=True)
class Task:
    """The work of one spec. `spec` is its JSON form, which later versions of the classes can still read."""

    spec: dict[str, Any]
    digest: str
    runs: str
    data: str
    device: str
    minutes: int = 0  # its time limit
    warning_s: int = 0
    requeue: bool = True
    recompute: bool = False
    logger: str = " ".join(DEFAULT)  # names with spaces between

    @classmethod
    def from_fields(cls, fields: Any, where: object) -> Task:
        """A task that was stored. Raises ValueError, naming the field, on one that is unknown or of a wrong type."""
        if not isinstance(fields, dict) or not isinstance(fields.get("spec"), dict):
            raise ValueError(f"{where}: a task is an object with a spec")
        if unknown := sorted(set(fields) - set(_FIELDS) - {"spec"}):
            raise ValueError(f"{where}: unknown field {unknown[0]!r}; known: spec, {', '.join(_FIELDS)}")
        return cls(spec=fields["spec"], **fields_of(fields, _FIELDS, where, optional=("recompute", "logger")))

    @classmethod
    def of(cls, spec: Work, runs: Path, data: Path, **settings: Any) -> Task:
        """The task of a spec; paths become absolute, because a job may start in another folder."""
        device = "cpu" if spec.device == "cpu" else "auto"
        return cls(
            spec.to_dict(), spec.digest, str(Path(runs).resolve()), str(Path(data).resolve()), device, **settings
        )

    def __call__(self) -> None:
        started = time.monotonic()
        record = Record(Path(self.runs), self.decoded())
        rank = launch_of(os.environ).rank
        once = threading.Lock()

        def stopped() -> None:
            signals.settle()
            if rank:
                time.sleep(LATER_S)
            elif once.acquire(blocking=False):
                self._stopped(record, time.monotonic() - started)

        signals.at_deadline(stopped, self.warning_s)
        if rank == 0:
            print(f"{record.spec.folder}, job {signals.job_id() or 'without a number'} on {_node()}", flush=True)
        try:
            self._work(record, rank)
        except SystemExit as leave:
            if leave.code == INTERRUPTED:
                stopped()
            raise
        except Exception as error:
            if signals.received():  # the signal caused the error, such as the end of another process
                stopped()
                raise SystemExit(INTERRUPTED) from error
            self._failed(record, rank, error)
            raise

    def decoded(self) -> Work:
        """The spec. Raises ValueError where it is no longer the one that was submitted."""
        try:
            spec = Spec.from_dict(self.spec)
        except (TypeError, AttributeError, KeyError) as error:
            raise ValueError(f"damaged spec of task {self.digest}: {error}") from error
        if not isinstance(spec, Work):
            raise ValueError(
                f"task {self.digest} holds a {type(spec).__name__}; expected a Run or a measurement of one"
            )
        if spec.digest != self.digest:
            raise ValueError(f"{self.digest} was submitted by another version of compmod, where defaults differ")
        return spec

    def _work(self, record: Record, rank: int) -> None:
        """Wait for what the work needs, then do it."""
        if record.spec.kind != "pretraining":
            trained = Record(record.path.parent.parent, record.spec.run)
            if not _until(lambda: trained.status == "done", VISIBLE_S):
                raise ValueError(f"{trained.path} is {trained.status}, and this measures it once it is done")
        if rank == 0 and not _until(lambda: record.status != "running", OTHER_S):
            raise ValueError(f"{record.path} has been in use by another process for {OTHER_S / 60:.0f} minutes")
        reproduce(
            self.decoded(),
            Path(self.runs),
            Path(self.data),
            self.device,
            recompute=self.recompute,
            logger=chosen(self.logger.split()),
        )

    def _stopped(self, record: Record, seconds: float) -> None:
        """After a signal: note it, and queue the job again unless it makes no progress."""
        fate = signals.fate()
        warned = self.minutes and seconds >= 60 * self.minutes - self.warning_s - SLACK_S
        kind: FailureKind = "cancelled" if fate == "cancelled" else "preempted"
        if fate == "time limit" or (warned and fate in ("running", "unknown", "outside")):
            kind = "time limit"
        error = f"stopped by {signals.received() or 'a signal to another process'} after {seconds:.0f} s"
        self._again(record, kind, error, fate)

    def _failed(self, record: Record, rank: int, error: Exception) -> None:
        """Note a failure; queue the job again where the machine is at fault and not the work."""
        signals.settle()
        kind = classify(error=error)
        lone = launch_of(os.environ).world == 1
        error_line = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if rank and retried([self._failure(record, kind, error_line)]):
            time.sleep(2 * LATER_S)  # the end of another process caused it; the first process notes that
            return
        if rank == 0 and not lone:
            time.sleep(LATER_S)  # until the others have noted the cause
            others = histories(Path(self.runs), [self.digest]).get(self.digest, ())
            if any(other.when > time.time() - 4 * LATER_S and not retried([other]) for other in others):
                return
        if rank:
            self._note(self._failure(record, kind, error_line))
        else:
            self._again(record, kind, error_line, signals.fate())

    def _again(self, record: Record, kind: FailureKind, error: str, fate: signals.Fate) -> None:
        runs = Path(self.runs)
        self._note(self._failure(record, kind, error))
        if not self.requeue:
            refused = "its cluster does not allow jobs to be queued again"
        elif not retried(histories(runs, [self.digest]).get(self.digest, ())):
            refused = f"not queued again ({kind})"
        else:
            refused = signals.requeue(fate)
        done = "the script of the job is asked to queue it again" if fate == "outside" else "queued again"
        print(f"{record.path.name}: {error}; {refused or done}", flush=True)

    def _note(self, failure: Failure) -> None:
        try:
            note(Path(self.runs), self.digest, failure)
        except ValueError as error:  # this error must not hide why the task ended
            print(f"not noted: {error}", flush=True)

    def _failure(self, record: Record, kind: FailureKind, error: str) -> Failure:
        return Failure(
            kind=kind,
            error=error,
            job_id=signals.job_id(),
            node=_node(),
            updates=newest_update(record.path),
        )


_FIELDS: Mapping[str, Field] = {
    "digest": Text("[0-9a-f]+"),
    "runs": Text(r"/[^\0]*"),
    "data": Text(r"/[^\0]*"),
    "device": Word(("cpu", "auto")),
    "minutes": Number(0, 1e8),
    "warning_s": Number(0, 1e8),
    "requeue": Flag(),
    "recompute": Flag(),
    "logger": Text("[a-z]+( [a-z]+)*"),
}


def store(tasks: Sequence[Task], folder: Path) -> Path:
    """Write tasks to one file whose name has its SHA-256, so that the name shows a change of the content."""
    content = json.dumps([dataclasses.asdict(task) for task in tasks], allow_nan=False).encode()
    path = Path(folder) / f"tasks-{hashlib.sha256(content).hexdigest()}.json"
    write_whole(path, content)
    return path


def stored(path: Path, index: str) -> Task:
    """The task at that index of a file that `store` wrote; raises as `all_stored`, and ValueError where it has none."""
    tasks = _content(path)
    if not re.fullmatch("[0-9]{1,9}", index) or int(index) >= len(tasks):
        raise ValueError(f"{path} holds no task {index!r}")
    return Task.from_fields(tasks[int(index)], f"{path}, task {index}")


def all_stored(path: Path) -> list[Task]:
    """The tasks of a file that `store` wrote; its name comes from the person who submitted.

    Raises FileNotFoundError where there is no file, ValueError where it is not what was submitted.
    """
    return [Task.from_fields(fields, f"{path}, task {index}") for index, fields in enumerate(_content(path))]


def _content(path: Path) -> list[Any]:
    named = re.fullmatch(r"tasks-([0-9a-f]{64})\.json", path.name)
    if not named:
        raise ValueError(f"{path} is no file of tasks; expected tasks-SHA256.json")
    content = read_regular(path)
    digest = hashlib.sha256(content).hexdigest()
    if digest != named[1]:
        raise ValueError(f"{path} was changed after it was submitted: its SHA-256 is {digest}; submit again")
    tasks = parse_json(content, path)
    if not isinstance(tasks, list):
        raise ValueError(f"{path} holds no list of tasks")
    return tasks


def newest_update(folder: Path) -> int:
    """The step of the newest checkpoint of a record, by the name of its file."""
    return newest_updates(folder / CHECKPOINTS_FOLDER)


def _node() -> str:
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _until(true: Callable[[], bool], most_s: float) -> bool:
    """Wait until `true()` holds; False when it does not within `most_s` seconds."""
    until = time.monotonic() + most_s
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(1.0)
    return True
