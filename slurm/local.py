"""Local: the plan on this machine: a driver (driver.py) works through the arrays, so many tasks at once as told.

It survives the command that started it and holds the lock of its folder while it lives.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..pretrain.record import write_whole
from ..tables.throughput import Work, device_of
from .cluster import Cluster
from .jobs import Job
from .journal import FOLDER, append, new_entries
from .task import Task

PREFIX = "local-"  # of job numbers
DRIVERS = f"{FOLDER}/local"  # below the runs folder
COMING = ("PENDING", "RUNNING")


def is_local(job_id: str) -> bool:
    """Whether the number is that of a task of a driver."""
    return job_id.startswith(PREFIX)


def states(runs: Path) -> dict[str, str]:
    """PENDING or RUNNING, by number, of everything that the living drivers of this machine still have to do."""
    found: dict[str, str] = {}
    for folder in (Path(runs) / DRIVERS).glob("*"):
        if not _alive(folder):
            continue
        with contextlib.suppress(OSError, ValueError):  # not written yet, or just removed
            told = json.loads((folder / "states.json").read_text())
            found.update({number: state for number, state in told.items() if state in COMING})
    return found


def cancel(runs: Path, job_ids: Sequence[str]) -> None:
    """Ask their drivers not to start these tasks, or to stop them; what they saved stays."""
    for job_id in job_ids:
        folder = Path(runs) / DRIVERS / job_id.removeprefix(PREFIX).rpartition("_")[0]
        if folder.is_dir():
            (folder / f"cancel-{job_id}").touch()


def send(jobs: Sequence[Job], runs: Path, data: Path, cluster: Cluster) -> list[str]:
    """Start a driver for the arrays; the number of the first task of each."""
    if not jobs:
        return []
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    folder = Path(runs) / DRIVERS / name
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    specs = [spec for job in jobs for spec in job.specs]
    tasks = [Task.of(spec, runs, data, requeue=False) for spec in specs]
    numbers = [f"{PREFIX}{name}_{place}" for place in range(len(specs))]
    order = {number: dataclasses.asdict(task) for number, task in zip(numbers, tasks, strict=True)}
    slots, gpus = _slots(specs, cluster)
    plan = {"slots": slots, "gpus": gpus, "tasks": order, "setup": list(cluster.setup), "python": cluster.python}
    write_whole(folder / "plan.json", json.dumps(plan).encode())
    tell(folder, dict.fromkeys(numbers, "PENDING"))
    append(runs, new_entries(specs, numbers, runs, cluster=cluster.name, where=socket.gethostname(), logs=folder))
    _start(folder, slots)  # cut short before this, nothing is under way; after it, everything is in the journal
    firsts = itertools.accumulate((len(job.steps) for job in jobs[:-1]), initial=0)
    return [numbers[first] for first in firsts]


def _start(folder: Path, slots: int) -> None:
    """A driver that lives on without us, holding the folder's lock from the start."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SUBMITIT_"))}
    threads = str(max(1, _cores() // slots))
    with open(folder / "lock", "w") as lock, open(folder / "driver.log", "wb") as log:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(  # a shell that leaves it behind: it is no child of ours
            ["sh", "-c", '"$@" &', "sh", sys.executable, "-m", "compmod.slurm.driver", str(folder)],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock.fileno(),),
            env={"OMP_NUM_THREADS": threads} | ours,
        )


def _slots(specs: Sequence[Work], cluster: Cluster) -> tuple[int, int]:
    """How many tasks run at once, and on how many GPUs: one a GPU where work needs them, else one a core."""
    gpus = _gpus() if any(device_of(spec) == "gpu" for spec in specs) else 0
    return cluster.max_parallel or gpus or max(1, _cores() // cluster.cpus_per_gpu), gpus


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus() -> int:
    """GPUs of this machine by NVIDIA's tool, for torch is not to be imported."""
    if shutil.which("nvidia-smi") is None:
        return 0
    done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=60, check=False)
    return sum(line.startswith("GPU") for line in done.stdout.splitlines())


def _alive(folder: Path) -> bool:
    """Whether a driver holds the folder's lock."""
    try:
        with open(folder / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (FileNotFoundError, NotADirectoryError):
        pass
    return False


def tell(folder: Path, now: Mapping[str, str]) -> None:
    """Write how a driver's tasks stand."""
    write_whole(folder / "states.json", json.dumps(now).encode())
