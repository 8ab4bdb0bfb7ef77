"""Squeue: SLURM's commands squeue, sacct, scancel and scontrol as typed functions.

We set the formats (man squeue, --format; man sacct, --parsable2), so that neither a version nor the user's environment
changes them. A cluster may keep no accounts: then sacct knows nothing, and that is no error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

TIMEOUT_S = 30.0  # a busy controller answers within ten
MOST_TASKS = 4_000_000  # of an array, SLURM's own limit
CANCELLED_AT_ONCE = 500  # job numbers in one call: a command line has a length

FINISHED = frozenset(  # in every other state a job waits or runs
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "LAUNCH_FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "RECONFIG_FAIL",
        "REVOKED",
        "TIMEOUT",
    }
)
WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
NEVER = "DependencyNeverSatisfied"  # reason of a job that waits for one that failed

_FIELDS = ("%i", "%T", "%M", "%L", "%u", "%N", "%r")  # the reason last: it alone may hold the separator
_SEPARATOR = "|"


class SlurmError(RuntimeError):
    """A command of SLURM is missing, failed or did not answer."""


@dataclass(frozen=True)
class Queued:
    """One job, or one task of an array, as squeue shows it; also for some minutes after its end."""

    job_id: str  # such as 123 or 123_4
    state: str
    elapsed: str = ""  # such as 1-02:03:04
    left: str = ""  # of its time limit
    user: str = ""
    nodes: str = ""
    reason: str = ""

    @property
    def live(self) -> bool:
        """Whether it waits or runs."""
        return self.state not in FINISHED

    @property
    def waiting(self) -> bool:
        """Whether it has not started, or will start again."""
        return self.state in WAITING


@dataclass(frozen=True)
class Accounted:
    """One job, or one task of an array, as sacct shows it."""

    job_id: str
    state: str
    exit_code: int = 0
    signal: int = 0
    starts: int = 1  # how often it started; a requeue is a new start


def cluster_name() -> str:
    """SLURM's name for the cluster of this machine. Raises SlurmError when SLURM does not answer."""
    text = _run(["scontrol", "show", "config"])
    match = re.search(r"^ClusterName\s*=\s*(\S+)", text, re.MULTILINE)
    if not match:
        raise SlurmError("scontrol show config names no cluster; expected a line ClusterName = NAME")
    return match.group(1)


def queued(job_ids: Iterable[str]) -> Mapping[str, Queued]:
    """What squeue knows of these jobs and array tasks, by number. Raises SlurmError when it does not answer."""
    wanted = _arrays(job_ids)
    if not wanted:
        return {}
    options = ["--noheader", "--array", "--states=all", f"--format={_SEPARATOR.join(_FIELDS)}"]
    try:
        text = _run(["squeue", *options, f"--jobs={','.join(wanted)}"])
    except SlurmError as error:
        if "Invalid job id" in str(error):  # squeue has forgotten all of them
            return {}
        raise
    return {job.job_id: job for line in text.splitlines() for job in _queued(line)}


def submitted() -> int:
    """How many jobs and array tasks of this user wait or run here. Raises SlurmError when squeue does not answer."""
    text = _run(["squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i"])
    return sum(len(expanded(line.strip())) for line in text.splitlines() if _numbered(line.strip()))


def accounted(job_ids: Iterable[str]) -> Mapping[str, Accounted]:
    """What sacct knows of these jobs and array tasks; nothing where the cluster keeps no accounts or sacct fails."""
    wanted = _arrays(job_ids)
    if not wanted:
        return {}
    options = ["--noheader", "--parsable2", "--allocations", "--duplicates", "--format=JobID,State,ExitCode"]
    try:
        text = _run(["sacct", *options, f"--jobs={','.join(wanted)}"])
    except SlurmError:
        return {}
    jobs: dict[str, Accounted] = {}
    for line in text.splitlines():
        for job in _accounted(line):
            before = jobs.get(job.job_id)
            jobs[job.job_id] = replace(job, starts=before.starts + 1 if before else 1)
    return jobs


def cancel(job_ids: Sequence[str]) -> None:
    """Cancel jobs and array tasks; one that has ended is no error. Raises SlurmError when scancel fails."""
    for first in range(0, len(job_ids), CANCELLED_AT_ONCE):
        try:
            _run(["scancel", *job_ids[first : first + CANCELLED_AT_ONCE]])
        except SlurmError as error:
            lines = str(error).partition(": ")[2].split("; ")
            if not all("Invalid job id" in line or "already completing or completed" in line for line in lines):
                raise


def expanded(job_id: str) -> tuple[str, ...]:
    """The array tasks that a number such as 123_[0,4-9:2%2] stands for; any other number alone."""
    match = re.fullmatch(r"([0-9]+)_\[([^\]%]*)(?:%[0-9]+)?\]?", job_id)
    if not match:
        return (job_id,)
    array, ranges = match.groups()
    tasks: list[int] = []
    for part in ranges.split(","):
        span = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9})(?::([0-9]{1,9}))?)?", part)
        if not span:  # cut short with dots: squeue's own limit, which --array lifts
            continue
        low, high, step = (int(number) if number else None for number in span.groups())
        assert low is not None
        tasks += range(low, min(low if high is None else high, MOST_TASKS) + 1, step or 1)
    return tuple(f"{array}_{task}" for task in tasks)


def _numbered(job_id: str) -> bool:
    """Whether a line begins with a job, and not with a remark of SLURM's."""
    return re.match("[0-9]", job_id) is not None


def _queued(line: str) -> Iterator[Queued]:
    parts = [part.strip() for part in line.split(_SEPARATOR, len(_FIELDS) - 1)]
    if len(parts) == len(_FIELDS) and _numbered(parts[0]):
        yield from (Queued(job_id, *parts[1:]) for job_id in expanded(parts[0]))


def _accounted(line: str) -> Iterator[Accounted]:
    parts = line.split("|")
    if len(parts) != 3 or not _numbered(parts[0]) or "." in parts[0]:  # a dot: a step of a job
        return
    state = parts[1].partition(" ")[0].rstrip("+")  # CANCELLED by 1000
    code, _, signal = parts[2].partition(":")
    numbers = (int(number) if re.fullmatch("[0-9]{1,9}", number) else 0 for number in (code, signal))
    status = tuple(numbers)
    yield from (Accounted(job_id, state, *status) for job_id in expanded(parts[0]))


def _arrays(job_ids: Iterable[str]) -> list[str]:
    """The ids of jobs and whole arrays, each once: one call lists all tasks of an array."""
    return list(dict.fromkeys(job_id.partition("_")[0] for job_id in job_ids))


def _run(command: list[str]) -> str:
    """The output of a command, in SLURM's own language and time format. Raises SlurmError, in one line."""
    name = command[0]
    if shutil.which(name) is None:
        raise SlurmError(f"{name} is not on PATH; expected on a login node of a SLURM cluster")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SQUEUE_", "SACCT_", "SCANCEL_"))}
    environment = kept | {"LC_ALL": "C", "SLURM_TIME_FORMAT": "standard"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{name} did not answer within {TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise SlurmError(f"{name} cannot be started: {error.strerror}") from error
    if done.returncode:
        errors = "; ".join(line.strip() for line in done.stderr.splitlines() if line.strip())
        raise SlurmError(f"{name} failed with status {done.returncode}: {errors or 'it printed no reason'}")
    return done.stdout
