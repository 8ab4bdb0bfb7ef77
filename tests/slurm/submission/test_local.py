"""The plan on this machine: the driver's order, slots and ends with tasks that only pretend, and one table for real."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.run import Run
from compmod.slurm.clusters.cluster import CLUSTERS
from compmod.slurm.submission import local
from compmod.slurm.submission import local_driver as driver
from compmod.slurm.submission.journal import entries
from compmod.slurm.submission.local_driver import Driver
from compmod.slurm.submission.submit import submit
from compmod.slurm.task.task import Task
from compmod.tables.results.results import Results
from one_cell_tables import tiny_run, tiny_table

MACHINE = replace(CLUSTERS["local"], max_parallel=2)


class Pretended:
    """A job of submitit's local executor that ends when it is told to, or when it gets a signal."""

    def __init__(self, task: Task, folder: Path) -> None:
        self.record = Record(Path(task.runs), task.decoded())
        self.ended = False
        self.paths = type("Paths", (), {"stdout": folder / "log"})
        self._process = self

    def done(self) -> bool:
        """As the executor's job."""
        return self.ended

    def send_signal(self, number: int) -> None:
        """As the process of the executor's job."""
        assert number == signal.SIGTERM
        self.ended = True

    def end(self, *, well: bool = True) -> None:
        """The task is over."""
        if well:
            self.record.start()
            self.record.finish({"linear/top1": 0.5, "knn/top1": 0.5}, {})
        self.ended = True


class Pretending:
    """As the executor: it notes what it is to start."""

    def __init__(self, folder: Path, tasks: dict[str, Task]) -> None:
        self.folder, self.tasks = folder, tasks
        self.jobs: list[Pretended] = []
        self.parameters: list[dict[str, Any]] = []

    def launch(self, number: str) -> Pretended:
        """Start."""
        self.jobs.append(Pretended(self.tasks[number], self.folder))
        return self.jobs[-1]

    def update_parameters(self, **given: Any) -> None:
        """For the tasks that follow."""
        self.parameters.append(given)


class Driven:
    """A driver at work in a thread."""

    def __init__(self, folder: Path, seeds: int, slots: int, gpus: int = 0) -> None:
        self.runs, self.folder = folder / "runs", folder / "runs/.slurm/local/s"
        self.folder.mkdir(parents=True)
        table = tiny_table(range(seeds))
        self.specs = [*(spec.run for spec in table.specs), *table.specs]
        tasks = {f"local-s_{place}": Task.of(spec, self.runs, folder) for place, spec in enumerate(self.specs)}
        self.executor: Any = Pretending(self.folder, tasks)
        self.driver = Driver(self.folder, tasks, slots, gpus, self.executor)
        self.thread = threading.Thread(target=self.driver.work, daemon=True)
        self.thread.start()

    def running(self) -> list[str]:
        """Kinds of what runs now."""
        return [type(job.record.spec).__name__ for job in self.executor.jobs if not job.ended]

    def end(self, *, well: bool = True) -> None:
        """End the task that runs longest."""
        next(job for job in self.executor.jobs if not job.ended).end(well=well)

    def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is so."""
        end = time.monotonic() + 10
        while not true():
            assert time.monotonic() < end, self.driver.states
            time.sleep(0.01)

    def states(self) -> list[str]:
        """When the driver has ended."""
        self.thread.join(10)
        assert not self.thread.is_alive(), self.driver.states
        return list(self.driver.states.values())


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Driven]:
    """Let a driver work."""
    monkeypatch.setattr(driver, "POLL_S", 0.01)
    monkeypatch.setenv("COMPMOD_JOB", "")  # which the driver sets, and the next test is not to see

    def start(seeds: int = 2, slots: int = 1, gpus: int = 0) -> Driven:
        return Driven(tmp_path, seeds, slots, gpus)

    return start


def test_no_more_tasks_run_at_once_than_there_are_slots(drive: Callable[..., Driven]) -> None:
    driven = drive(seeds=3, slots=2)
    driven.until(lambda: len(driven.running()) == 2)
    time.sleep(0.1)
    assert len(driven.running()) == 2
    driven.driver.stopping = True


def test_slots_are_shared_with_other_drivers_of_the_machine(drive: Callable[..., Driven]) -> None:
    driven = drive(slots=1)
    driven.until(lambda: len(driven.running()) == 1)
    other = Driver(driven.folder.parent / "other", {}, 1, 0, driven.executor)
    assert other._take_slot() is None
    driven.driver.stopping = True


def test_a_measurement_runs_as_soon_as_its_own_pretraining_is_done(drive: Callable[..., Driven]) -> None:
    driven = drive(seeds=2, slots=1)
    order = []
    for place in range(4):
        driven.until(lambda place=place: len(driven.executor.jobs) == place + 1)  # type: ignore[misc]
        order += driven.running()
        driven.end()
    assert order == ["Run", "Evaluation", "Run", "Evaluation"]
    assert driven.states() == ["COMPLETED"] * 4


def test_where_a_pretraining_fails_its_measurement_alone_is_not_tried(drive: Callable[..., Driven]) -> None:
    driven = drive(seeds=2, slots=1)
    driven.until(lambda: driven.running() == ["Run"])
    driven.end(well=False)
    for _ in range(2):
        driven.until(lambda: len(driven.running()) == 1)
        driven.end()
    assert driven.states() == ["FAILED", "COMPLETED", "FAILED", "COMPLETED"]


def test_what_is_cancelled_stops_or_does_not_start_and_the_rest_goes_on(drive: Callable[..., Driven]) -> None:
    driven = drive(seeds=2, slots=1)
    driven.until(lambda: driven.running() == ["Run"])
    local.cancel(driven.runs, ["local-s_0", "local-s_2"])
    for _ in range(2):
        driven.until(lambda: len(driven.executor.jobs) > 1 and len(driven.running()) == 1)
        driven.end()
    assert driven.states() == ["CANCELLED", "COMPLETED", "CANCELLED", "COMPLETED"]


def test_a_driver_that_is_told_to_stop_stops_what_it_runs(drive: Callable[..., Driven]) -> None:
    driven = drive(seeds=2, slots=2)
    driven.until(lambda: len(driven.running()) == 2)
    driven.driver.stopping = True
    assert driven.states() == ["CANCELLED"] * 4


def test_every_slot_has_a_gpu_of_its_own(drive: Callable[..., Driven]) -> None:
    driven = drive(seeds=2, slots=2, gpus=2)
    driven.until(lambda: len(driven.running()) == 2)
    assert [given["visible_gpus"] for given in driven.executor.parameters] == [[0], [1]]
    driven.driver.stopping = True


def test_a_driver_that_was_killed_has_nothing_under_way(tmp_path: Path) -> None:
    folder = tmp_path / ".slurm/local/s"
    folder.mkdir(parents=True)
    local.write_states(folder, {"local-s_0": "RUNNING"})
    (folder / "lock").touch()
    assert local.states(tmp_path) == {}


def test_what_a_living_driver_has_still_to_do_is_under_way(tmp_path: Path) -> None:
    folder = tmp_path / ".slurm/local/s"
    folder.mkdir(parents=True)
    local.write_states(folder, {"local-s_0": "RUNNING", "local-s_1": "PENDING", "local-s_2": "COMPLETED"})
    code = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); print('held'); input()"
    holder = subprocess.Popen(
        [sys.executable, "-u", "-c", code, str(folder / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert local.states(tmp_path) == {"local-s_0": "RUNNING", "local-s_1": "PENDING"}


@pytest.mark.slow
def test_a_table_is_filled_on_this_machine_while_the_command_has_long_returned(tmp_path: Path) -> None:
    runs, table = tmp_path / "runs", tiny_table([0])
    (tmp_path / "my tools").mkdir()
    (tmp_path / "my tools/env").symlink_to(str(shutil.which("env")))
    python, said = (str(tmp_path / "my tools/env"), sys.executable), tmp_path / "said"
    place = replace(MACHINE, python=python, notify=f"{{ echo $COMPMOD_STATE; cat; }} > {said}")
    began = time.monotonic()
    first = submit([table], runs, tmp_path, place)
    assert time.monotonic() - began < 2  # it takes a hundredth of that
    assert sum(len(job.steps) for job in first.arranged.jobs) == 2
    again = submit([table], runs, tmp_path, MACHINE)
    assert (again.arranged.jobs, len(again.arranged.under_way)) == ((), 2)
    end = time.monotonic() + 240
    while local.states(runs):
        assert time.monotonic() < end
        time.sleep(0.2)
    while not said.exists() or said.read_text().count("\n") < 2:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert said.read_text() == "finished\nfinished: 2 of 2 tasks done\n"
    assert submit([table], runs, tmp_path, MACHINE).arranged.jobs == ()
    (cell,) = table.rows[0].cells
    assert Results(runs).seed_results(cell).states == ("done",)
    noted = entries(runs)
    for spec in (tiny_run(0), *table.specs):
        assert f"{spec.folder}, job {noted[spec.digest].job_id} on " in noted[spec.digest].log.read_text()


@pytest.mark.slow
def test_a_cancelled_run_of_this_machine_is_saved_and_goes_on_when_it_is_submitted_again(tmp_path: Path) -> None:
    runs, table = tmp_path / "runs", tiny_table([0], epochs=2000)
    run: Run = table.specs[0].run
    submit([table], runs, tmp_path, MACHINE)
    lines = runs / run.folder / "metrics.jsonl"
    end = time.monotonic() + 120
    while not (lines.is_file() and lines.stat().st_size):
        assert time.monotonic() < end
        time.sleep(0.1)
    local.cancel(runs, list(local.states(runs)))
    while local.states(runs):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert list((runs / run.folder / "checkpoints").glob("step-*.pt"))
    sent = submit([table], runs, tmp_path, MACHINE)
    assert [step.state for step in sent.arranged.jobs[0].steps] == ["unfinished"]
    local.cancel(runs, list(local.states(runs)))
    while local.states(runs):
        assert time.monotonic() < end
        time.sleep(0.1)
