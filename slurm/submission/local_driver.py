"""Local driver: the process that works through one submission on this machine; `local.send` starts it.

It runs as `python -m compmod.slurm.submission.local_driver FOLDER FD`.

It reads the plan from the open file FD. Submitit's local executor runs each task. Slots belong to the runs folder, so
several drivers share them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from submitit.local.local import LocalExecutor, LocalJob

from ...pretrain.files.stored_json import parse_object
from ...pretrain.records.record import Record
from ..shared_files import share
from ..task.signals import LOCAL_NUMBER
from ..task.task import PROGRAM, Task
from .journal import entries
from .local import COMING, states, write_states
from .notify import RESOURCES as NOTIFY

POLL_S = 0.2
FOREVER_MIN = 10_000_000  # submitit's local executor needs a limit


@dataclass
class Driver:
    """The tasks of one submission, and which of them run."""

    folder: Path
    tasks: dict[str, Task]  # by number
    slots: int
    gpus: int
    executor: Any  # as _Executor
    states: dict[str, str] = field(default_factory=dict)
    running: dict[str, tuple[LocalJob[Any], int]] = field(default_factory=dict)  # with the lock of its slot
    stopped: set[str] = field(default_factory=set)  # tasks that were asked to stop
    stopping: bool = False

    def __post_init__(self) -> None:
        self.states = dict.fromkeys(self.tasks, "PENDING")
        self.records = {number: Record(Path(task.runs), task.decoded()) for number, task in self.tasks.items()}
        # measurements first: they are short, and complete earlier pretrainings
        self.order = sorted(self.tasks, key=lambda number: self.records[number].spec.kind == "pretraining")

    def work(self) -> None:
        """Run until every task has ended."""
        while any(state in COMING for state in self.states.values()):
            before = dict(self.states)
            self._stop_tasks()
            self._collect_ended()
            self._launch()
            if self.states != before:
                write_states(self.folder, self.states)
            time.sleep(POLL_S)

    def _stop_tasks(self) -> None:
        """Send a signal, once, to every task that must stop."""
        asked = {path.name.removeprefix("cancel-") for path in self.folder.glob("cancel-*")}
        for number in (set(self.tasks) if self.stopping else asked & set(self.tasks)) - self.stopped:
            self.stopped.add(number)
            if number in self.running:
                process = self.running[number][0]._process
                assert process is not None, "we started it"
                process.send_signal(signal.SIGTERM)  # which submitit's controller passes on
            elif self.states[number] == "PENDING":
                self.states[number] = "CANCELLED"

    def _collect_ended(self) -> None:
        """Update the states of tasks that have ended."""
        for number, (job, slot) in list(self.running.items()):
            if job.done():
                ended = "CANCELLED" if number in self.stopped else "FAILED"
                self.states[number] = "COMPLETED" if self.records[number].status == "done" else ended
                del self.running[number]
                os.close(slot)

    def _launch(self) -> None:
        """Start tasks that can start, while there are free slots."""
        for number in self.order:
            if self.states[number] != "PENDING":
                continue
            slot = self._take_slot()
            if slot is None:
                return
            index, lock = slot
            if not self._ready(number):
                os.close(lock)
                continue
            if self.gpus:
                self.executor.update_parameters(gpus_per_node=1, visible_gpus=[index % self.gpus])
            os.environ[LOCAL_NUMBER] = number
            job = self.executor.launch(number)
            (self.folder / f"{number}_0_log.out").symlink_to(job.paths.stdout.name)
            self.running[number] = (job, lock)
            self.states[number] = "RUNNING"

    def _ready(self, number: str) -> bool:
        """Whether the pretraining that a task measures is done; the task fails where no job will finish that."""
        spec, runs = self.records[number].spec, Path(self.tasks[number].runs)
        if spec.kind == "pretraining":
            return True
        status = Record(runs, spec.run).status
        if status in ("done", "running"):
            return status == "done"
        ours = {task.digest: self.states[other] for other, task in self.tasks.items()}
        noted = entries(runs, remarks=[]).get(spec.run.digest)
        if ours.get(spec.run.digest) not in COMING and not (noted and noted.job_id in states(runs, remarks=[])):
            self.states[number] = "FAILED"
        return False

    def _take_slot(self) -> tuple[int, int] | None:
        """A free slot of the machine and its lock; the system frees the lock however this process ends."""
        for index in range(self.slots):
            path = self.folder.parent / f"slot-{index}"
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                share(self.folder.parent, path, 0o666)
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return index, lock
            except BlockingIOError:
                os.close(lock)
        return None


class _Executor(LocalExecutor):
    """Submitit's executor for tasks that are our own program; it pickles nothing."""

    file = Path()  # of the tasks

    def launch(self, number: str) -> LocalJob[Any]:
        """Start a task; its job id ends with its index in the file of tasks."""
        index = number.rpartition("_")[2]
        command = f"exec {self.python} {PROGRAM} {shlex.quote(str(self.file))} {index}"
        return self._submit_command(shlex.join(["sh", "-c", command]))  # submitit's controller is no shell


def drive(folder: Path, plan: dict[str, Any]) -> None:
    """The driver's main function; it inherits the lock."""
    executor = _Executor(folder, python=plan["python"])
    executor.file = Path(plan["file"])
    executor.update_parameters(timeout_min=FOREVER_MIN, stderr_to_stdout=True, setup=tuple(plan["setup"]))
    tasks = {number: Task(**fields) for number, fields in plan["tasks"].items()}
    driver = Driver(folder, tasks, plan["slots"], plan["gpus"], executor)

    def stop(number: int, frame: Any) -> None:
        driver.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    driver.work()
    if plan["notify"]:
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(["sh", "-c", plan["notify"]], timeout=60 * NOTIFY.minutes, check=False)


if __name__ == "__main__":
    with open(int(sys.argv[2]), "rb") as given:
        drive(Path(sys.argv[1]), parse_object(given.read(), "the plan of a driver"))
