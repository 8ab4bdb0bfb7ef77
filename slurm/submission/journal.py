"""Journal: what was submitted, by digest: lines that every user appends to a file of their own below the runs folder.

Several people may share the runs folder: a user writes only to their own file and reads all. A submission holds one
lock of the folder. A journal that cannot be read is an error, and does not count as empty.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import getpass
import json
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...tables.plan.plan import Step
from ..shared_files import (
    Field,
    Number,
    Text,
    Unreadable,
    append_text,
    blocked,
    fields_of,
    make_folder,
    names_in,
    read_lines,
    share,
)

FOLDER = ".slurm"  # below the runs folder
JOURNALS = f"{FOLDER}/journal"
LOCK = f"{FOLDER}/lock"
HELD = f"{FOLDER}/lock.held"  # where the file system has no locks
PATIENCE_S = 60.0  # the submission of another person takes seconds
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@dataclass(frozen=True, kw_only=True)
class JournalEntry:
    """One spec that was sent to a cluster once."""

    digest: str
    folder: str  # of the record, below the runs folder
    job_id: str  # such as 123_4, or as a local driver numbers it
    cluster: str  # by the user's name for it
    where: str  # SLURM's own name for the cluster, or the host of a local one
    user: str
    submitted: float  # seconds since 1970
    logs: str  # folder of the log
    attempt: int = 1  # how often this spec was submitted so far
    cell: str = ""  # what tells its run from others of the same method and data

    @property
    def log(self) -> Path:
        """The output of the first process of the task: all attempts of one job, one after another."""
        return Path(self.logs) / f"{self.job_id}_0_log.out"


_FIELDS: Mapping[str, Field] = {  # of a line; other people wrote it
    "digest": Text(r"[0-9A-Za-z]{1,64}"),
    "folder": Text(r"(?!/)(?!(.*/)?\.\.(/|$))[^\0]+"),  # below the runs folder
    "job_id": Text(r"[0-9]{1,18}(_[0-9]{1,18})?|local-[\w-]{1,99}_[0-9]{1,18}"),  # goes to scancel, and names files
    "cluster": Text(),
    "where": Text(),
    "user": Text(),
    "submitted": Number(0, 1e11, whole=False),
    "logs": Text(),
    "attempt": Number(1, 1e9),
    "cell": Text(),
}


def new_entries(
    steps: Iterable[Step], job_ids: Iterable[str], runs: Path, *, cluster: str, where: str, logs: Path
) -> list[JournalEntry]:
    """Entries of steps of a plan that this user submits now."""
    before = entries(runs)
    return [
        JournalEntry(
            digest=step.spec.digest,
            folder=step.spec.folder,
            job_id=job_id,
            cluster=cluster,
            where=where,
            user=user(),
            submitted=time.time(),
            logs=str(logs),
            attempt=before[step.spec.digest].attempt + 1 if step.spec.digest in before else 1,
            cell=step.cell,
        )
        for step, job_id in zip(steps, job_ids, strict=True)
    ]


def append(runs: Path, entries: Iterable[JournalEntry]) -> None:
    """Add lines to this user's journal; they are on disk when this returns. Raises Unreadable where it cannot write."""
    lines = (json.dumps(dataclasses.asdict(entry), ensure_ascii=False) + "\n" for entry in entries)
    append_text(runs, _own(runs), "".join(lines))


def ready(runs: Path) -> None:
    """Write an empty line to this user's journal, before anything is submitted: so a later write does not fail."""
    append_text(runs, _own(runs), "\n")


def entries(runs: Path, remarks: list[str] | None = None) -> Mapping[str, JournalEntry]:
    """The newest entry of every digest, of all users; empty where nothing was submitted. Raises as `history` does."""
    newest: dict[str, JournalEntry] = {}
    for entry in history(runs, remarks):
        if entry.digest not in newest or newest[entry.digest].submitted <= entry.submitted:
            newest[entry.digest] = entry
    return newest


def history(runs: Path, remarks: list[str] | None = None) -> list[JournalEntry]:
    """Every entry, in the order of its file. It skips damaged lines, with one remark a file.

    Raises Unreadable where a journal cannot be read; given `remarks`, it adds a remark instead.
    """
    entries: list[JournalEntry] = []
    damaged: list[str] = []
    try:
        names = names_in(Path(runs) / JOURNALS)
    except Unreadable as error:
        names = []
        _remark(error, remarks)
    for path in (Path(runs) / JOURNALS / name for name in names if name.endswith(".jsonl")):
        try:
            lines, remark = read_lines(path, _entry)
        except FileNotFoundError:  # removed meanwhile
            continue
        except Unreadable as error:
            _remark(error, remarks)
            continue
        entries += lines
        damaged += [remark][: bool(remark)]
    if remarks is not None:
        remarks += damaged
    return entries


def user() -> str:
    """The name of this user, fit for the name of a file."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for its user
        name = str(os.getuid())
    return re.sub(r"[^\w.@+-]", "_", name).lstrip(".") or str(os.getuid())


def _own(runs: Path) -> Path:
    folder = Path(runs) / JOURNALS
    make_folder(runs, folder)
    return folder / f"{user()}.jsonl"


def _entry(fields: dict[str, Any], where: str) -> JournalEntry:
    return JournalEntry(**fields_of(fields, _FIELDS, where, optional=("attempt", "cell")))


def _remark(error: Unreadable, remarks: list[str] | None) -> None:
    if remarks is None:
        raise error
    remarks.append(f"{error}; what was submitted there is not known")


@contextlib.contextmanager
def submitting(runs: Path, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold the runs folder's lock while jobs are chosen and submitted; wait up to `patience_s` for another submission.

    Raises ValueError when the other submission does not end, or the lock cannot be taken. Where the file system has no
    locks, a file that only one process can create replaces the lock; it names its owner, and stays where the owner was
    killed.
    """
    path, until = Path(runs) / LOCK, time.monotonic() + patience_s
    make_folder(runs, path.parent)
    with contextlib.ExitStack() as held:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
            held.callback(os.close, handle)
            share(runs, path, 0o666)
        except OSError as error:
            raise blocked("write", path, error) from error
        try:
            _flock(handle, path, until)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            _create_alone(Path(runs) / HELD, until)
            held.callback((Path(runs) / HELD).unlink, missing_ok=True)
        yield


def _flock(handle: int, path: Path, until: float) -> None:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise ValueError(
                    f"someone else is submitting from the same runs folder and holds {path}; try again later"
                ) from None
        time.sleep(0.1)


def _create_alone(path: Path, until: float) -> None:
    owner = f"{user()} on {socket.gethostname()}, process {os.getpid()}"
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.write(handle, owner.encode())
            os.close(handle)
            return
        except FileExistsError:
            if time.monotonic() > until:
                with contextlib.suppress(OSError):
                    owner = path.read_text(errors="replace")
                raise ValueError(
                    f"{path} says that {owner} is submitting; where that has ended, remove the file and try again"
                ) from None
        time.sleep(0.1)
