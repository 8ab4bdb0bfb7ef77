"""Submit: send what tables lack to a cluster as arrays, through submitit, except what is done, queued or running.

The runs folder is locked while jobs are chosen and submitted, and every array is in the journal before the next one is
submitted. So two people, or a command that is stopped and given again, submit nothing twice.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.slurm.slurm import SlurmExecutor, _make_sbatch_string

from ...pretrain.data.locate import is_there
from ...pretrain.files.printable import printable
from ...pretrain.loggers.names import chosen
from ...tables.paper.table import Table
from ...tables.plan.cost import measured_rates
from ...tables.plan.plan import Plan, plan
from ...transfer.spec import COCO, Detection
from ..clusters.cluster import Cluster
from ..clusters.squeue import NEVER, SlurmError, cancel, cluster_name, queued
from ..shared_files import make_folder, rights_of
from ..task.task import PROGRAM, Task, store
from . import local
from .arrays import Arranged, Job, Wish, arrange
from .fitting import fitting
from .journal import FOLDER, append, entries, history, new_entries, ready, submitting, user

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
        arranged = arrange(planned, cluster, under_way(planned, runs, cluster, remarks, strict=False), wish)
        return Submission(planned, arranged, remarks=tuple(remarks))
    if not cluster.local:
        _require("sbatch")
    runs.mkdir(parents=True, exist_ok=True)
    with rights_of(runs), submitting(runs):
        planned = fitting(plan(tables, runs, rates), cluster, wish, remarks)
        remarks += _absent_data(planned, data)
        arranged = arrange(planned, cluster, under_way(planned, runs, cluster, remarks), wish)
        send = local.send if cluster.local else _send
        numbers = tuple(send(arranged.jobs, runs, data, cluster))
        return Submission(planned, arranged, numbers, tuple(remarks))


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


def sbatch_text(job: Job, cluster: Cluster, folder: Path, dependency: str = "", file: Path | None = None) -> str:
    """The script of an array for sbatch, as submitit writes it; `file` holds the tasks, logs go to `folder`."""
    command = _command(cluster, file or folder / "tasks-SHA256.json")
    given = _parameters(job, cluster, dependency) | ({"map_count": len(job.steps)} if len(job.steps) > 1 else {})
    return _make_sbatch_string(command=command, folder=folder, **given)


class _Executor(SlurmExecutor):
    """Submitit's executor for a script that exists already; it pickles nothing."""

    text = ""

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        return self.text


def _sbatch(text: str) -> str:
    """Give sbatch a script; returns the id of its job. The script is never in a folder that others may write."""
    with tempfile.TemporaryDirectory(prefix="compmod-") as private:
        executor = _Executor(private)
        executor.text = text
        return executor._submit_command("").job_id


def _command(cluster: Cluster, file: Path) -> str:
    python = cluster.python or shlex.quote(sys.executable)
    return f"{python} {PROGRAM} {shlex.quote(str(file))} ${{SLURM_ARRAY_TASK_ID:-0}}"


def _parameters(job: Job, cluster: Cluster, dependency: str) -> dict[str, Any]:
    """The parameters of submitit's executor."""
    given = job.resources
    processes = max(1, given.gpus_per_node)
    asked: dict[str, Any] = {
        "job_name": f"compmod-{job.kind}",
        "time": given.minutes,
        "nodes": given.nodes,
        "ntasks_per_node": processes,
        "cpus_per_task": given.cpus,
        "signal_delay_s": warning_s(given.minutes, cluster),
        "array_parallelism": cluster.max_parallel or len(job.steps),
        "stderr_to_stdout": True,
        # srun does not take the cores from sbatch (since 22.05); where one process dies, others would wait for hours
        "srun_args": [f"--cpus-per-task={given.cpus}", *["--kill-on-bad-exit=1"][: given.processes > 1]],
        "additional_parameters": {
            "requeue" if cluster.requeue else "no-requeue": True,
            "kill-on-invalid-dep": "yes",
            **{name: value for name, value in cluster.sbatch if value is not False},
        },
    }
    if given.gpus_per_node:
        count = str(given.gpus_per_node)
        asked["gpus_per_node"] = f"{cluster.gpu_type}:{count}" if cluster.gpu_type else count
    if cluster.mem_gb:
        asked["mem"] = f"{cluster.mem_gb * processes * 1024:.0f}M"
    for name in ("partition", "account", "qos", "constraint"):
        if getattr(cluster, name):
            asked[name] = getattr(cluster, name)
    if cluster.setup:
        asked["setup"] = list(cluster.setup)
    if dependency:
        asked["dependency"] = dependency
    return asked


def warning_s(minutes: int, cluster: Cluster) -> int:
    """When a job gets its warning, before its limit: as the cluster says, but at most a quarter of a short job."""
    return min(cluster.warning_s, 15 * minutes)


def _send(jobs: Sequence[Job], runs: Path, data: Path, cluster: Cluster) -> list[str]:
    """Submit the arrays one after another and enter each into the journal at once; returns their job ids."""
    if not jobs:
        return []
    where, numbers = cluster_name(), list[str]()
    ready(runs)
    folder = runs / FOLDER / "jobs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{user()}-{uuid.uuid4().hex[:6]}"
    make_folder(runs, folder.parent)
    folder.mkdir()
    folder.chmod(runs.stat().st_mode & 0o755 | 0o700)
    for index, job in enumerate(jobs):
        settings = {
            "minutes": job.resources.minutes,
            "warning_s": warning_s(job.resources.minutes, cluster),
            "requeue": cluster.requeue,
            "recompute": job.recompute,
            "logger": " ".join(job.logger),
        }
        file = store([Task.of(spec, runs, data, **settings) for spec in job.specs], folder)
        text = sbatch_text(job, cluster, folder, dependency(job, jobs, numbers), file)
        array = f"array {index + 1} of {len(jobs)} ({job.kind}, {len(job.steps)} tasks)"
        with _undisturbed(), clean_environment(), contextlib.redirect_stderr(io.StringIO()):
            try:
                number = _sbatch(text)
            except (FailedJobError, FailedSubmissionError) as error:
                message = printable(" ".join(str(error).split()))
                raise SlurmError(
                    f"sbatch refused {array}: {message}; {index} were submitted, and the same command goes on"
                ) from error
            try:
                ids = [number] if len(job.steps) == 1 else [f"{number}_{task}" for task in range(len(job.steps))]
                append(runs, new_entries(job.steps, ids, runs, cluster=cluster.name, where=where, logs=folder))
            except (ValueError, OSError) as error:
                raise SlurmError(
                    f"{array} could not be noted: {error}; {_taken_back(number)}; {index} were submitted"
                ) from error
            with contextlib.suppress(OSError):  # for people to read; SLURM has its own copy
                (folder / f"{number}_submission.sh").write_text(text)
        numbers.append(number)
    return numbers


def _taken_back(number: str) -> str:
    """Cancel a job that is in no journal; returns the outcome in words."""
    try:
        cancel([number])
    except SlurmError as error:
        return f"job {number} could not be cancelled ({error}): do it by scancel {number}"
    return f"job {number} was cancelled"


def dependency(job: Job, jobs: Sequence[Job], numbers: Sequence[str]) -> str:
    """The dependency of a job as sbatch takes it; `numbers` are the ids of the jobs submitted so far."""
    if job.corresponds is not None:
        kind = "aftercorr" if len(jobs[job.corresponds].steps) > 1 else "afterok"
        return f"{kind}:{numbers[job.corresponds]}"
    return ":".join(["afterok", *job.after]) if job.after else ""


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
