"""Where tasks stand, by every mixture of record, journal, failures, SLURM and log. SLURM's answers are made up."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.measurement import Evaluation, Work
from compmod.pretrain.specs.run import Run
from compmod.slurm.status.read import StatusReader, wanted
from compmod.slurm.status.status import Status, TaskStatus, counted
from compmod.slurm.submission import journal, local
from compmod.slurm.submission.journal import JournalEntry
from compmod.slurm.task.failures import Failure, FailureKind, note
from compmod.slurm.task.log import log_tail
from compmod.tables.build import build_table
from compmod.tables.paper.table import Cell, Column, Row, Table
from printing_slurm import NAME, PrintingSlurm, line

RUN = Run(method="simclr", dataset="digits", epochs=10, batch_size=64)
PROBES = Evaluation(run=RUN)
OOM = "torch.OutOfMemoryError: CUDA out of memory."


def _table(number: int, *specs: Evaluation) -> Table:
    rows = (Row(label="SimCLR", cells=(Cell(metric="knn/top1", specs=specs),)),)
    columns = (Column(group="", name="knn", heading=""),)
    return Table(number=number, title="", scale="demo", columns=columns, rows=rows, cost="")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PrintingSlurm:
    return PrintingSlurm(tmp_path / "bin", monkeypatch)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def _submit(runs: Path, spec: Work, job_id: str = "7_0", log: str = "", **fields: Any) -> JournalEntry:
    """A line of the journal, and what the job has logged."""
    given: dict[str, Any] = {"where": NAME, "submitted": time.time() - 60, "cluster": "ours"} | fields
    entry = JournalEntry(
        digest=spec.digest, folder=spec.folder, job_id=job_id, user="ann", logs=str(runs / "logs"), **given
    )
    journal.append(runs, [entry])
    if log:
        entry.log.parent.mkdir(exist_ok=True)
        entry.log.write_text(log)
    return entry


def _read(runs: Path, *specs: Evaluation) -> Status:
    return StatusReader([_table(1, *(specs or (PROBES,)))], runs).read()


def _run(runs: Path) -> TaskStatus:
    """Where the pretraining stands."""
    return _read(runs).tasks[0]


def _state(task: TaskStatus) -> tuple[str, FailureKind | None, str]:
    return task.state, task.kind, task.reason


def test_what_was_never_begun_is_to_do_and_nothing_is_asked(runs: Path, slurm: PrintingSlurm) -> None:
    assert [task.state for task in _read(runs).tasks] == ["to do", "to do"]
    assert slurm.arguments("squeue") == []


def test_a_runs_folder_that_is_not_there_is_all_to_do(tmp_path: Path) -> None:
    assert [task.state for task in _read(tmp_path / "absent").tasks] == ["to do", "to do"]


def test_a_finished_record_is_done_whatever_slurm_says(runs: Path, slurm: PrintingSlurm) -> None:
    record = Record(runs, RUN)
    record.start()
    record.finish({}, {})
    _submit(runs, RUN)
    slurm.has(line("7_0", "RUNNING"))
    assert [task.state for task in _read(runs).tasks] == ["done", "to do"]


def test_a_waiting_job_is_queued_with_slurms_reason(runs: Path, slurm: PrintingSlurm) -> None:
    _submit(runs, RUN)
    slurm.has(line("7_0", "PENDING", "Priority"))
    assert _state(_run(runs)) == ("queued", None, "Priority")


@pytest.mark.parametrize("state", ["RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED"])
def test_a_job_that_has_started_is_running(runs: Path, slurm: PrintingSlurm, state: str) -> None:
    _submit(runs, RUN)
    slurm.has(line("7_0", state))
    task = _run(runs)
    assert (task.state, task.elapsed) == ("running", "1:02")


def test_a_run_that_somebody_trains_by_hand_is_running(runs: Path) -> None:
    record = Record(runs, RUN)
    record.start()
    with record.lock():
        assert _run(runs).state == "running"


def test_a_run_that_was_begun_by_hand_and_left_is_stopped(runs: Path) -> None:
    Record(runs, RUN).start()
    assert _run(runs).state == "stopped"


def test_a_running_task_tells_how_far_it_is(runs: Path, slurm: PrintingSlurm) -> None:
    record = Record(runs, RUN)
    record.start()
    (record.path / "metrics.jsonl").write_text('{"kind": "train", "epoch": 2.5, "images_per_second": 100.0}\n{"ki')
    _submit(runs, RUN)
    slurm.has(line("7_0", "RUNNING"))
    pace = _run(runs).pace
    assert pace is not None
    assert (pace.epoch, pace.images_per_second) == (2.5, 100.0)


def test_a_task_that_was_stopped_and_waits_again_is_queued_and_its_stops_are_counted(
    runs: Path, slurm: PrintingSlurm
) -> None:
    _submit(runs, RUN)
    kinds: tuple[FailureKind, ...] = ("preempted", "preempted", "time limit")
    for when, kind in enumerate(kinds):
        note(runs, RUN.digest, Failure(kind=kind, error="", job_id="7_0", when=float(when)))
    slurm.has(line("7_0", "PENDING", "BeginTime"))
    task = _run(runs)
    assert (task.state, task.reason, dict(task.stops)) == ("queued", "BeginTime", {"preempted": 2, "time limit": 1})


def test_a_noted_failure_says_why(runs: Path, slurm: PrintingSlurm) -> None:
    _submit(runs, RUN)
    note(runs, RUN.digest, Failure(kind="preempted", error="", job_id="7_0", when=1.0))
    note(runs, RUN.digest, Failure(kind="diverged", error="NonFiniteLoss: the loss", job_id="7_0", when=2.0))
    slurm.has(line("7_0", "FAILED", "NonZeroExitCode"))
    task = _run(runs)
    assert _state(task) == ("failed", "diverged", "NonFiniteLoss: the loss")
    assert dict(task.stops) == {"preempted": 1}


def test_a_task_that_used_up_its_tries_has_failed(runs: Path, slurm: PrintingSlurm) -> None:
    _submit(runs, RUN)
    for when in range(6):
        note(runs, RUN.digest, Failure(kind="node failure", error="lost", job_id="7_0", when=float(when)))
    slurm.has()
    assert _state(_run(runs)) == ("failed", "node failure", "lost")


def test_a_failure_of_an_earlier_submission_is_not_this_ones(runs: Path, slurm: PrintingSlurm) -> None:
    _submit(runs, RUN, "8_0")
    note(runs, RUN.digest, Failure(kind="bug", error="TypeError: x", job_id="7_0"))
    slurm.has()
    assert _run(runs).state == "lost"


@pytest.mark.parametrize(
    "state, kind",
    [("OUT_OF_MEMORY", "out of memory"), ("TIMEOUT", "time limit"), ("NODE_FAIL", "node failure")],
)
def test_without_a_note_slurms_state_says_why(runs: Path, slurm: PrintingSlurm, state: str, kind: FailureKind) -> None:
    _submit(runs, RUN, log="loading\n")
    slurm.has(line("7_0", state))
    assert _state(_run(runs)) == ("failed", kind, "loading")


def test_without_a_note_the_log_says_why(runs: Path, slurm: PrintingSlurm) -> None:
    _submit(runs, RUN, log=f"epoch 3\n{OOM}\nsrun: error: n1: task 0: Exited with exit code 1\n")
    slurm.has(line("7_0", "FAILED", "NonZeroExitCode"))
    assert _state(_run(runs)) == ("failed", "out of memory", OOM)


def test_without_a_log_the_state_is_all_that_is_known(runs: Path, slurm: PrintingSlurm) -> None:
    _submit(runs, RUN)
    slurm.has(line("7_0", "FAILED", "NonZeroExitCode"))
    assert _state(_run(runs)) == ("failed", "bug", "SLURM says FAILED")


def test_what_squeue_has_forgotten_sacct_may_know(runs: Path, slurm: PrintingSlurm) -> None:
    _submit(runs, RUN, log="loading\n")
    slurm.has()
    slurm.says("sacct", "7_0|FAILED|137:0\n")
    assert _run(runs).kind == "out of memory"


def test_sacct_is_asked_once_of_a_job_that_has_ended(runs: Path, slurm: PrintingSlurm) -> None:
    _submit(runs, RUN)
    slurm.has()
    reader = StatusReader([_table(1, PROBES)], runs)
    for _ in range(3):
        reader.read()
    assert (len(slurm.arguments("sacct")), len(slurm.arguments("squeue"))) == (1, 3)


def test_between_two_questions_the_last_answer_holds(runs: Path, slurm: PrintingSlurm) -> None:
    _submit(runs, RUN)
    slurm.has(line("7_0", "RUNNING"))
    reader = StatusReader([_table(1, PROBES)], runs)
    states = [reader.read(ask=ask).tasks[0].state for ask in (True, False, False)]
    assert (states, len(slurm.arguments("squeue"))) == (["running"] * 3, 1)


def test_the_records_own_word_counts_unless_it_is_older_than_the_submission(runs: Path, slurm: PrintingSlurm) -> None:
    record = Record(runs, RUN)
    record.start()
    record.fail("NonFiniteLoss: the loss")
    slurm.has()
    _submit(runs, RUN)
    assert _state(_run(runs)) == ("failed", "diverged", "NonFiniteLoss: the loss")
    _submit(runs, RUN, "8_0", submitted=time.time() + 60)
    assert _run(runs).state == "lost"


def test_a_failure_by_hand_needs_no_journal(runs: Path) -> None:
    record = Record(runs, RUN)
    record.start()
    record.fail("NonFiniteLoss: the loss")
    assert _state(_run(runs)) == ("failed", "diverged", "NonFiniteLoss: the loss")


def test_a_job_that_nobody_knows_is_lost_with_its_last_line(runs: Path, slurm: PrintingSlurm) -> None:
    _submit(runs, RUN, log="epoch 3 of 10\n")
    slurm.has()
    assert _state(_run(runs)) == ("lost", None, "job 7_0 is gone; epoch 3 of 10")


def test_a_lost_job_says_what_stopped_it_last(runs: Path, slurm: PrintingSlurm) -> None:
    _submit(runs, RUN, log="epoch 3 of 10\n")
    note(runs, RUN.digest, Failure(kind="preempted", error="stopped by SIGTERM", job_id="7_0"))
    slurm.has()
    assert _state(_run(runs)) == ("lost", None, "job 7_0 is gone; stopped by SIGTERM")


def test_a_measurement_without_a_reason_waits_for_its_pretraining(runs: Path, slurm: PrintingSlurm) -> None:
    _submit(runs, RUN, "7_0")
    _submit(runs, PROBES, "8_0")
    slurm.has(line("7_0", "PENDING"), line("8_0", "PENDING"))
    assert [task.reason for task in _read(runs).tasks] == ["", "Dependency"]


def test_an_earlier_jobs_fault_is_no_stop_of_the_one_that_runs(runs: Path, slurm: PrintingSlurm) -> None:
    _submit(runs, RUN, "8_0")
    note(runs, RUN.digest, Failure(kind="bug", error="TypeError: x", job_id="7_0"))
    slurm.has(line("8_0", "RUNNING"))
    assert dict(_run(runs).stops) == {}


def test_a_cancelled_pretraining_has_failed_as_cancelled(runs: Path, slurm: PrintingSlurm) -> None:
    _submit(runs, RUN, log="epoch 3\n")
    slurm.has(line("7_0", "CANCELLED"))
    assert _run(runs).kind == "cancelled"


def test_what_was_cancelled_on_this_machine_is_not_lost(runs: Path) -> None:
    entries = [_submit(runs, RUN, "local-a-b_0", where=socket.gethostname())]
    (runs / local.DRIVERS / "a-b").mkdir(parents=True)
    assert _run(runs).state == "lost"
    local.cancel(runs, [entry.job_id for entry in entries])
    assert _state(_run(runs)) == ("failed", "cancelled", "")


def test_a_measurement_that_slurm_ended_for_its_pretraining_failed_is_to_do(runs: Path, slurm: PrintingSlurm) -> None:
    _submit(runs, RUN, "7_0", log=f"{OOM}\n")
    _submit(runs, PROBES, "8_0")
    slurm.has(line("7_0", "FAILED"), line("8_0", "CANCELLED", "DependencyNeverSatisfied"))
    assert [task.state for task in _read(runs).tasks] == ["failed", "to do"]


def test_a_damaged_record_is_neither_done_nor_retried(runs: Path) -> None:
    record = Record(runs, RUN)
    record.start()
    (record.path / "results.json").write_text('{"epo')
    assert _run(runs).state == "damaged"


def test_a_queue_that_does_not_answer_leaves_the_rest_known(runs: Path, slurm: PrintingSlurm) -> None:
    _submit(runs, RUN)
    slurm.has()
    slurm.says("squeue", complains="slurm_load_jobs error: Unable to contact slurm controller\n", status=1)
    status = _read(runs)
    assert [task.state for task in status.tasks] == ["unknown", "to do"]
    assert status.remarks == (
        "squeue failed with status 1: slurm_load_jobs error: Unable to contact slurm controller; "
        "what waits or runs there is not known",
    )


def test_a_machine_without_slurm_says_so(runs: Path, slurm: PrintingSlurm) -> None:
    _submit(runs, RUN)
    status = _read(runs)
    assert status.tasks[0].state == "unknown"
    assert status.remarks[0].startswith("scontrol is not on PATH")


def test_a_number_of_another_cluster_says_nothing_here(runs: Path, slurm: PrintingSlurm) -> None:
    _submit(runs, RUN, where="theirs", cluster="far")
    slurm.has(line("7_0", "RUNNING"))
    status = _read(runs)
    assert status.tasks[0].state == "unknown"
    assert status.remarks == ("cluster far (theirs) cannot be asked from here",)


def test_a_local_driver_that_has_died_leaves_its_tasks_lost_and_slurm_is_not_asked(
    runs: Path, slurm: PrintingSlurm
) -> None:
    _submit(runs, RUN, "local-x_0", where=socket.gethostname())
    assert _run(runs).state == "lost"
    assert slurm.arguments("scontrol") == []


def test_a_failure_of_a_local_task_is_known_by_its_time(runs: Path) -> None:
    _submit(runs, RUN, "local-x_0", where=socket.gethostname())
    note(runs, RUN.digest, Failure(kind="bug", error="TypeError: x"))
    assert _state(_run(runs)) == ("failed", "bug", "TypeError: x")


def test_an_earlier_start_in_the_same_log_is_not_read(tmp_path: Path) -> None:
    first = f"INFO - Starting with JobEnvironment(job_id=7)\n{OOM}\n"
    (tmp_path / "log").write_text(f"{first}INFO - Starting with JobEnvironment(job_id=7)\nepoch 1\n")
    assert log_tail(tmp_path / "log") == "epoch 1\n"


def test_of_a_long_log_the_end_is_read(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("line\n" * 100_000 + "the end\n")
    text = log_tail(tmp_path / "log")
    assert (text.endswith("the end\n"), len(text) < 20_000) == (True, True)


def test_a_run_of_two_tables_is_one_task_of_both(runs: Path) -> None:
    status = StatusReader([_table(1, PROBES), _table(2, PROBES)], runs).read()
    assert [task.tables for task in status.tasks] == [(1, 2), (1, 2)]
    assert counted(status.of_table(2))["to do"] == 2


def test_json_has_counts_by_table_and_what_is_not_done(runs: Path, slurm: PrintingSlurm) -> None:
    _submit(runs, RUN, log=f"{OOM}\n")
    slurm.has(line("7_0", "FAILED"))
    document = json.loads(_read(runs).to_json())
    assert (document["tables"]["1"]["failed"], document["tables"]["all"]["to do"]) == (1, 1)
    (run, _) = document["tasks"]
    found = {name: run[name] for name in ("digest", "state", "failure", "reason", "job", "cluster", "attempt")}
    assert found == {
        "digest": RUN.digest,
        "state": "failed",
        "failure": "out of memory",
        "reason": OOM,
        "job": "7_0",
        "cluster": "ours",
        "attempt": 1,
    }


def test_every_spec_of_a_real_table_is_wanted_once_with_its_pretraining() -> None:
    table = build_table(1, "demo")
    found = wanted([table])
    assert set(found) == {spec.digest for spec in table.specs} | {spec.run.digest for spec in table.specs}
