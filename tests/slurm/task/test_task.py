"""A task as SLURM runs it: a real process that gets real signals; only scontrol prints what it is told to.

What SLURM itself does then is tested on a real cluster, test_on_cluster*.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from compmod.pretrain.records.record import Record
from compmod.pretrain.runtime.exit_status import INTERRUPTED
from compmod.pretrain.specs.measurement import Evaluation
from compmod.pretrain.specs.run import Run
from compmod.slurm.task import signals, task
from compmod.slurm.task.failures import RETRIES, Failure, histories, note
from compmod.slurm.task.task import Task, newest_update, store
from compmod.tables.reproduce import reproduce
from one_cell_tables import tiny_run, tiny_table
from printing_slurm import PrintingSlurm
from safetensors.torch import load_file

PATIENCE_S = 120.0
NUMBER = "5_3"


def _shown(state: str = "RUNNING", reason: str = "None", restarts: int = 0) -> str:
    """Of `scontrol show job --oneliner`, what is read."""
    return (
        f"JobId=8 ArrayJobId=5 ArrayTaskId=3 JobState={state} Reason={reason} Dependency=(null) Restarts={restarts}\n"
    )


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PrintingSlurm:
    """A scontrol that says that the job runs."""
    slurm = PrintingSlurm(tmp_path / "bin", monkeypatch)
    slurm.says("scontrol", _shown())
    return slurm


class Started:
    """A task of an array, as srun starts it."""

    def __init__(self, folder: Path, work: Task | None) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        file = store([work], folder) if work is not None else folder / f"tasks-{'0' * 64}.json"
        array, index = NUMBER.split("_")
        ours = {"SLURM_JOB_ID": "8", "SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": index}
        with open(folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", "compmod.slurm.task.start", str(file), "0"],
                env=os.environ | ours | {"SUBMITIT_EXECUTOR": "slurm", "SLURM_CPUS_PER_TASK": "1"},
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        """What it printed."""
        return (self.folder / "log").read_text()

    def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is so, as long as the task lives."""
        end = time.monotonic() + PATIENCE_S
        while not true():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.05)

    def status(self) -> int:
        """How it exits."""
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[[Task | None], Started]]:
    """Start tasks; end those that a failing test left."""
    processes: list[Started] = []

    def start(work: Task | None) -> Started:
        processes.append(Started(tmp_path / "logs", work))
        return processes[-1]

    yield start
    for each in processes:
        each.process.kill()
        each.process.wait()


def _both(folder: Path) -> tuple[Path, Path]:
    return folder / "runs", folder / "other/runs"


def _task(spec: Run | Evaluation, folder: Path, **settings: object) -> Task:
    return Task.of(spec, folder / "runs", folder / "data", **settings)


@pytest.mark.slow
def test_a_run_that_is_told_to_stop_saves_queues_itself_again_and_ends_as_if_undisturbed(
    slurm: PrintingSlurm, tmp_path: Path, started: Callable[[Task | None], Started]
) -> None:
    run = tiny_run(epochs=30)
    record = Record(tmp_path / "runs", run)
    for attempt, name in enumerate(("SIGUSR2", "SIGTERM")):
        one = started(_task(run, tmp_path))
        before = newest_update(record.path)
        lines = record.path / "metrics.jsonl"
        begun = lines.stat().st_size if lines.exists() else 0
        one.until(lambda lines=lines, begun=begun: lines.exists() and lines.stat().st_size > begun)  # type: ignore[misc]
        one.process.send_signal(getattr(signal, name))
        assert one.status() == INTERRUPTED, one.log
        assert newest_update(record.path) > before
        failures = histories(tmp_path / "runs")[run.digest]
        assert [failure.kind for failure in failures] == ["preempted"] * (attempt + 1)
        assert (failures[-1].job_id, name in failures[-1].error) == (NUMBER, True)
        assert slurm.arguments("scontrol")[-1] == f"requeue {NUMBER}"
    last = started(_task(run, tmp_path))
    assert last.status() == 0, last.log
    reproduce(run, tmp_path / "other/runs", tmp_path, "cpu", quiet=True)
    mine, theirs = (load_file(folder / run.folder / "encoder.safetensors") for folder in _both(tmp_path))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_signal_before_the_work_has_begun_queues_the_job_again(
    slurm: PrintingSlurm, started: Callable[[Task | None], Started]
) -> None:
    one = started(None)  # it waits until it sees the file
    one.until(lambda: "Reading task" in one.log)
    one.process.send_signal(signal.SIGUSR2)
    assert one.status() == INTERRUPTED, one.log
    assert slurm.arguments("scontrol")[-1] == f"requeue {NUMBER}"


@pytest.fixture
def waiting(tmp_path: Path, started: Callable[[Task | None], Started]) -> Callable[..., Started]:
    """Start a measurement whose pretraining is not done: it waits, and has no handlers but ours."""

    def start(**settings: object) -> Started:
        (spec,) = tiny_table([0]).specs
        assert isinstance(spec, Evaluation)
        one = started(_task(spec, tmp_path, **settings))
        one.until(lambda: f"{spec.folder}, job {NUMBER} on " in one.log)
        return one

    return start


def test_a_cancelled_job_is_not_revived(slurm: PrintingSlurm, waiting: Callable[..., Started], tmp_path: Path) -> None:
    slurm.says("scontrol", _shown("COMPLETING"))
    one = waiting()
    one.process.send_signal(signal.SIGTERM)
    assert one.status() == INTERRUPTED, one.log
    assert not any(arguments.startswith("requeue") for arguments in slurm.arguments("scontrol"))
    ((failure,),) = histories(tmp_path / "runs").values()
    assert failure.kind == "cancelled"


def test_a_job_that_slurm_queues_again_itself_is_left_to_it(
    slurm: PrintingSlurm, waiting: Callable[..., Started], tmp_path: Path
) -> None:
    slurm.says("scontrol", _shown("COMPLETING", restarts=1))
    one = waiting()
    one.process.send_signal(signal.SIGTERM)
    one.status()
    assert not any(arguments.startswith("requeue") for arguments in slurm.arguments("scontrol"))
    ((failure,),) = histories(tmp_path / "runs").values()
    assert failure.kind == "preempted"


def _reaches_its_limit_once_too_often(waiting: Callable[..., Started], runs: Path) -> None:
    """A task that has stopped at its limit too often without progress says that it is not queued again."""
    (spec,) = tiny_table([0]).specs
    for _ in range(RETRIES["time limit"]):
        note(runs, spec.digest, Failure(kind="time limit", error="stopped", job_id=NUMBER))
    one = waiting(minutes=1, warning_s=15)
    one.process.send_signal(signal.SIGUSR2)
    one.status()
    assert "not queued again (time limit)" in one.log


def test_a_job_at_its_limit_that_got_nowhere_is_not_queued_for_ever(
    slurm: PrintingSlurm, waiting: Callable[..., Started], tmp_path: Path
) -> None:
    _reaches_its_limit_once_too_often(waiting, tmp_path / "runs")
    assert not any(arguments.startswith("requeue") for arguments in slurm.arguments("scontrol"))


def test_where_the_cluster_does_not_requeue_a_job_stays_stopped(
    slurm: PrintingSlurm, waiting: Callable[..., Started]
) -> None:
    one = waiting(requeue=False)
    one.process.send_signal(signal.SIGUSR2)
    assert one.status() == INTERRUPTED
    assert "its cluster does not allow jobs to be queued again" in one.log
    assert not any(arguments.startswith("requeue") for arguments in slurm.arguments("scontrol"))


@pytest.fixture
def contained(slurm: PrintingSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No scontrol; the file by which a task then asks the script of its job to queue it again."""
    (slurm.folder / "scontrol").unlink()
    monkeypatch.setenv(signals.ASK, str(tmp_path / "ask"))
    return tmp_path / "ask"


@pytest.mark.parametrize("name", ["SIGUSR2", "SIGTERM"])
def test_a_task_in_a_container_that_is_told_to_stop_asks_to_be_queued_again(
    contained: Path, waiting: Callable[..., Started], tmp_path: Path, name: str
) -> None:
    one = waiting()
    one.process.send_signal(getattr(signal, name))
    assert one.status() == INTERRUPTED, one.log
    assert contained.exists()
    assert "the script of the job is asked to queue it again" in one.log
    ((failure,),) = histories(tmp_path / "runs").values()
    assert failure.kind == "preempted"


def test_a_task_in_a_container_that_got_nowhere_does_not_ask(
    contained: Path, waiting: Callable[..., Started], tmp_path: Path
) -> None:
    _reaches_its_limit_once_too_often(waiting, tmp_path / "runs")
    assert not contained.exists()


def test_a_signal_in_a_container_before_the_work_has_begun_asks_too(
    contained: Path, started: Callable[[Task | None], Started]
) -> None:
    one = started(None)
    one.until(lambda: "Reading task" in one.log)
    one.process.send_signal(signal.SIGUSR2)
    assert one.status() == INTERRUPTED, one.log
    assert contained.exists()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was to be queued again, in this process; nobody waits long."""
    found: list[str] = []

    def requeue(fate: str) -> str:
        found.append(fate)
        return ""

    monkeypatch.setattr(signals, "requeue", requeue)
    monkeypatch.setattr(signals, "fate", lambda: "running")
    for name in ("VISIBLE_S", "OTHER_S", "LATER_S"):
        monkeypatch.setattr(task, name, 0.0)
    monkeypatch.setattr(signals._Received, "raised", False)
    monkeypatch.setattr(signals._Received, "deadline", None)
    return found


@pytest.mark.parametrize(
    "error, kind, again",
    [
        (RuntimeError("NCCL error: ncclSystemError: System call failed"), "node failure", True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory", False),
        (ZeroDivisionError("division by zero"), "bug", False),
    ],
)
def test_a_failure_is_noted_raised_and_tried_again_where_the_machine_is_at_fault(
    error: Exception, kind: str, again: bool, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(task, "reproduce", fail)
    with pytest.raises(type(error)):
        _task(tiny_run(), tmp_path)()
    ((failure,),) = histories(tmp_path / "runs").values()
    assert (failure.kind, bool(asked)) == (kind, again)
    assert failure.error == f"{type(error).__name__}: {error}"


def test_a_measurement_does_not_train_the_run_it_measures(asked: list[str], tmp_path: Path) -> None:
    (spec,) = tiny_table([0]).specs
    assert isinstance(spec, Evaluation)
    with pytest.raises(ValueError, match=r"is absent, and this measures it once it is done"):
        _task(spec, tmp_path)()
    assert not Record(tmp_path / "runs", spec.run).path.exists()


def test_a_record_that_another_process_holds_for_long_is_tried_again_later(asked: list[str], tmp_path: Path) -> None:
    run = tiny_run()
    record = Record(tmp_path / "runs", run)
    with record.lock(), pytest.raises(ValueError, match="has been in use by another process"):
        _task(run, tmp_path)()
    assert asked == ["running"]
    assert not (record.path / "spec.json").exists()


def test_what_another_process_finished_meanwhile_is_done(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run()
    record = Record(tmp_path / "runs", run)
    record.start()

    def finish(true: Callable[[], bool], most_s: float) -> bool:
        record.finish({"epochs": 2}, {})
        return true()

    monkeypatch.setattr(task, "_until", finish)
    _task(run, tmp_path)()
    assert record.results == {"epochs": 2}


def test_a_task_of_a_version_with_other_defaults_says_so(tmp_path: Path) -> None:
    run = tiny_run()
    other = Task(run.to_dict(), "0123456789ab", str(tmp_path), str(tmp_path), "cpu")
    with pytest.raises(ValueError, match="submitted by another version of compmod"):
        other()


def test_a_task_knows_where_things_lie_wherever_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one = Task.of(tiny_run(), Path("runs"), Path("data"))
    assert (one.runs, one.data, one.device) == (str(tmp_path / "runs"), str(tmp_path / "data"), "cpu")


def test_a_checkpoint_whose_name_holds_no_plain_number_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("000000007", "²²", "x", "9" * 200, "-1"):
        (tmp_path / "checkpoints" / f"step-{name}.pt").touch()
    assert newest_update(tmp_path) == 7
