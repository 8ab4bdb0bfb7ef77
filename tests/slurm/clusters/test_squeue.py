"""What squeue, sacct and scancel print, odd forms among it.

The executables here only print: a mock of output formats. The commands themselves are tested on a real SLURM.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from compmod.slurm.clusters import squeue as queue
from compmod.slurm.clusters.squeue import (
    Accounted,
    Queued,
    SlurmError,
    accounted,
    cancel,
    cluster_name,
    expanded,
    queued,
    submitted,
)
from printing_slurm import PrintingSlurm, line


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PrintingSlurm:
    return PrintingSlurm(tmp_path / "bin", monkeypatch)


def test_squeues_lines_become_jobs_by_number(slurm: PrintingSlurm) -> None:
    slurm.says(
        "squeue",
        "12_0|RUNNING|1-02:03:04|10:00|ann|n[1-2]|None\n"
        "12_1|PENDING|0:00|30:00|ann||Resources\n9|TIMEOUT|5:00|0:00|ann|n1|None\n",
    )
    found = queued(["12_0", "12_1", "9"])
    assert found["12_0"] == Queued("12_0", "RUNNING", "1-02:03:04", "10:00", "ann", "n[1-2]", "None")
    assert [(job.live, job.waiting) for job in found.values()] == [(True, False), (True, True), (False, False)]


def test_an_array_is_asked_for_once(slurm: PrintingSlurm) -> None:
    slurm.says("squeue")
    queued(["12_0", "12_1", "9", "12_2"])
    assert "--jobs=12,9" in slurm.arguments("squeue")[0].split()


def test_nothing_is_asked_when_nothing_was_submitted(slurm: PrintingSlurm) -> None:
    slurm.says("squeue")
    assert queued([]) == {}
    assert slurm.arguments("squeue") == []


def test_every_task_of_this_user_counts_whatever_submitted_it(slurm: PrintingSlurm) -> None:
    slurm.says("squeue", "12_1\n12_[2-4,9%2]\n   7\nslurm_load_jobs: retrying\n")
    assert submitted() == 6
    (asked,) = slurm.arguments("squeue")
    assert {"--array", f"--user={os.getuid()}"} <= set(asked.split())


@pytest.mark.parametrize(
    "number, tasks",
    [
        ("7", ("7",)),
        ("7_3", ("7_3",)),
        ("7_[3]", ("7_3",)),
        ("7_[0,4-6]", ("7_0", "7_4", "7_5", "7_6")),
        ("7_[4-9%2]", ("7_4", "7_5", "7_6", "7_7", "7_8", "7_9")),
        ("7_[0-8:4%1]", ("7_0", "7_4", "7_8")),
        ("7_[0-2,5,...]", ("7_0", "7_1", "7_2", "7_5")),
    ],
)
def test_a_number_of_an_array_expands_to_its_tasks(number: str, tasks: tuple[str, ...]) -> None:
    assert expanded(number) == tasks


def test_a_line_of_a_whole_array_counts_for_each_task(slurm: PrintingSlurm) -> None:
    slurm.says("squeue", "7_[0-1%1]|PENDING|0:00|30:00|ann||JobArrayTaskLimit\n")
    assert [job.reason for job in queued(["7_0"]).values()] == ["JobArrayTaskLimit"] * 2


def test_a_reason_may_hold_the_separator(slurm: PrintingSlurm) -> None:
    slurm.says("squeue", "7|PENDING|0:00|30:00|ann||ReqNodeNotAvail, Reserved|for maintenance\n")
    assert queued(["7"])["7"].reason == "ReqNodeNotAvail, Reserved|for maintenance"


@pytest.mark.parametrize("line", ["", "slurm_load_jobs: note", "7|RUNNING", "JOBID|STATE|TIME|LEFT|USER|NODES|REASON"])
def test_a_line_that_is_no_job_is_passed_over(slurm: PrintingSlurm, line: str) -> None:
    slurm.says("squeue", f"{line}\n8|RUNNING|1:00|1:00|ann|n1|None\n")
    assert list(queued(["7", "8"])) == ["8"]


def test_jobs_that_squeue_has_forgotten_are_not_there(slurm: PrintingSlurm) -> None:
    slurm.says("squeue", complains="slurm_load_jobs error: Invalid job id specified\n", status=1)
    assert queued(["7"]) == {}


def test_a_failing_squeue_is_one_line_with_its_words(slurm: PrintingSlurm) -> None:
    slurm.says(
        "squeue", complains="squeue: error: a\nslurm_load_jobs error: Unable to contact slurm controller\n", status=1
    )
    with pytest.raises(SlurmError, match=r"^squeue failed with status 1: squeue: error: a; slurm_load_jobs error: Un"):
        queued(["7"])


def test_a_missing_squeue_is_named(slurm: PrintingSlurm) -> None:
    with pytest.raises(SlurmError, match=r"squeue is not on PATH; expected on a login node"):
        queued(["7"])


def test_a_squeue_that_does_not_answer_is_given_up(slurm: PrintingSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm.says("squeue", seconds=60)
    monkeypatch.setattr(queue, "TIMEOUT_S", 0.2)
    with pytest.raises(SlurmError, match=r"squeue did not answer"):
        queued(["7"])


def test_a_users_own_format_changes_nothing(
    slurm: PrintingSlurm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slurm.says("squeue")
    script = slurm.folder / "squeue"
    script.write_text(script.read_text().replace("exit 0", 'echo "7|R${SQUEUE_FORMAT}|1:00|1:00|ann|n1|None"'))
    monkeypatch.setenv("SQUEUE_FORMAT", "%i")
    assert queued(["7"])["7"].state == "R"


def test_saccts_lines_become_states_with_exits_and_starts(slurm: PrintingSlurm) -> None:
    slurm.says(
        "sacct", "7_0|NODE_FAIL|0:0\n7_0|COMPLETED|0:0\n7_1|CANCELLED by 1000|0:15\n8|FAILED|1:0\n8.0|FAILED|1:0\n"
    )
    assert accounted(["7_0", "7_1", "8"]) == {
        "7_0": Accounted("7_0", "COMPLETED", 0, 0, 2),
        "7_1": Accounted("7_1", "CANCELLED", 0, 15, 1),
        "8": Accounted("8", "FAILED", 1, 0, 1),
    }


@pytest.mark.parametrize("line", ["JobID|State|ExitCode", "7|FAILED", "7|FAILED|x", "||"])
def test_an_odd_line_of_saccts_breaks_nothing(slurm: PrintingSlurm, line: str) -> None:
    slurm.says("sacct", f"{line}\n8|COMPLETED|0:0\n")
    assert accounted(["7", "8"])["8"].state == "COMPLETED"


def test_accounting_that_is_off_gives_no_states(slurm: PrintingSlurm) -> None:
    slurm.says("sacct", complains="Slurm accounting storage is disabled\n", status=1)
    assert accounted(["7"]) == {}


def test_accounting_that_is_not_there_gives_no_states(slurm: PrintingSlurm) -> None:
    assert accounted(["7"]) == {}


def test_many_jobs_are_cancelled_in_several_calls(slurm: PrintingSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "CANCELLED_AT_ONCE", 2)
    slurm.says("scancel")
    cancel(["1", "2_0", "3"])
    assert slurm.arguments("scancel") == ["1 2_0", "3"]


def test_cancelling_what_has_ended_is_no_error(slurm: PrintingSlurm) -> None:
    slurm.says("scancel", complains="scancel: error: Kill job error on job id 7: Invalid job id specified\n", status=1)
    cancel(["7"])
    assert slurm.arguments("scancel") == ["7"]


def test_a_failing_scancel_is_an_error(slurm: PrintingSlurm) -> None:
    slurm.says("scancel", complains="scancel: error: Kill job error on job id 7: Access/permission denied\n", status=1)
    with pytest.raises(SlurmError, match="permission denied"):
        cancel(["7"])


def test_the_clusters_name_is_read_from_its_configuration(slurm: PrintingSlurm) -> None:
    slurm.says("scontrol", "Configuration data\nClusterName             = mila\nSlurmctldHost[0] = c\n")
    assert cluster_name() == "mila"


def test_a_configuration_without_a_name_is_an_error(slurm: PrintingSlurm) -> None:
    slurm.says("scontrol", "Configuration data as of 2024-05-01\n")
    with pytest.raises(SlurmError, match="names no cluster; expected a line ClusterName"):
        cluster_name()


@pytest.mark.parametrize(
    "odd",
    ["", "|||||||", "slurm_load_jobs: retrying", "²|RUNNING|1|1|a|n|None", "7", "7|RUNNING", "\x00|\x1b[2J|a|b|c|d|e"],
)
def test_an_odd_line_of_squeue_costs_itself_alone(slurm: PrintingSlurm, odd: str) -> None:
    slurm.has(odd, line("41_0", "RUNNING"), odd)
    assert list(queued(["41_0"])) == ["41_0"]


@pytest.mark.parametrize("odd", ["", "||", "41|FAILED", "41_0|FAILED|²:x", "²|FAILED|1:0", "41_0|FAILED|" + "9" * 5000])
def test_an_odd_line_of_sacct_costs_itself_alone(slurm: PrintingSlurm, odd: str) -> None:
    slurm.says("sacct", f"{odd}\n41_0|FAILED|1:0\n")
    found = accounted(["41_0"])
    assert list(found) == ["41_0"]
    assert found["41_0"].exit_code == 1


def test_an_array_larger_than_slurms_own_limit_fills_no_memory() -> None:
    assert expanded("7_[1-3,999999990-999999999]") == ("7_1", "7_2", "7_3")
    assert expanded("7_[0-" + "9" * 5000 + "]") == ()
