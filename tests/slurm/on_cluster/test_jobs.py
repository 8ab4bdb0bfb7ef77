"""The private cluster itself does what the other tests on it rely on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from private_cluster import SCRIPT, PrivateCluster, until

pytestmark = pytest.mark.slurm


def test_a_job_step_runs_on_both_nodes(cluster: PrivateCluster) -> None:
    said = cluster.run("srun", "--nodes=2", "bash", "-c", "echo $SLURMD_NODENAME $SLURM_PROCID of $SLURM_NTASKS")
    assert sorted(said.splitlines()) == ["n1 0 of 2", "n2 1 of 2"]


def test_starting_it_again_changes_nothing(cluster: PrivateCluster) -> None:
    before = {path.name: path.read_text() for path in cluster.folder.glob("*.pid")}
    cluster.start()
    assert {path.name: path.read_text() for path in cluster.folder.glob("*.pid")} == before
    assert sorted(before) == ["munged.pid", "slurmctld.pid", "slurmd.n1.pid", "slurmd.n2.pid"]


def test_a_job_on_a_node_that_loses_power_is_requeued_and_ends_on_the_other(
    cluster: PrivateCluster, tmp_path: Path
) -> None:
    tries = tmp_path / "tries"
    script = f'echo $SLURMD_NODENAME $SLURM_RESTART_COUNT >> {tries}; [ -n "$SLURM_RESTART_COUNT" ] || sleep 600'
    job = cluster.batch("--nodelist=n1", "--requeue", "--output=/dev/null", f"--wrap={script}")
    until(tries.exists, "the first try")
    cluster.fail("n1")
    cluster.wait(job, "PENDING")
    cluster.run("scontrol", "update", f"jobid={job}", "reqnodelist=")
    cluster.wait(job, "COMPLETED")
    cluster.revive("n1")
    assert [line.split() for line in tries.read_text().splitlines()] == [["n1"], ["n2", "1"]]


def test_stopping_leaves_no_process(short_folder: Path) -> None:
    other = PrivateCluster(short_folder)
    other.start()
    other.batch("--output=/dev/null", "--wrap=sleep 600")
    until(lambda: any("RUNNING" in line for line in other.queue()), "a running job")
    other.stop()
    mine = [path for path in Path("/proc").glob("[0-9]*/environ") if str(short_folder).encode() in _read(path)]
    assert mine == []


def test_the_script_names_what_it_knows() -> None:
    done = subprocess.run([SCRIPT, "restart", "/nowhere/at-all"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "known: start, stop, status" in done.stderr


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has just ended
        return b""
