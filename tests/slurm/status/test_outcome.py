"""How a submission ended, by what its tasks left behind: records, noted failures and logs."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.measurement import Evaluation, Work
from compmod.slurm.status import outcome as outcomes
from compmod.slurm.status.outcome import LISTED, main, outcome
from compmod.slurm.submission import journal
from compmod.slurm.submission.journal import JournalEntry
from compmod.slurm.task.failures import Failure, FailureKind, note
from compmod.slurm.task.log import START
from compmod.slurm.task.task import Task, store
from one_cell_tables import tiny_run

RUN = tiny_run(0)
PROBES = Evaluation(run=RUN)

# Logs of jobs that were cancelled while they started, as SLURM 22.05 and NumPy 2 wrote them.
EXPIRED = (
    "srun: error: Slurm job 7 has expired\nsrun: Check SLURM_JOB_ID environment variable. Expired or invalid job 7\n"
)
REVOKED = (
    "srun: error: Task launch for StepId=7.0 failed on node n1: Job credential revoked\n"
    "srun: error: Application launch failed: Job credential revoked\n"
    "srun: Job step aborted\n"
)
CANCELLED_IN_AN_IMPORT = (
    "slurmstepd-n1: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-30T16:27:16 ***\n"
    "Traceback (most recent call last):\n"
    '  File "numpy/_core/multiarray.py", line 11, in <module>\n'
    "    from . import _multiarray_umath, overrides\n"
    'ImportError: PyCapsule_Import could not import module "datetime"\n'
    "srun: error: n1: task 0: Exited with exit code 1\n"
)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def _tasks(runs: Path, *specs: Work) -> list[Task]:
    return [Task.of(spec, runs, runs) for spec in specs]


def _submitted(runs: Path, *specs: Work, log: str = "") -> None:
    for place, spec in enumerate(specs):
        entry = JournalEntry(
            digest=spec.digest,
            folder=spec.folder,
            job_id=f"7_{place}",
            cluster="ours",
            where="there",
            user="ann",
            submitted=time.time() - 60,
            logs=str(runs / "logs"),
        )
        journal.append(runs, [entry])
        entry.log.parent.mkdir(exist_ok=True)
        entry.log.write_text(log)


def _done(runs: Path, *specs: Work) -> None:
    for spec in specs:
        record = Record(runs, spec)
        record.start()
        record.finish({}, {})


def test_a_submission_whose_records_are_all_done_is_finished(runs: Path) -> None:
    _done(runs, RUN, PROBES)
    assert outcome(_tasks(runs, RUN, PROBES)) == ("finished", "finished: 2 of 2 tasks done")


@pytest.mark.parametrize(
    "kind, state",
    [
        ("bug", "failed"),
        ("out of memory", "failed"),
        ("diverged", "failed"),
        ("preempted", "stalled"),
        ("time limit", "stalled"),
        ("node failure", "stalled"),
        ("cancelled", "stalled"),
    ],
)
def test_what_a_task_noted_last_says_whether_it_failed(runs: Path, kind: FailureKind, state: str) -> None:
    _submitted(runs, RUN, PROBES)
    _done(runs, PROBES)
    note(runs, RUN.digest, Failure(kind=kind, error="why it ended", job_id="7_0"))
    assert outcome(_tasks(runs, RUN, PROBES)) == (
        state,
        f"{state}: 1 of 2 tasks done, 1 {state}\n{state}: {RUN.folder}: {kind}: why it ended",
    )


@pytest.mark.parametrize(
    "log, state, reason",
    [
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=7.0\n", "failed", "oom_kill event"),
        ("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2024-05-01T10:00:00 ***\n", "stalled", "CANCELLED AT"),
        ("no such image\nsrun: error: n1: task 0: Exited with exit code 3\n", "failed", "no such image"),
        (f"{START}(job_id=7)\nstopping\nsrun: error: n1: task 0: Exited with exit code 75\n", "stalled", "stopping"),
        ("Unable to locate a modulefile for 'none'\n", "failed", "modulefile"),
        (
            "srun: error: Unable to create step for job 7: Invalid generic resource (gres) specification\n",
            "failed",
            "gres",
        ),
        (EXPIRED, "stalled", "Expired or invalid job 7"),
        (REVOKED, "stalled", "Job step aborted"),
        (CANCELLED_IN_AN_IMPORT, "stalled", "ImportError"),
        (f"{START}(job_id=7)\nstep 20 of 300\n", "stalled", "step 20 of 300"),
        ("", "stalled", "it did not start"),
    ],
)
def test_where_a_task_noted_nothing_its_log_tells(runs: Path, log: str, state: str, reason: str) -> None:
    _submitted(runs, RUN, log=log)
    found = outcome(_tasks(runs, RUN))
    assert found.state == state
    assert reason in found.summary


def test_a_task_that_was_stopped_went_on_and_was_then_killed_has_failed(runs: Path) -> None:
    _submitted(runs, RUN, log=f"{START}(job_id=7)\nslurmstepd: error: Detected 1 oom_kill event in StepId=7.0\n")
    note(runs, RUN.digest, Failure(kind="preempted", error="stopped by SIGTERM", job_id="7_0"))
    assert outcome(_tasks(runs, RUN)).state == "failed"


def test_a_task_that_was_stopped_before_may_yet_be_seen_to_have_finished(runs: Path) -> None:
    _submitted(runs, RUN)
    note(runs, RUN.digest, Failure(kind="preempted", error="stopped by SIGTERM", job_id="7_0"))
    threading.Timer(0.5, _done, (runs, RUN)).start()
    assert outcome(_tasks(runs, RUN), patience_s=20).state == "finished"


def test_a_failure_of_an_earlier_submission_is_not_that_of_this_one(runs: Path) -> None:
    _submitted(runs, RUN)
    note(runs, RUN.digest, Failure(kind="bug", error="of yesterday", job_id="3_0"))
    assert "of yesterday" not in outcome(_tasks(runs, RUN)).summary


def test_one_failure_makes_the_submission_failed_though_measurements_did_not_start(runs: Path) -> None:
    _submitted(runs, RUN, PROBES)
    note(runs, RUN.digest, Failure(kind="bug", error="TypeError: x", job_id="7_0"))
    assert outcome(_tasks(runs, RUN, PROBES)).summary.splitlines()[0] == (
        "failed: 0 of 2 tasks done, 1 failed, 1 stalled"
    )


def test_a_record_that_is_damaged_has_failed(runs: Path) -> None:
    (runs / RUN.folder / "results.json").mkdir(parents=True)
    assert outcome(_tasks(runs, RUN)).state == "failed"


def test_a_summary_is_short_and_has_no_control_characters(runs: Path) -> None:
    specs = [tiny_run(seed) for seed in range(LISTED + 5)]
    _submitted(runs, *specs)
    for place, spec in enumerate(specs):
        note(runs, spec.digest, Failure(kind="bug", error=f"\x1b[2J\r\n{'x' * 1000}", job_id=f"7_{place}"))
    lines = outcome(_tasks(runs, *specs)).summary.split("\n")
    assert len(lines) == LISTED + 2
    assert lines[-1] == "and 5 more"
    assert all(line.isprintable() and len(line) < 400 for line in lines)


def test_what_another_node_wrote_just_now_is_waited_for(runs: Path) -> None:
    threading.Timer(0.5, _done, (runs, RUN)).start()
    assert outcome(_tasks(runs, RUN), patience_s=20).state == "finished"


def test_what_is_certain_is_told_at_once(runs: Path) -> None:
    _submitted(runs, RUN, PROBES)
    note(runs, RUN.digest, Failure(kind="bug", error="TypeError: x", job_id="7_0"))
    began = time.monotonic()
    assert outcome(_tasks(runs, RUN, PROBES), patience_s=20).state == "failed"
    assert time.monotonic() - began < 10


def test_the_state_is_the_first_word_that_the_program_prints(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    monkeypatch.setattr(outcomes, "VISIBLE_S", 0.0)
    _done(runs, RUN)
    main("mark:", [str(store(_tasks(runs, spec), runs)) for spec in (RUN, PROBES)])
    assert capsys.readouterr().out.startswith("mark:stalled\nstalled: 1 of 2 tasks done, 1 stalled\n")
