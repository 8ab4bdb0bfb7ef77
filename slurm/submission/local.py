"""Local: jobs on this machine: a driver, `local_driver`, works through the arrays, several tasks at once.

The driver survives the command that started it, and holds the lock of its folder until it ends.
"""

from __future__ import annotations

import dataclasses
import fcntl
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ...pretrain.files.stored_json import parse_object
from ...pretrain.files.whole_file import write_whole
from ...pretrain.runtime.launch import usable_cores
from ...pretrain.specs.measurement import Work
from ..clusters.cluster import Cluster
from ..shared_files import Unreadable, blocked, make_folder, names_in, read_regular
from ..task.task import Task, store
from .arrays import Job
from .journal import FOLDER, append, history, new_entries
from .notify import call

PREFIX = "local-"  # of job numbers
DRIVERS = f"{FOLDER}/local"  # below the runs folder
COMING = ("PENDING", "RUNNING")


def is_local(job_id: str) -> bool:
    """Whether a job id is that of a driver's task."""
    return job_id.startswith(PREFIX)


def states(runs: Path, remarks: list[str] | None = None) -> dict[str, str]:
    """PENDING or RUNNING, by job id, of every task that the drivers of this machine have not finished.

    Where the file of a driver is damaged, all its tasks count as pending. Raises Unreadable where the folder of drivers
    cannot be read; given `remarks`, it adds a remark instead.
    """
    unfinished: dict[str, str] = {}
    damaged: list[str] = []
    try:
        for name in names_in(Path(runs) / DRIVERS):
            folder = Path(runs) / DRIVERS / name
            if not folder.is_dir() or not _alive(folder):
                continue
            try:
                stored = parse_object(read_regular(folder / "states.json"), folder / "states.json")
                unfinished.update({number: state for number, state in stored.items() if state in COMING})
            except FileNotFoundError:  # not written yet, or just removed
                continue
            except ValueError as error:
                damaged.append(f"{error}; all tasks of its driver count as pending")
                given = {entry.job_id for entry in history(runs, []) if entry.job_id.startswith(f"{PREFIX}{name}_")}
                unfinished.update(dict.fromkeys(given, "PENDING"))
    except Unreadable as error:
        if remarks is None:
            raise
        damaged.append(f"{error}; what waits or runs there is not known")
    if remarks is not None:
        remarks += damaged
    return unfinished


def cancel(runs: Path, job_ids: Sequence[str]) -> None:
    """Ask the drivers not to start these tasks, or to stop them; what they saved stays.

    Raises Unreadable where a driver belongs to another user.
    """
    for wish in (_wish(runs, job_id) for job_id in job_ids):
        if wish.parent.is_dir():
            try:
                wish.touch()
            except OSError as error:
                raise blocked("write", wish, error) from error


def cancelled(runs: Path, job_ids: Iterable[str]) -> list[str]:
    """Those of these tasks that `cancel` was called for."""
    return [job_id for job_id in job_ids if _wish(runs, job_id).is_file()]


def _wish(runs: Path, job_id: str) -> Path:
    """The file by which a driver learns that a task is cancelled."""
    return Path(runs) / DRIVERS / job_id.removeprefix(PREFIX).rpartition("_")[0] / f"cancel-{job_id}"


def send(jobs: Sequence[Job], runs: Path, data: Path, cluster: Cluster) -> list[str]:
    """Start a driver for the arrays; returns the job id of the first task of each."""
    if not jobs:
        return []
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    folder = Path(runs) / DRIVERS / name
    make_folder(runs, folder.parent)
    folder.mkdir()
    folder.chmod(Path(runs).stat().st_mode & 0o755 | 0o700)
    specs = [spec for job in jobs for spec in job.specs]
    tasks = [
        Task.of(spec, runs, data, requeue=False, recompute=job.recompute, logger=" ".join(job.logger))
        for job in jobs
        for spec in job.specs
    ]
    numbers = [f"{PREFIX}{name}_{index}" for index in range(len(specs))]
    order = {number: dataclasses.asdict(task) for number, task in zip(numbers, tasks, strict=True)}
    slots, gpus = _slots(specs, cluster)
    file = store(tasks, folder)
    plan = {
        "slots": slots,
        "gpus": gpus,
        "tasks": order,
        "file": str(file),
        "setup": list(cluster.setup),
        "python": cluster.command,
        "notify": "\n".join([*cluster.setup, call(cluster, Path(runs), [file])]) if cluster.notify else "",
    }
    write_states(folder, dict.fromkeys(numbers, "PENDING"))
    steps = [step for job in jobs for step in job.steps]
    append(runs, new_entries(steps, numbers, runs, cluster=cluster.name, where=socket.gethostname(), logs=folder))
    _start(
        folder, slots, json.dumps(plan).encode()
    )  # cut short before this, nothing is under way; after it, everything is in the journal
    firsts = itertools.accumulate((len(job.steps) for job in jobs[:-1]), initial=0)
    return [numbers[first] for first in firsts]


def _start(folder: Path, slots: int, plan: bytes) -> None:
    """Start a driver that survives this process and holds the folder's lock from the start.

    It inherits the plan as an open file, because the plan holds commands: others could change a file below the runs
    folder.
    """
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SUBMITIT_"))}
    threads = str(max(1, usable_cores() // slots))
    with (
        open(folder / "lock", "x") as lock,  # "x" makes a new file, and follows no link of others
        open(folder / "driver.log", "xb") as log,
        tempfile.TemporaryFile() as given,  # without a name; a pipe holds too little
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        given.write(plan)
        given.seek(0)
        subprocess.run(  # the shell ends at once, so the driver is no child of this process
            [
                "sh",
                "-c",
                '"$@" &',
                "sh",
                sys.executable,
                "-P",
                "-m",
                "compmod.slurm.submission.local_driver",
                str(folder),
                str(given.fileno()),
            ],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock.fileno(), given.fileno()),
            env={"OMP_NUM_THREADS": threads} | ours | {"PYTHONSAFEPATH": "1"},  # also of submitit's controller
        )


def _slots(specs: Sequence[Work], cluster: Cluster) -> tuple[int, int]:
    """How many tasks run at once, and on how many GPUs: one task a GPU where a task needs one, else one a core."""
    gpus = _gpus() if any(spec.device == "gpu" for spec in specs) else 0
    return cluster.max_parallel or gpus or max(1, usable_cores() // cluster.cpus_per_gpu), gpus


def _gpus() -> int:
    """GPUs of this machine, by NVIDIA's tool, because this must not import torch."""
    if shutil.which("nvidia-smi") is None:
        return 0
    done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=60, check=False)
    return sum(line.startswith("GPU") for line in done.stdout.splitlines())


def _alive(folder: Path) -> bool:
    """Whether a driver holds the folder's lock. Raises Unreadable where the lock cannot be opened."""
    try:
        lock = os.open(folder / "lock", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise blocked("read", folder / "lock", error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def write_states(folder: Path, states: Mapping[str, str]) -> None:
    """Write the states of a driver's tasks, by job id."""
    write_whole(folder / "states.json", json.dumps(states).encode())
