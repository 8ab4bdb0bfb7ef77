"""Failures: why a task ended unfinished, by SLURM's word, its exception or its log, and what is tried again by itself.

States are those of squeue and sacct (man squeue, JOB STATE CODES); lines of slurmstepd and srun are as SLURM 22.05 to
24.11 print them.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ...pretrain.runtime.exit_status import INTERRUPTED, SIGNALLED
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
RETRIES: dict[FailureKind, int] = {  # tries of one job without a new checkpoint between them; what is not here has none
    "node failure": 5,
    "time limit": 3,
    "preempted": 1_000,  # not the run's fault, and a measurement leaves no checkpoint
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
    9: "out of memory",  # SIGKILL, and neither a limit nor a user is named: the kernel's choice
    10: "preempted",  # SIGUSR1, SIGUSR2 and SIGTERM, heard before or after training, which itself would have saved
    12: "preempted",
    15: "preempted",
}

# A fault of a file, by where it was raised: the rooms that read data, then nothing but the rest of that traceback.
_ROOMS = "pretrain/(?:evaluate/)?(?:data|digits|feed|holdings|image_folder|labelled|large_images|loader|official)"
_UNREADABLE = r"ValueError|OSError|FileNotFoundError|PermissionError|IsADirectoryError|EOFError|BadZipFile"
_SIGNS: tuple[tuple[FailureKind, str], ...] = (  # the last one in a text counts
    ("bug", r"(?<!following exception:\n\n)(?<!another exception occurred:\n\n)Traceback \(most recent call last\):"),
    ("out of memory", r"(?i:out of (?:shared )?memory|oom[-_ ]kill)|OutOfMemoryError|\bMemoryError\b"),
    ("out of memory", r"can't allocate memory|Cannot allocate memory|CUBLAS_STATUS_ALLOC_FAILED"),
    ("node failure", r"DUE TO NODE FAILURE|ncclSystemError|ncclRemoteError|NCCL (?:timeout|watchdog)|ECC error"),
    ("node failure", r"Connection (?:closed|reset) by peer|no CUDA-capable device|(?:fell off|off) the bus"),
    ("node failure", r"\[Errno (?:5|107|110|116|121)\]|Communication connection failure|launch failed.*node"),
    ("node failure", r"in use by another process"),  # what an earlier try left on a node that SLURM gave up
    ("disk full", r"No space left on device|Disk quota exceeded|\[Errno (?:28|122)\]"),
    ("bad data", rf'File "[^"]*/{_ROOMS}\.py", line .*\n(?:[ ].*\n)*(?:\w+\.)*(?:{_UNREADABLE})\b'),
    ("bad data", r"^(?:\w+\.)*BadData\b"),  # pretrain/bad_data.py
    ("bad data", r"^ValueError: .*: found .*; expected |UnidentifiedImageError|image file is truncated"),
    ("diverged", r"NonFiniteLoss\b|loss became NaN or infinite"),
    ("time limit", r"DUE TO TIME LIMIT"),
    ("preempted", r"DUE TO PREEMPTION|DUE TO JOB REQUEUE"),
    ("cancelled", r"CANCELLED AT \S+ \*\*\*"),
)
_PATTERNS = tuple((kind, re.compile(pattern, re.MULTILINE)) for kind, pattern in _SIGNS)


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
    """Why a task ended, by all that is known of it: SLURM's state first, then the exception, its log, how it exited."""
    known = OF_STATE.get(state.partition(" ")[0].rstrip("+"))
    if known:
        return known
    if error is not None:
        return _of_error(error)
    if exit_code == INTERRUPTED:
        return "preempted"
    signal = signal or max(exit_code - SIGNALLED, 0)
    seen = kind_in(log)
    if seen in (None, "bug") and signal in _OF_SIGNAL:  # a traceback there is an earlier attempt's: this one was killed
        return _OF_SIGNAL[signal]
    return seen or "bug"


def kind_in(text: str) -> FailureKind | None:
    """The kind that the last telling line of a log or traceback names; None where nothing tells."""
    found = [(match.end(), kind) for kind, pattern in _PATTERNS for match in pattern.finditer(text)]
    return max(found)[1] if found else None


def retried(history: Sequence[Failure]) -> bool:
    """Whether the work whose last failure ends `history` is tried again by itself.

    Tries of one kind by one job count as long as no new checkpoint lies between them; a new submission counts anew.
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
    """Append a failure to those of the spec with this digest: a file for each job, so that its owner can write it.

    Raises Unreadable where that cannot be written.
    """
    folder = Path(runs) / FOLDER
    make_folder(runs, folder)
    line = json.dumps(dataclasses.asdict(failure), ensure_ascii=True) + "\n"
    append_text(runs, folder / f"{digest}-{failure.job_id or 'local'}.jsonl", line, 0o666)


def histories(
    runs: Path, digests: Iterable[str] | None = None, remarks: list[str] | None = None
) -> Mapping[str, tuple[Failure, ...]]:
    """The failures of every digest, or of those given, oldest first; what is damaged adds to `remarks`."""
    wanted = None if digests is None else set(digests)
    said = [] if remarks is None else remarks
    found: dict[str, list[Failure]] = {}
    try:
        names = names_in(Path(runs) / FOLDER)
    except Unreadable as error:
        said.append(f"{error}; why tasks ended is not known")
        return {}
    for name in names:
        digest, _, rest = name.partition("-")
        if rest.endswith(".jsonl") and (wanted is None or digest in wanted):
            found.setdefault(digest, []).extend(_read(Path(runs) / FOLDER / name, said))
    return {digest: tuple(sorted(some, key=lambda failure: failure.when)) for digest, some in found.items() if some}


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
