"""Local: the plan on this machine, by submitit's local executor: a driver of its own works through the arrays.

The driver, `python -m compmod.slurm.local FOLDER`, survives the command that started it and holds a lock while it
lives. It runs so many tasks at once as there are slots; slots belong to the machine, so several drivers share them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import itertools
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from submitit.local.local import LocalExecutor, LocalJob

from ..pretrain.record import Record, write_whole
from ..pretrain.run import Run
from ..tables.throughput import Work, device_of
from .cluster import Cluster
from .jobs import Job
from .journal import FOLDER, append, entries, new_entries
from .signals import LOCAL_NUMBER
from .task import Task

PREFIX = "local-"  # of job numbers
DRIVERS = f"{FOLDER}/local"  # below the runs folder
COMING = ("PENDING", "RUNNING")
START = "-u -m compmod.slurm.start"
POLL_S = 0.2
FOREVER_MIN = 10_000_000  # submitit's local executor knows no job without a limit


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
    tasks = [
        Task.of(spec, runs, data, device="cpu" if device_of(spec) == "cpu" else "auto", requeue=False) for spec in specs
    ]
    numbers = [f"{PREFIX}{name}_{place}" for place in range(len(specs))]
    order = {number: dataclasses.asdict(task) for number, task in zip(numbers, tasks, strict=True)}
    slots, gpus = _slots(specs, cluster)
    plan = {"slots": slots, "gpus": gpus, "tasks": order, "setup": list(cluster.setup), "python": cluster.python}
    write_whole(folder / "plan.json", json.dumps(plan).encode())
    _tell(folder, dict.fromkeys(numbers, "PENDING"))
    append(runs, new_entries(specs, numbers, runs, cluster=cluster.name, where=socket.gethostname(), logs=folder))
    _start(folder, slots)  # cut short before this, nothing is under way; after it, everything is in the journal
    firsts = itertools.accumulate((len(job.steps) for job in jobs[:-1]), initial=0)
    return [numbers[first] for first in firsts]


@dataclass
class Driver:
    """One submission's work."""

    folder: Path
    tasks: dict[str, Task]  # by number
    slots: int
    gpus: int
    executor: LocalExecutor
    states: dict[str, str] = field(default_factory=dict)
    running: dict[str, tuple[LocalJob[Any], int]] = field(default_factory=dict)  # with the lock of its slot
    told: set[str] = field(default_factory=set)  # to stop
    stopping: bool = False

    def __post_init__(self) -> None:
        self.states = dict.fromkeys(self.tasks, "PENDING")
        self.records = {number: Record(Path(task.runs), task.decoded()) for number, task in self.tasks.items()}
        # measurements first: they are short, and end what was begun
        self.order = sorted(self.tasks, key=lambda number: isinstance(self.records[number].spec, Run))

    def work(self) -> None:
        """Until everything has ended."""
        while any(state in COMING for state in self.states.values()):
            before = dict(self.states)
            self._heed()
            self._gather()
            self._launch()
            if self.states != before:
                _tell(self.folder, self.states)
            time.sleep(POLL_S)

    def _heed(self) -> None:
        """Stop what is to be stopped, each once."""
        asked = {path.name.removeprefix("cancel-") for path in self.folder.glob("cancel-*")}
        for number in (set(self.tasks) if self.stopping else asked & set(self.tasks)) - self.told:
            self.told.add(number)
            if number in self.running:
                process = self.running[number][0]._process
                assert process is not None, "we started it"
                process.send_signal(signal.SIGTERM)  # which submitit's controller passes on
            elif self.states[number] == "PENDING":
                self.states[number] = "CANCELLED"

    def _gather(self) -> None:
        """Note what has ended."""
        for number, (job, slot) in list(self.running.items()):
            if job.done():
                ended = "CANCELLED" if number in self.told else "FAILED"
                self.states[number] = "COMPLETED" if self.records[number].status == "done" else ended
                del self.running[number]
                os.close(slot)

    def _launch(self) -> None:
        """Start what can start, as long as there are slots."""
        for number in self.order:
            if self.states[number] != "PENDING":
                continue
            slot = self._take_slot()
            if slot is None:
                return
            place, lock = slot
            if not self._ready(number):
                os.close(lock)
                continue
            if self.gpus:
                self.executor.update_parameters(gpus_per_node=1, visible_gpus=[place % self.gpus])
            os.environ[LOCAL_NUMBER] = number
            job: Any = self.executor.submit(self.tasks[number])  # a LocalJob, says the executor's code, not its types
            (self.folder / f"{number}_0_log.out").symlink_to(job.paths.stdout.name)
            self.running[number] = (job, lock)
            self.states[number] = "RUNNING"

    def _ready(self, number: str) -> bool:
        """Whether what it measures is done; where nobody does that any more, this fails."""
        spec, runs = self.records[number].spec, Path(self.tasks[number].runs)
        if isinstance(spec, Run):
            return True
        status = Record(runs, spec.run).status
        if status in ("done", "running"):
            return status == "done"
        ours = {task.digest: self.states[each] for each, task in self.tasks.items()}
        noted = entries(runs).get(spec.run.digest)
        if ours.get(spec.run.digest) not in COMING and not (noted and noted.job_id in states(runs)):
            self.states[number] = "FAILED"
        return False

    def _take_slot(self) -> tuple[int, int] | None:
        """A free slot of the machine, and its lock, which the system frees however this process ends."""
        for place in range(self.slots):
            lock = os.open(self.folder.parent / f"slot-{place}", os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return place, lock
            except BlockingIOError:
                os.close(lock)
        return None


class _Executor(LocalExecutor):
    """Submitit's, but a task is our own program."""

    @property
    def _submitit_command_str(self) -> str:
        return f"{self.python} {START} {shlex.quote(str(self.folder))}"


def drive(folder: Path) -> None:
    """The driver's main function; the lock came with it."""
    plan = json.loads((folder / "plan.json").read_text())
    executor = _Executor(folder, python=plan["python"] or None)
    executor.update_parameters(timeout_min=FOREVER_MIN, stderr_to_stdout=True, setup=tuple(plan["setup"]))
    tasks = {number: Task(**fields) for number, fields in plan["tasks"].items()}
    driver = Driver(folder, tasks, plan["slots"], plan["gpus"], executor)

    def stop(number: int, frame: Any) -> None:
        driver.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    driver.work()


def _start(folder: Path, slots: int) -> None:
    """A driver that lives on without us, holding the folder's lock from the start."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SUBMITIT_"))}
    threads = str(max(1, _cores() // slots))
    with open(folder / "lock", "w") as lock, open(folder / "driver.log", "wb") as log:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.Popen(
            [sys.executable, "-m", "compmod.slurm.local", str(folder)],
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


def _tell(folder: Path, now: Mapping[str, str]) -> None:
    write_whole(folder / "states.json", json.dumps(now).encode())


if __name__ == "__main__":
    drive(Path(sys.argv[1]))
