"""Driver: works through one submission on this machine; local.py starts it.

It runs as `python -m compmod.slurm.submission.local_driver FOLDER FD`.

The plan comes through the open file FD. Submitit's local executor runs each task. Slots belong to the runs folder, so
that several drivers share them.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
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
from .local import COMING, states, tell

POLL_S = 0.2
FOREVER_MIN = 10_000_000  # submitit's local executor knows no job without a limit


@dataclass
class Driver:
    """One submission's work."""

    folder: Path
    tasks: dict[str, Task]  # by number
    slots: int
    gpus: int
    executor: Any  # as _Executor
    states: dict[str, str] = field(default_factory=dict)
    running: dict[str, tuple[LocalJob[Any], int]] = field(default_factory=dict)  # with the lock of its slot
    told: set[str] = field(default_factory=set)  # to stop
    stopping: bool = False

    def __post_init__(self) -> None:
        self.states = dict.fromkeys(self.tasks, "PENDING")
        self.records = {number: Record(Path(task.runs), task.decoded()) for number, task in self.tasks.items()}
        # measurements first: they are short, and end what was begun
        self.order = sorted(self.tasks, key=lambda number: self.records[number].spec.kind == "pretraining")

    def work(self) -> None:
        """Until everything has ended."""
        while any(state in COMING for state in self.states.values()):
            before = dict(self.states)
            self._heed()
            self._gather()
            self._launch()
            if self.states != before:
                tell(self.folder, self.states)
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
            job = self.executor.launch(number)
            (self.folder / f"{number}_0_log.out").symlink_to(job.paths.stdout.name)
            self.running[number] = (job, lock)
            self.states[number] = "RUNNING"

    def _ready(self, number: str) -> bool:
        """Whether what it measures is done; where nobody does that any more, this fails."""
        spec, runs = self.records[number].spec, Path(self.tasks[number].runs)
        if spec.kind == "pretraining":
            return True
        status = Record(runs, spec.run).status
        if status in ("done", "running"):
            return status == "done"
        ours = {task.digest: self.states[each] for each, task in self.tasks.items()}
        noted = entries(runs, remarks=[]).get(spec.run.digest)
        if ours.get(spec.run.digest) not in COMING and not (noted and noted.job_id in states(runs, remarks=[])):
            self.states[number] = "FAILED"
        return False

    def _take_slot(self) -> tuple[int, int] | None:
        """A free slot of the machine, and its lock, which the system frees however this process ends."""
        for place in range(self.slots):
            path = self.folder.parent / f"slot-{place}"
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                share(self.folder.parent, path, 0o666)
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return place, lock
            except BlockingIOError:
                os.close(lock)
        return None


class _Executor(LocalExecutor):
    """Submitit's, but a task is our own program, and nothing is pickled."""

    file = Path()  # of the tasks

    def launch(self, number: str) -> LocalJob[Any]:
        """Start the task of that number, which ends with its place in the file."""
        place = number.rpartition("_")[2]
        return self._submit_command(f"{self.python} {PROGRAM} {shlex.quote(str(self.file))} {place}")


def drive(folder: Path, plan: dict[str, Any]) -> None:
    """The driver's main function; the lock came with it."""
    executor = _Executor(folder, python=plan["python"] or None)
    executor.file = Path(plan["file"])
    executor.update_parameters(timeout_min=FOREVER_MIN, stderr_to_stdout=True, setup=tuple(plan["setup"]))
    tasks = {number: Task(**fields) for number, fields in plan["tasks"].items()}
    driver = Driver(folder, tasks, plan["slots"], plan["gpus"], executor)

    def stop(number: int, frame: Any) -> None:
        driver.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    driver.work()


if __name__ == "__main__":
    with open(int(sys.argv[2]), "rb") as given:
        drive(Path(sys.argv[1]), parse_object(given.read(), "the plan of a driver"))
