"""A task that is stopped, preempted, requeued or loses its node goes on, and ends with the bits of an undisturbed one.

Each test freezes the task in the middle of training, by SIGSTOP through SLURM, so that no machine is too fast for what
is then done to it; what SLURM itself does to end a task wakes it. All of it happens once more to a task in a container,
where there is no scontrol.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from compmod.pretrain.records.record import Record
from compmod.slurm.submission.journal import entries
from compmod.slurm.submission.submit import submit
from compmod.slurm.task.failures import histories
from compmod.tables.paper.table import Table
from private_cluster import CONTAINED, PrivateCluster, until
from tables_of_tiny_runs import differences, tiny, tiny_table, undisturbed

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


@pytest.fixture(scope="module")
def table() -> Table:
    return tiny_table([tiny("byol+")])


@pytest.fixture(scope="module")
def straight(table: Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("straight")
    undisturbed(table, runs)
    return runs


class Disturbed:
    """One table on the cluster whose only pretraining is frozen in mid-training."""

    def __init__(self, cluster: PrivateCluster, table: Table, runs: Path, python: Sequence[str]) -> None:
        self.cluster, self.table, self.runs = cluster, table, runs
        (self.spec,) = table.specs
        self.record = Record(runs, self.spec.run)
        self.place = cluster.place(python=tuple(python))
        submit([table], runs, runs, self.place)
        self.job = entries(runs)[self.spec.run.digest].job_id
        self.measurement = entries(runs)[self.spec.digest].job_id
        metrics = self.record.path / "metrics.jsonl"
        until(lambda: metrics.exists() and '"train"' in metrics.read_text(), "the first logged steps")
        self.signal("STOP")
        until(lambda: _state(*self.processes()) == {"T"}, "a frozen task")
        assert self.record.status == "running"

    def signal(self, name: str) -> None:
        """Through SLURM, to the task."""
        self.cluster.run("scancel", f"--signal={name}", self.job)

    def processes(self) -> list[int]:
        """Those of the task that hold the record's lock."""
        lock = str(self.record.path / "lock")
        return [process for process in map(int, filter(str.isdigit, os.listdir("/proc"))) if lock in _opened(process)]

    def ends_as(self, straight: Path) -> None:
        """It starts again by itself, and all ends as if nothing had happened."""
        self.cluster.wait(self.job, "COMPLETED")
        assert int(self.cluster.job(self.job)["Restarts"]) > 0
        self.cluster.wait(self.measurement, "COMPLETED")
        assert differences(self.table, self.runs, straight) == []

    @property
    def saved(self) -> list[int]:
        """How many updates each stop saved."""
        return [failure.updates for failure in histories(self.runs).get(self.spec.run.digest, ())]


@pytest.fixture
def disturbed(request: pytest.FixtureRequest, cluster: PrivateCluster, table: Table, tmp_path: Path) -> Disturbed:
    return Disturbed(cluster, table, tmp_path, getattr(request, "param", [sys.executable]))


# Where the task itself decides whether it is queued again, which it does otherwise in a container.
also_contained = pytest.mark.parametrize(
    "disturbed", [[sys.executable], CONTAINED], ids=["plain", "contained"], indirect=True
)


@also_contained
def test_a_job_that_is_preempted(disturbed: Disturbed, straight: Path) -> None:
    urgent = disturbed.cluster.batch(
        "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"
    )
    disturbed.cluster.wait(urgent, "COMPLETED")
    disturbed.ends_as(straight)
    assert min(disturbed.saved) > 0


def test_a_job_that_is_requeued_by_hand(disturbed: Disturbed, straight: Path) -> None:
    disturbed.cluster.run("scontrol", "requeue", disturbed.job)
    disturbed.ends_as(straight)
    assert min(disturbed.saved) > 0


@also_contained
@pytest.mark.parametrize("name", ["USR2", "TERM"])
def test_a_job_that_gets_a_signal(disturbed: Disturbed, straight: Path, name: str) -> None:
    disturbed.signal(name)
    disturbed.signal("CONT")
    disturbed.ends_as(straight)
    assert min(disturbed.saved) > 0


@also_contained
def test_a_job_at_its_time_limit(disturbed: Disturbed, straight: Path) -> None:
    limit = disturbed.cluster.job(disturbed.job)["TimeLimit"]
    disturbed.cluster.run("scontrol", "update", f"jobid={disturbed.job}", "endtime=now+1")
    disturbed.cluster.wait(disturbed.job, "PENDING")  # SLURM looks every half minute
    # An earlier end is a lower limit, which the next starts would keep: a minute, most of which a slow machine imports.
    disturbed.cluster.run("scontrol", "update", f"jobid={disturbed.job}", f"timelimit={limit}")
    disturbed.ends_as(straight)
    assert min(disturbed.saved) > 0


def test_a_job_whose_node_loses_power(disturbed: Disturbed, straight: Path) -> None:
    node = disturbed.cluster.job(disturbed.job)["NodeList"]
    disturbed.cluster.fail(node)
    disturbed.ends_as(straight)
    assert disturbed.saved == []


def test_a_job_whose_node_is_given_up_while_it_goes_on(disturbed: Disturbed, straight: Path) -> None:
    node = disturbed.cluster.job(disturbed.job)["NodeList"]
    frozen = disturbed.processes()
    disturbed.cluster.orphan(node)
    until(lambda: disturbed.cluster.job(disturbed.job)["Restarts"] == "1", "a second start")
    disturbed.cluster.wait(disturbed.job, "RUNNING")
    for process in frozen:
        os.kill(process, signal.SIGCONT)  # two of them now: the second one waits for the first
    disturbed.ends_as(straight)


@also_contained
def test_a_job_that_its_user_cancels_stays_cancelled(disturbed: Disturbed) -> None:
    disturbed.cluster.run("scancel", disturbed.job)
    assert disturbed.cluster.wait(disturbed.job, "CANCELLED", "PENDING", "COMPLETED") == "CANCELLED"
    assert disturbed.cluster.wait(disturbed.measurement, "CANCELLED", "COMPLETED") == "CANCELLED"
    assert disturbed.record.status == "unfinished"
    assert min(disturbed.saved) > 0


def test_a_cancelled_job_that_is_submitted_again_goes_on(disturbed: Disturbed, straight: Path) -> None:
    disturbed.cluster.run("scancel", disturbed.job)
    disturbed.cluster.wait(disturbed.measurement, "CANCELLED")
    submit([disturbed.table], disturbed.runs, disturbed.runs, disturbed.place)
    noted = entries(disturbed.runs)
    assert {noted[spec.digest].attempt for spec in (disturbed.spec, disturbed.spec.run)} == {2}
    disturbed.cluster.wait(noted[disturbed.spec.digest].job_id, "COMPLETED")
    assert differences(disturbed.table, disturbed.runs, straight) == []


def _opened(process: int) -> list[str]:
    folder = f"/proc/{process}/fd"
    try:
        return [os.readlink(f"{folder}/{number}") for number in os.listdir(folder)]
    except OSError:  # it has just ended
        return []


def _state(*processes: int) -> set[str]:
    return {Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] for process in processes}
