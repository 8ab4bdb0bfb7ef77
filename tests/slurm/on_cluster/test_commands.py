"""The commands on a real cluster: check it, submit a table, watch it, cancel it, take it up again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from compmod.tables.build import build_table
from private_cluster import PrivateCluster, until

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

ENTRY = """
[cluster.private]
partition = "low"
gpus_per_node = 0
cpus_per_gpu = 1
hours = 1.0
max_parallel = 1
"""


class Commands:
    """`compmod` as a person on a login node uses it, for the demo of Table 1."""

    def __init__(self, cluster: PrivateCluster, folder: Path) -> None:
        self.cluster, self.runs = cluster, folder / "runs"
        file = folder / "clusters.toml"
        file.write_text(ENTRY)
        cluster.environment["COMPMOD_CLUSTERS"] = str(file)

    def plain(self, *words: str) -> str:
        return self.cluster.run(sys.executable, "-m", "compmod", *words)

    def __call__(self, *words: str) -> str:
        return self.plain(*words, "--scale", "demo", "--runs", str(self.runs))

    def status(self) -> Any:
        return json.loads(self("status", "1", "--json"))

    def counts(self) -> dict[str, int]:
        """How many tasks of the table stand in each state that has any."""
        return {state: count for state, count in self.status()["tables"]["all"].items() if count}


@pytest.fixture
def compmod(cluster: PrivateCluster, tmp_path: Path) -> Commands:
    return Commands(cluster, tmp_path)


def test_a_cluster_is_checked_by_running_a_tiny_job(compmod: Commands) -> None:
    said = compmod.plain("cluster", "check", "private", "--run")
    assert "FAULTY" not in said
    assert "torch" in said


def test_a_table_is_submitted_shown_cancelled_and_taken_up_again(compmod: Commands) -> None:
    count = 2 * len(build_table(1, "demo").specs)  # each has a run of its own
    assert f"{count} tasks in" in compmod("submit", "1", "--cluster", "private")
    assert "Nothing to submit." in compmod("submit", "1", "--cluster", "private")
    until(lambda: compmod.counts().get("running") == 1, "a running task")
    assert compmod.counts()["queued"] >= count - 3  # one at a time
    (running,) = [task["digest"] for task in compmod.status()["tasks"] if task["state"] == "running"]
    logs = compmod.runs / ".slurm" / "jobs"
    until(lambda: any(path.stat().st_size for path in logs.glob("*/*_log.out")), "a log")
    assert running in compmod.plain("logs", running[:8], "--runs", str(compmod.runs))
    compmod("cancel", "1")
    until(lambda: not compmod.cluster.queue(), "an empty queue")
    assert not {"running", "queued"} & set(compmod.counts())
    done = compmod.counts().get("done", 0)
    assert f"{count - done} tasks in" in compmod("submit", "1", "--cluster", "private")
