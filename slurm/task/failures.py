"""Failures: why a task ended unfinished, by SLURM's state, its exception or its log, and what is retried by itself.

States are those of squeue and sacct (man squeue, JOB STATE CODES); lines of slurmstepd and srun are as SLURM 22.05 to
24.11 print them.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
import traceback
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

from ...pretrain import data as pretraining_data
from ...pretrain.files.bad_data import BadData
from ...pretrain.runtime.exit_status import INTERRUPTED, SIGNALLED
from ...pretrain.training.divergence import NonFiniteLoss
from ...transfer import data as detection_data
from ..shared_files import (
    Field,
    Number,
    Text,
    Unreadable,
    Word,
    append_text,
    fields_of,
    make_folder,
    names_in,
    read_lines,
)

FailureKind = Literal[
    "out of memory",
    "node failure",
    "bad data",
    "diverged",
    "time limit",
    "preempted",
    "disk full",
    "cancelled",
    "bug",
]
RETRIES: dict[FailureKind, int] = {  # attempts of one job without a new checkpoint between them; other kinds have none
    "node failure": 5,
    "time limit": 3,
    "preempted": 1_000,  # the run is not at fault, and a measurement leaves no checkpoint
}
FOLDER = ".slurm/failures"  # below the runs folder

OF_STATE: dict[str, FailureKind] = {
    "OUT_OF_MEMORY": "out of memory",
    "NODE_FAIL": "node failure",
    "BOOT_FAIL": "node failure",
    "TIMEOUT": "time limit",
    "DEADLINE": "time limit",
    "PREEMPTED": "preempted",
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
}
_OF_SIGNAL: dict[int, FailureKind] = {
    7: "out of memory",  # SIGBUS: the shared memory that loader workers use is full
    9: "out of memory",  # SIGKILL without a limit or a user: the kernel sent it
    10: "preempted",  # SIGUSR1, SIGUSR2 and SIGTERM, before or after training, which itself would save
    12: "preempted",
    15: "preempted",
}


def _path(package: ModuleType) -> str:
    """A package as tracebacks name its files, below ours: pretrain/data of compmod.pretrain.data."""
    return package.__name__.partition(".")[2].replace(".", "/")


def _raised_in(files: str) -> str:
    """A pattern of a traceback through one of these files that ends with an error of reading a file."""
    errors = (ValueError, EOFError, OSError, FileNotFoundError, PermissionError, IsADirectoryError, zipfile.BadZipFile)
    names = "|".join(error.__name__ for error in errors)
    return rf'File "[^"]*/{files}\.py", line .*\n(?:[ ].*\n)*(?:\w+\.)*(?:{names})\b'


def _named(error: type[BaseException]) -> str:
    """A pattern of the line of a log that names an exception."""
    return rf"(?m:^(?:\w+\.)*){error.__qualname__}\b"


_READERS = rf"(?:{_path(pretraining_data)}|{_path(detection_data)})/\w+"  # what reads data, and may raise other errors
_EARLIER_READERS = (  # as logs of version 0.1 name its files; a rename of today's files changes nothing in those logs
    "pretrain/(?:evaluate/)?(?:data|digits|feed|holdings|image_folder|labelled|large_images|loader|official)"
)
_EXPRESSIONS: tuple[tuple[FailureKind, str], ...] = (  # the last match in a text decides
    ("bug", r"(?<!following exception:\n\n)(?<!another exception occurred:\n\n)Traceback \(most recent call last\):"),
    ("out of memory", r"(?i:out of (?:shared )?memory|oom[-_ ]kill)|OutOfMemoryError|\bMemoryError\b"),
    ("out of memory", r"can't allocate memory|Cannot allocate memory|CUBLAS_STATUS_ALLOC_FAILED"),
    ("node failure", r"DUE TO NODE FAILURE|ncclSystemError|ncclRemoteError|NCCL (?:timeout|watchdog)|ECC error"),
    ("node failure", r"Connection (?:closed|reset) by peer|no CUDA-capable device|(?:fell off|off) the bus"),
    ("node failure", r"\[Errno (?:5|107|110|116|121)\]|Communication connection failure|launch failed.*node"),
    ("node failure", r"in use by another process"),  # an earlier attempt still runs on a node that SLURM gave up
    ("disk full", r"No space left on device|Disk quota exceeded|\[Errno (?:28|122)\]"),
    ("bad data", _raised_in(_READERS)),
    ("bad data", _raised_in(_EARLIER_READERS)),
    ("bad data", _named(BadData)),
    ("bad data", r"^ValueError: .*: found .*; expected |UnidentifiedImageError|image file is truncated"),
    ("diverged", rf"{NonFiniteLoss.__qualname__}\b|loss became NaN or infinite"),
    ("time limit", r"DUE TO TIME LIMIT"),
    ("preempted", r"DUE TO PREEMPTION|DUE TO JOB REQUEUE"),
    ("cancelled", r"CANCELLED AT \S+ \*\*\*"),
)
_JOB_CANCELLED = re.compile(r"\*\*\* JOB \S+ ON \S+ CANCELLED AT \S+ \*\*\*")  # what follows it, it has caused
_OVER = re.compile(  # what srun says where its job was over before the step began; slurmstepd may then say nothing
    r"^srun: .*(?:job \d+ has expired|Expired or invalid job|Job credential revoked|already completing or completed)",
    re.MULTILINE,
)
_PATTERNS = tuple((kind, re.compile(pattern, re.MULTILINE)) for kind, pattern in _EXPRESSIONS)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One end of a task's work before the work was done."""

    kind: FailureKind
    error: str  # one line
    job_id: str = ""  # such as 123_4
    node: str = ""
    updates: int = 0  # that the newest checkpoint held
    when: float = dataclasses.field(default_factory=time.time)  # seconds since 1970


def classify(
    *, state: str = "", exit_code: int = 0, signal: int = 0, error: BaseException | None = None, log: str = ""
) -> FailureKind:
    """Why a task ended: by SLURM's state, else by the exception, else by the log and the exit status."""
    known = OF_STATE.get(state.partition(" ")[0].rstrip("+"))
    if known:
        return known
    if error is not None:
        return _of_error(error)
    if exit_code == INTERRUPTED:
        return "preempted"
    signal = signal or max(exit_code - SIGNALLED, 0)
    logged = kind_in(log)
    if logged in (None, "bug") and signal in _OF_SIGNAL:  # a traceback is of an earlier attempt: this one was killed
        return _OF_SIGNAL[signal]
    return logged or "bug"


def kind_in(text: str) -> FailureKind | None:
    """The kind of failure that the last matching line of a log or traceback names; None without such a line.

    Lines after the one by which SLURM says that the job was cancelled do not count. Without any, a job that was over
    before srun began was cancelled.
    """
    if cancelled := _JOB_CANCELLED.search(text):
        text = text[: cancelled.end()]
    matches = [(match.end(), kind) for kind, pattern in _PATTERNS for match in pattern.finditer(text)]
    return max(matches)[1] if matches else "cancelled" if _OVER.search(text) else None


def retried(history: Sequence[Failure]) -> bool:
    """Whether a job is queued again after the last failure of `history`.

    It counts attempts of one job with one kind of failure and no new checkpoint; a new submission starts a new count.
    """
    if not history:
        return False
    last, tries = history[-1], 0
    for failure in reversed(history):
        if (failure.kind, failure.job_id, failure.updates) != (last.kind, last.job_id, last.updates):
            break
        tries += 1
    return tries <= RETRIES.get(last.kind, 0)


def note(runs: Path, digest: str, failure: Failure) -> None:
    """Append a failure to those of the spec with this digest, in a file of this job alone, which its user may write.

    Raises Unreadable where the file cannot be written.
    """
    folder = Path(runs) / FOLDER
    make_folder(runs, folder)
    line = json.dumps(dataclasses.asdict(failure), ensure_ascii=True) + "\n"
    append_text(runs, folder / f"{digest}-{failure.job_id or 'local'}.jsonl", line, 0o666)


def histories(
    runs: Path, digests: Iterable[str] | None = None, remarks: list[str] | None = None
) -> Mapping[str, tuple[Failure, ...]]:
    """The failures of every digest, or of those given, oldest first; `remarks` receives one for every damaged file."""
    wanted = None if digests is None else set(digests)
    remarks = [] if remarks is None else remarks
    failures: dict[str, list[Failure]] = {}
    try:
        names = names_in(Path(runs) / FOLDER)
    except Unreadable as error:
        remarks.append(f"{error}; why tasks ended is not known")
        return {}
    for name in names:
        digest, _, rest = name.partition("-")
        if rest.endswith(".jsonl") and (wanted is None or digest in wanted):
            failures.setdefault(digest, []).extend(_read(Path(runs) / FOLDER / name, remarks))
    return {digest: tuple(sorted(some, key=lambda failure: failure.when)) for digest, some in failures.items() if some}


def _of_error(error: BaseException) -> FailureKind:
    if isinstance(error, SystemExit):
        return "preempted" if error.code == INTERRUPTED else "bug"
    return kind_in("".join(traceback.format_exception(error))) or "bug"


_FIELDS: Mapping[str, Field] = {
    "kind": Word(get_args(FailureKind)),
    "error": Text(most=1_000_000),
    "job_id": Text(),
    "node": Text(),
    "updates": Number(0, 1e15),
    "when": Number(0, 1e11, whole=False),
}


def _read(path: Path, remarks: list[str]) -> list[Failure]:
    try:
        failures, remark = read_lines(path, _failure)
    except FileNotFoundError:  # removed meanwhile
        return []
    except Unreadable as error:
        remarks.append(str(error))
        return []
    remarks += [remark][: bool(remark)]
    return failures


def _failure(fields: dict[str, Any], where: str) -> Failure:
    return Failure(**fields_of(fields, _FIELDS, where, optional=("job_id", "node", "updates")))
