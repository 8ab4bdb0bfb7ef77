"""The user's command on a real cluster: called once for each submission, when the last of its tasks has ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.run import Run
from compmod.slurm.clusters.cluster import Cluster
from compmod.slurm.submission.journal import entries
from compmod.slurm.submission.submit import submit
from private_cluster import CONTAINED, PrivateCluster, until
from tables_of_tiny_runs import tiny, tiny_table

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

SHORT, LONG = tiny("simclr", epochs=1), tiny("simclr", epochs=12, seed=1)


class Notified:
    """A submission to a cluster whose entry appends what the command hears to a file."""

    def __init__(self, cluster: PrivateCluster, folder: Path, *runs: Run, **settings: object) -> None:
        self.cluster, self.runs, self.heard = cluster, folder / "my runs", folder / "heard"
        notify = f"{{ echo \"$COMPMOD_STATE on $COMPMOD_CLUSTER in $COMPMOD_RUNS\"; cat; }} >> '{self.heard}'"
        self.place: Cluster = cluster.place(notify=notify, **settings)
        submit([tiny_table(runs)], self.runs, folder, self.place)
        (self.job,) = [line.split()[0] for line in self.queue() if line.endswith("compmod-notify")]

    def queue(self) -> list[str]:
        """Number, state, reason and name of what waits or runs."""
        return self.cluster.run("squeue", "--noheader", "--array", "--format=%i %T %r %j").splitlines()

    def hears(self) -> list[str]:
        """What the command has heard when its job is over."""
        until(lambda: not self.cluster.queue(), "an empty queue", timeout=300)
        return self.heard.read_text().splitlines()


def test_it_hears_that_all_is_done_and_its_job_is_no_task(cluster: PrivateCluster, tmp_path: Path) -> None:
    one = Notified(cluster, tmp_path, SHORT, python=("sh", "-c", 'echo a banner; exec "$@"', "sh", *CONTAINED))
    assert one.job not in [entry.job_id.partition("_")[0] for entry in entries(one.runs).values()]
    assert one.hears() == [f"finished on private in {one.runs}", "finished: 2 of 2 tasks done"]


def test_a_task_that_is_queued_again_does_not_set_it_off(cluster: PrivateCluster, tmp_path: Path) -> None:
    one = Notified(cluster, tmp_path, SHORT, LONG)
    noted, metrics = entries(one.runs), Record(one.runs, LONG).path / "metrics.jsonl"
    short, long = noted[SHORT.digest].job_id, noted[LONG.digest].job_id
    assert short.partition("_")[0] == long.partition("_")[0]  # one array
    until(lambda: metrics.exists() and '"train"' in metrics.read_text(), "the first logged steps")
    cluster.run("scancel", "--signal=USR2", long)
    cluster.wait(long, "PENDING")  # for some seconds
    cluster.wait(short, "COMPLETED")
    assert cluster.job(long)["Restarts"] == "1"
    assert f"{one.job} PENDING Dependency compmod-notify" in one.queue()
    assert not one.heard.exists()
    assert one.hears()[1:] == ["finished: 4 of 4 tasks done"]
    assert cluster.state(long) == "COMPLETED"


def test_it_hears_what_failed(cluster: PrivateCluster, tmp_path: Path) -> None:
    dies = ("sh", "-c", 'case "$*" in *task.start*) echo no such image; exit 3 ;; esac; exec "$@"', "sh")
    one = Notified(cluster, tmp_path, SHORT, python=(*dies, *CONTAINED[-1:]))
    heard = one.hears()
    assert heard[0].startswith("failed on private")
    assert heard[1:] == [
        "failed: 0 of 2 tasks done, 1 failed, 1 stalled",
        f"failed: {SHORT.folder}: no such image",
        heard[-1],
    ]
    assert heard[-1].endswith("it did not start")


def test_it_hears_what_was_cancelled(cluster: PrivateCluster, tmp_path: Path) -> None:
    one = Notified(cluster, tmp_path, LONG)
    cluster.run("scancel", entries(one.runs)[LONG.digest].job_id)
    heard = one.hears()
    assert heard[0].startswith("stalled on private")
    assert heard[1] == "stalled: 0 of 2 tasks done, 2 stalled"


def test_a_command_that_fails_hurts_nothing(cluster: PrivateCluster, tmp_path: Path) -> None:
    place = cluster.place(notify="cat; exit 7")
    submit([tiny_table([SHORT])], tmp_path, tmp_path, place)
    until(lambda: not cluster.queue(), "an empty queue", timeout=300)
    assert Record(tmp_path, SHORT).status == "done"
    logs = [path.read_text() for path in (tmp_path / ".slurm/jobs").glob("*/*_log.out")]
    assert [log.splitlines()[-1] for log in logs if "notify" in log] == [
        "notify ended with status 7, for COMPMOD_STATE=finished"
    ]
