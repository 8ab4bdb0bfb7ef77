"""Journal: what was submitted, by digest; lines appended to a file of each user's own below the runs folder.

Several people may share the runs folder on a shared file system: each writes only files of their own and reads all.
One lock of the folder is held while somebody submits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import getpass
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..tables.throughput import Work

FOLDER = ".slurm"  # below the runs folder
JOURNALS = f"{FOLDER}/journal"
LOCK = f"{FOLDER}/lock"
HELD = f"{FOLDER}/lock.held"  # where the file system has no locks
PATIENCE_S = 60.0  # another one's submission takes seconds
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@dataclass(frozen=True, kw_only=True)
class Entry:
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

    @property
    def log(self) -> Path:
        """What the first process of the task printed, all attempts of one job one after another."""
        return Path(self.logs) / f"{self.job_id}_0_log.out"


def new_entries(
    specs: Iterable[Work], job_ids: Iterable[str], runs: Path, *, cluster: str, where: str, logs: Path
) -> list[Entry]:
    """Of specs that this user submits now."""
    before = entries(runs)
    return [
        Entry(
            digest=spec.digest,
            folder=spec.folder,
            job_id=job_id,
            cluster=cluster,
            where=where,
            user=getpass.getuser(),
            submitted=time.time(),
            logs=str(logs),
            attempt=before[spec.digest].attempt + 1 if spec.digest in before else 1,
        )
        for spec, job_id in zip(specs, job_ids, strict=True)
    ]


def append(runs: Path, entries: Iterable[Entry]) -> None:
    """Add lines to this user's journal, on disk when this returns."""
    folder = Path(runs) / JOURNALS
    folder.mkdir(parents=True, exist_ok=True)
    for each in (folder.parent, folder):
        _share(runs, each)
    text = "".join(json.dumps(dataclasses.asdict(entry), ensure_ascii=False) + "\n" for entry in entries)
    file = os.open(folder / f"{getpass.getuser()}.jsonl", os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":  # a crash cut the last line short
            text = "\n" + text
        os.write(file, text.encode())
        os.fsync(file)
    finally:
        os.close(file)


def entries(runs: Path) -> Mapping[str, Entry]:
    """The newest entry of every digest, whoever wrote it; nothing where nothing was ever submitted."""
    found: dict[str, Entry] = {}
    for entry in history(runs):
        if entry.digest not in found or found[entry.digest].submitted <= entry.submitted:
            found[entry.digest] = entry
    return found


def history(runs: Path) -> Iterator[Entry]:
    """Every entry, in the order of each file. Lines that a crash cut short are passed over."""
    names = {field.name for field in dataclasses.fields(Entry)}
    for path in sorted((Path(runs) / JOURNALS).glob("*.jsonl")):
        for line in path.read_text(errors="replace").splitlines():
            try:
                fields = json.loads(line)
                yield Entry(**{name: value for name, value in fields.items() if name in names})
            except (ValueError, TypeError, AttributeError):
                continue


def _share(runs: Path, path: Path, mask: int = 0o7777) -> None:
    """Give what is ours the rights of the runs folder, so that whoever may add runs may submit."""
    if path.stat().st_uid == os.getuid():
        path.chmod(Path(runs).stat().st_mode & mask)


@contextlib.contextmanager
def submitting(runs: Path, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold the runs folder's lock while jobs are chosen and submitted; wait a while for another who does.

    Raises ValueError when the other one does not come to an end. Where the file system has no locks, a file that only
    one can create stands for one; it names its owner, and stays behind where that one was killed.
    """
    path, until = Path(runs) / LOCK, time.monotonic() + patience_s
    path.parent.mkdir(parents=True, exist_ok=True)
    _share(runs, path.parent)
    with contextlib.ExitStack() as held:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        held.callback(os.close, handle)
        _share(runs, path, 0o666)
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
    owner = f"{getpass.getuser()} on {socket.gethostname()}, process {os.getpid()}"
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.write(handle, owner.encode())
            os.close(handle)
            return
        except FileExistsError:
            if time.monotonic() > until:
                with contextlib.suppress(OSError):
                    owner = path.read_text()
                raise ValueError(
                    f"{path} says that {owner} is submitting; where that has ended, remove the file and try again"
                ) from None
        time.sleep(0.1)
