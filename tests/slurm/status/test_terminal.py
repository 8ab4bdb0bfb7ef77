"""What `compmod status` shows, narrow and wide: golden files, and what changes while one watches.

After a meant change, renew the golden files with `COMPMOD_RENEW_GOLDEN=1 pytest tests/slurm/status/test_terminal.py`,
and read the difference.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from pathlib import Path

import pytest
from compmod.pretrain.records.pace import Pace
from compmod.pretrain.specs.measurement import Evaluation, FineTuning, Work
from compmod.pretrain.specs.run import Run
from compmod.slurm.status import terminal as watching
from compmod.slurm.status.read import StatusReader
from compmod.slurm.status.status import Status, TaskState, TaskStatus
from compmod.slurm.status.terminal import ROWS, SILENT_S, console, shown, units_of_time, watch
from compmod.slurm.submission.journal import JournalEntry
from compmod.tables.build import build_table
from paths import GOLDEN as GOLDEN_FOLDER
from rich.console import Console

GOLDEN = GOLDEN_FOLDER / "slurm"
RENEW = bool(os.environ.get("COMPMOD_RENEW_GOLDEN"))


def _run(method: str, seed: int = 0) -> Run:
    return Run(method=method, dataset="cifar10", epochs=1000, seed=seed)


def _task(
    spec: Work, state: TaskState, tables: tuple[int, ...] = (1,), job: str = "7_0", **fields: object
) -> TaskStatus:
    entry = JournalEntry(
        digest=spec.digest,
        folder=spec.folder,
        job_id=job,
        cluster="c",
        where="c",
        user="a",
        submitted=0.0,
        logs="/logs",
    )
    return TaskStatus(spec=spec, tables=tables, state=state, entry=entry, **fields)  # type: ignore[arg-type]


def _text(status: Status, width: int) -> str:
    file = io.StringIO()
    screen = Console(file=file, width=width, highlight=False, markup=False, color_system=None)
    screen.print(shown(status, width))
    return "".join(line.rstrip() + "\n" for line in file.getvalue().splitlines())


def _everything() -> Status:
    """A task of every kind in every state."""
    pace = Pace(epoch=250.4, epochs=1000, images_per_second=4512.3, seconds_left=7_500.0)
    slow = Pace(epoch=3.25, epochs=10, seconds_left=90.0)
    silent = Pace(epoch=100.0, epochs=1000, images_per_second=10.0, seconds_left=7_500.0, silent_s=4_000.0)
    linear = FineTuning(run=_run("byol"), epochs=10)
    tasks = [
        _task(_run("simclr"), "done", (1, 6)),
        _task(_run("byol"), "done"),
        _task(Evaluation(run=_run("simclr")), "done", (1, 6)),
        _task(_run("barlow_twins+"), "running", pace=pace, elapsed="1-02:03:04", nodes="gpu[1-2]", job="8_1"),
        _task(_run("barlow_twins+", 1), "running", pace=silent, nodes="gpu3", stops={"preempted": 2, "time limit": 1}),
        _task(linear, "running", (2,), pace=slow, elapsed="2:00", nodes="gpu4", job="9"),
        _task(Evaluation(run=_run("byol")), "running", elapsed="0:10", nodes="gpu4", job="10_0"),
        _task(_run("vicreg"), "failed", kind="out of memory", reason="OutOfMemoryError: [red] CUDA out of memory."),
        _task(_run("mec"), "lost", reason="job 7_0 is gone; epoch 3 of 1000"),
        _task(_run("tcr"), "damaged", reason="remove its folder to have it done again"),
        _task(_run("simsiam"), "queued", reason="Priority"),
        _task(_run("simsiam", 1), "queued", (2,), reason="BeginTime", stops={"preempted": 1}),
        _task(Evaluation(run=_run("simsiam")), "queued", reason="Dependency"),
        _task(Evaluation(run=_run("simsiam", 1)), "queued", (2,), reason="Dependency"),
        _task(_run("swav"), "stopped"),
        _task(_run("dcl"), "unknown", reason="on far, which does not answer"),
        _task(Evaluation(run=_run("dcl")), "to do"),
    ]
    return Status(numbers=(1, 2, 6), tasks=tuple(tasks), remarks=("cluster far (f) cannot be asked from here",))


@pytest.mark.parametrize("width", [80, 160])
def test_every_state_is_shown_as_ever(width: int) -> None:
    path, text = GOLDEN / f"status_{width}.txt", _text(_everything(), width)
    if RENEW:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"renew with COMPMOD_RENEW_GOLDEN=1 and look at the change of {path.name}"


@pytest.mark.parametrize("width", [60, 80, 120, 160])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, _text(_everything(), width).splitlines())) <= width


def test_what_a_log_says_is_no_markup() -> None:
    assert "[red] CUDA" in _text(_everything(), 160)


def test_of_many_the_first_are_shown_and_the_rest_counted() -> None:
    tasks = tuple(_task(_run("simclr", seed), "failed", kind="bug") for seed in range(ROWS + 7))
    for width in (80, 160):
        text = _text(Status(numbers=(1,), tasks=tasks), width)
        assert ("and 7 more; --json lists all" in text, text.count("SimCLR")) == (True, ROWS)


def test_hundreds_that_wait_for_one_reason_are_one_line() -> None:
    tasks = tuple(_task(Evaluation(run=_run("simclr", seed)), "queued", reason="Priority") for seed in range(300))
    lines = [text.split() for text in _text(Status(numbers=(1,), tasks=tasks), 80).splitlines() if "Priority" in text]
    assert lines == [["300", "Priority", "300", "probes"]]


def test_nothing_but_counts_is_shown_where_nothing_was_begun() -> None:
    text = _text(Status(numbers=(1,), tasks=(_task(_run("simclr"), "to do"),)), 80)
    assert [line.split() for line in text.splitlines()] == [
        ["done", "running", "queued", "failed", "to", "do", "of"],
        ["Table", "1", "0", "0", "0", "0", "1", "1"],
    ]


def test_a_table_without_any_task_is_shown() -> None:
    assert "Table 5" in _text(Status(numbers=(5,), tasks=()), 80)


@pytest.mark.parametrize(
    "seconds, text",
    [(0.0, "0m 00s"), (59.6, "1m 00s"), (61, "1m 01s"), (3_599.6, "1h 00m"), (15_000, "4h 10m"), (270_000, "3d 3h")],
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert units_of_time(seconds) == text


def test_work_is_named_by_what_it_does() -> None:
    run = _run("simclr")
    semi = FineTuning(run=run, share=0.1, backbone_lr=0.01)
    specs = (run, Evaluation(run=run), FineTuning(run=run), semi)
    assert [spec.protocol for spec in specs] == ["pretraining", "probes", "linear", "fine-tuning on 10 %"]


def test_silence_is_told_in_place_of_a_time_that_was_true_once() -> None:
    assert SILENT_S < 4_000
    assert "silent 1h 06m" in _text(_everything(), 80)


def test_a_pipe_is_wide_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console().width == watching.PIPED
    monkeypatch.setenv("COLUMNS", "90")
    assert console().width == 90


def test_watching_shows_what_changes_and_asks_slurm_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[TaskState] = ["to do", "running", "done"]
    asked = Counter[bool]()

    class Changing(StatusReader):
        def read(self, *, ask: bool = True) -> Status:
            asked[ask] += 1
            if not states:
                raise KeyboardInterrupt
            return Status(numbers=(1,), tasks=(_task(_run("simclr"), states.pop(0)),))

    monkeypatch.setattr(watching, "REFRESH_S", 0.0)
    file = io.StringIO()
    screen = Console(file=file, width=80, force_terminal=True, color_system=None)
    with pytest.raises(KeyboardInterrupt):
        watch(Changing([], tmp_path), screen)
    assert "1 running" in file.getvalue()
    assert asked == {True: 1, False: 3}


@pytest.mark.parametrize(
    "width, named", [(80, "SimCLR+ λ1=0.001 λ2=0.1 "), (120, "SimCLR+ lambda1=0.001, lambda2=0.1 ")]
)
def test_runs_of_one_method_and_data_are_told_apart_by_their_cells(width: int, named: str) -> None:
    table = build_table(6, "paper")
    reader = StatusReader([table], Path("none"))
    pace = Pace(epoch=250.4, epochs=1000, images_per_second=4512.3, seconds_left=7_500.0)
    tasks = tuple(
        _task(spec.run, "running", (6,), pace=pace, cell=reader.names[spec.run.digest]) for spec in table.specs[:4]
    )
    text = _text(Status(numbers=(6,), tasks=tasks), width)
    assert named in text
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
