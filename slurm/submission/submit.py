"""Submit: send what tables lack to a cluster as arrays, through submitit, except what is done, queued or running.

The runs folder is locked while jobs are chosen and submitted, and every array is in the journal before the next one is
submitted. So two people, or a command that is stopped and given again, submit nothing twice.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import socket
import tempfile
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.slurm.slurm import SlurmExecutor

from ...pretrain.data.locate import is_there
from ...pretrain.files.printable import printable
from ...pretrain.loggers.names import chosen
from ...tables.paper.table import Table
from ...tables.plan.cost import measured_rates
from ...tables.plan.plan import Plan, plan
from ...transfer.spec import COCO, Detection
from ..clusters.cluster import Cluster
from ..clusters.squeue import NEVER, SlurmError, cancel, cluster_name, queued, submitted
from ..shared_files import make_folder, rights_of
from ..task.task import Task, store
from . import local
from .arrays import Arranged, Job, Wish, arrange, within
from .fitting import fitting
from .journal import FOLDER, append, entries, history, new_entries, ready, submitting, user
from .notify import REFUSED, notify_text
from .script import dependency, sbatch_text, warning_s

_TOO_MANY = "SubmitJob|job submit limit|MaxJobCount|temporarily un"  # in what sbatch says of a limit on submitted tasks
_LIMIT = "max_submitted in the cluster's entry lets submit send no more than fits (MaxSubmitJobs)"
KEPT = ("SLURM_CONF", "SLURM_CLUSTERS")  # variables of SLURM that a job may inherit from the job that submits it


@dataclass(frozen=True)
class Submission:
    """The plan, and the job id of every array that was submitted."""

    plan: Plan
    arranged: Arranged
    numbers: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()  # on damaged files, and on what does not fit a GPU


def submit(
    tables: Sequence[Table],
    runs: Path,
    data: Path,
    cluster: Cluster,
    wish: Wish | None = None,
    *,
    dry_run: bool = False,
    hardware: str = "",
) -> Submission:
    """Submit what `tables` lack below `runs`, each spec once, and return; with `dry_run` only plan it.

    Raises ValueError where another person submits now, where a journal cannot be read or where a run does not fit the
    memory of a GPU, and SlurmError where SLURM
    refuses or does not answer: what was submitted until then stays, and the next call continues from there.
    """
    runs = Path(runs).resolve()
    rates = measured_rates(runs, hardware)
    wish = wish or Wish()
    if not cluster.python:  # else the jobs look what is installed there
        chosen(wish.logger)
    remarks: list[str] = []
    if dry_run:
        planned = fitting(plan(tables, runs, rates), cluster, wish, remarks, dry_run=True)
        remarks += _absent_data(planned, data)
        arranged = _fitting_limits(planned, runs, cluster, wish, remarks, strict=False)
        return Submission(planned, arranged, remarks=tuple(remarks))
    if not cluster.local:
        _require("sbatch")
    runs.mkdir(parents=True, exist_ok=True)
    with rights_of(runs), submitting(runs):
        planned = fitting(plan(tables, runs, rates), cluster, wish, remarks)
        remarks += _absent_data(planned, data)
        arranged = _fitting_limits(planned, runs, cluster, wish, remarks)
        if cluster.local:
            numbers = local.send(arranged.jobs, runs, data, cluster)
        else:
            numbers = _send(arranged.jobs, runs, data, cluster, remarks)
        return Submission(planned, arranged, tuple(numbers), tuple(remarks))


def _fitting_limits(
    plan: Plan, runs: Path, cluster: Cluster, wish: Wish, remarks: list[str], *, strict: bool = True
) -> Arranged:
    """The arrays that a plan needs beside what is under way, as many tasks as the cluster takes now."""
    waiting = under_way(plan, runs, cluster, remarks, strict=strict)
    arranged = arrange(plan, cluster, waiting, wish)
    if not cluster.max_submitted or not arranged.jobs:
        return arranged
    present = 0
    try:
        present = submitted()
    except SlurmError as error:
        if strict:
            raise
        remarks.append(f"{error}; max_submitted is compared as if nothing of yours waited or ran")
    own = bool(cluster.notify)  # the job that calls it counts, too
    return within(arranged, cluster.max_submitted - present - own, waiting)


def _absent_data(plan: Plan, data: Path) -> list[str]:
    """A remark on data that are not where the jobs will look for them; a node may have what this machine has not."""
    absent: dict[str, None] = {}
    for spec in (step.spec for step in plan.steps):
        if isinstance(spec, Detection):
            there = spec.data != COCO or (data / spec.images_folder).is_dir()
        else:
            there = is_there(spec.run.data, data, spec.run.copy)
        absent |= {} if there else {spec.data_name: None}
    where = f"below {data}, where the jobs look for them; compmod data NAME fetches what may be downloaded"
    return [f"no {', '.join(absent)} {where}"] if absent else []


def under_way(
    plan: Plan, runs: Path, cluster: Cluster, remarks: list[str] | None = None, *, strict: bool = True
) -> dict[str, str]:
    """Digests of a plan's steps that wait or run, by journal and queues, with the job that others can wait for, or "".

    A job of another cluster or machine cannot be looked up from here; it counts as under way until its record says
    otherwise. Raises SlurmError when SLURM does not answer, and ValueError where a journal cannot be read; without
    `strict` it then takes nothing as under way. `remarks` receives one for every damaged file.
    """
    remarks = [] if remarks is None else remarks
    if strict:
        history(runs)  # raises where a journal cannot be read: its jobs may be queued
        local.states(runs)
    lacking = {step.spec.digest for step in plan.steps}
    noted = {digest: entry for digest, entry in entries(runs, remarks).items() if digest in lacking}
    here: dict[str, Collection[str]] = {socket.gethostname(): local.states(runs, remarks)}  # job ids by host
    waiting: dict[str, str] = {}
    slurms = [entry for entry in noted.values() if not local.is_local(entry.job_id)]
    if slurms:
        with contextlib.nullcontext() if strict else contextlib.suppress(SlurmError):
            where = cluster_name()
            answer = queued(entry.job_id for entry in slurms if entry.where == where)
            here[where] = {number for number, job in answer.items() if job.live and job.reason != NEVER}
    for digest, entry in noted.items():
        if entry.where not in here:
            waiting[digest] = ""
        elif entry.job_id in here[entry.where]:
            waiting[digest] = entry.job_id if local.is_local(entry.job_id) == cluster.local else ""
    return waiting


class _Executor(SlurmExecutor):
    """Submitit's executor for a script that exists already; it pickles nothing."""

    text = ""

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        return self.text


def _sbatch(text: str) -> str:
    """Give sbatch a script; returns the id of its job. The script is never in a folder that others may write.

    Raises SlurmError, in one line, where sbatch refuses.
    """
    with (
        tempfile.TemporaryDirectory(prefix="compmod-") as private,
        clean_environment(),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        executor = _Executor(private)
        executor.text = text
        try:
            return executor._submit_command("").job_id
        except (FailedJobError, FailedSubmissionError) as error:
            raise SlurmError(printable(" ".join(str(error).split()))) from error


def _send(jobs: Sequence[Job], runs: Path, data: Path, cluster: Cluster, remarks: list[str]) -> list[str]:
    """Submit the arrays one after another and enter each into the journal at once; returns their job ids."""
    if not jobs:
        return []
    where, numbers, files = cluster_name(), list[str](), list[Path]()
    ready(runs)
    folder = runs / FOLDER / "jobs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{user()}-{uuid.uuid4().hex[:6]}"
    make_folder(runs, folder.parent)
    folder.mkdir()
    folder.chmod(runs.stat().st_mode & 0o755 | 0o700)
    try:
        for job in jobs:
            settings = {
                "minutes": job.resources.minutes,
                "warning_s": warning_s(job.resources.minutes, cluster),
                "requeue": cluster.requeue,
                "recompute": job.recompute,
                "logger": " ".join(job.logger),
            }
            files.append(store([Task.of(spec, runs, data, **settings) for spec in job.specs], folder))
            text = sbatch_text(job, cluster, folder, dependency(job, jobs, numbers), files[-1])
            array = f"array {len(files)} of {len(jobs)} ({job.kind}, {len(job.steps)} tasks)"
            with _undisturbed():
                try:
                    number = _sbatch(text)
                except SlurmError as error:
                    before = f"{len(numbers)} were submitted, and the same command goes on"
                    limit = f"; {_LIMIT}" if re.search(_TOO_MANY, str(error)) else ""
                    raise SlurmError(f"sbatch refused {array}: {error}; {before}{limit}") from error
                try:
                    ids = [number] if len(job.steps) == 1 else [f"{number}_{task}" for task in range(len(job.steps))]
                    append(runs, new_entries(job.steps, ids, runs, cluster=cluster.name, where=where, logs=folder))
                except (ValueError, OSError) as error:
                    raise SlurmError(
                        f"{array} could not be noted: {error}; {_taken_back(number)}; {len(numbers)} were submitted"
                    ) from error
                with contextlib.suppress(OSError):  # for people to read; SLURM has its own copy
                    (folder / f"{number}_submission.sh").write_text(text)
            numbers.append(number)
    finally:
        if cluster.notify and numbers:
            try:
                _sbatch(notify_text(cluster, runs, folder, files[: len(numbers)], numbers))
            except SlurmError as error:
                remarks.append(f"{REFUSED}: sbatch refused its job: {error}")
    return numbers


def _taken_back(number: str) -> str:
    """Cancel a job that is in no journal; returns the outcome in words."""
    try:
        cancel([number])
    except SlurmError as error:
        return f"job {number} could not be cancelled ({error}): do it by scancel {number}"
    return f"job {number} was cancelled"


def _require(command: str) -> None:
    if shutil.which(command) is None:
        raise SlurmError(
            f"{command} is not on PATH; submit on a login node of a SLURM cluster, or with --cluster local"
        )


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Block Ctrl-C and similar signals between sbatch and the journal, for sbatch too: so no queued job is unknown."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def clean_environment() -> Iterator[None]:
    """Remove the variables of a job that this command itself may run in."""
    removed = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith(("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_")) and name not in KEPT
    }
    try:
        yield
    finally:
        os.environ.update(removed)
