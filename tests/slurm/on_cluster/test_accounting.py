"""What sacct tells of jobs that have ended, with slurmdbd and MariaDB, and where accounting is off."""

from __future__ import annotations

import pytest
from compmod.slurm.clusters.squeue import accounted
from private_cluster import PrivateCluster, until

pytestmark = pytest.mark.slurm

AGAIN = '[ -n "$SLURM_RESTART_COUNT" ] || { scontrol requeue $SLURM_JOB_ID; sleep 60; }'


def test_sacct_tells_how_each_job_ended_and_how_often_it_started(accounting: PrivateCluster) -> None:
    commands = {"COMPLETED": AGAIN, "FAILED": "exit 3", "CANCELLED": "sleep 600"}
    jobs = {
        state: accounting.batch("--requeue", "--output=/dev/null", f"--wrap={command}")
        for state, command in commands.items()
    }
    accounting.wait(jobs["CANCELLED"], "RUNNING")
    accounting.run("scancel", jobs["CANCELLED"])
    for state, job in jobs.items():
        accounting.wait(job, state)
    until(lambda: {state: accounted([job])[job].state for state, job in jobs.items()} == {s: s for s in jobs}, "sacct")
    assert accounted([jobs["COMPLETED"]])[jobs["COMPLETED"]].starts == 2
    assert accounted([jobs["FAILED"]])[jobs["FAILED"]].exit_code == 3


def test_without_accounting_sacct_tells_nothing_and_that_is_no_error(cluster: PrivateCluster) -> None:
    job = cluster.batch("--output=/dev/null", "--wrap=true")
    cluster.wait(job, "COMPLETED")
    assert accounted([job]) == {}
