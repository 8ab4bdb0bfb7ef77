"""A whole table on a real cluster in the midst of chaos ends as an undisturbed one.

A file of its own near the front of the alphabet, so that the longest of these tests begins early.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from compmod.slurm.submission.submit import submit
from compmod.tables.paper.table import Table
from private_cluster import NODES, PrivateCluster
from tables_of_tiny_runs import differences, filled, tiny_table_1, undisturbed

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


class Chaos:
    """A table on the cluster, and what can go wrong with it, drawn by chance."""

    def __init__(self, cluster: PrivateCluster, table: Table, runs: Path, seed: int) -> None:
        self.cluster, self.table, self.runs = cluster, table, runs
        self.random = random.Random(seed)
        self.happened: Counter[str] = Counter()
        self.events: dict[str, tuple[int, Callable[[str], None]]] = {  # name -> how often it is drawn, what it does
            "preemption": (6, self._preempt),
            "requeue": (5, lambda job: self._try("scontrol", "requeue", job)),
            "SIGUSR2": (4, lambda job: self._try("scancel", "--signal=USR2", job)),
            "SIGTERM": (4, lambda job: self._try("scancel", "--signal=TERM", job)),
            "kill -9": (5, self._kill),
            "cancelled": (2, lambda job: self._try("scancel", job)),
            "power loss": (2, self._lose_power),
        }

    def disturb(self) -> None:
        """One event that hits a running job, if there is one."""
        running = [line.split()[0] for line in self.cluster.queue() if " RUNNING low" in line]
        if not running:
            return
        names = list(self.events)
        (name,) = self.random.choices(names, [self.events[each][0] for each in names])
        self.events[name][1](self.random.choice(running))
        self.happened[name] += 1

    def submit(self) -> int:
        """What a person does who sees that something failed; how many tasks that took."""
        sent = submit([self.table], self.runs, self.runs, self.cluster.place())
        return sum(len(job.steps) for job in sent.arranged.jobs)

    def _preempt(self, job: str) -> None:
        node = self.cluster.job(job).get("NodeList", "n1")
        self._try(
            *("sbatch", "--partition=high", f"--nodelist={node}", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
        )

    def _kill(self, job: str) -> None:
        """The processes of the task itself, as the kernel does that has no memory left."""
        number = self.cluster.job(job)["JobId"]
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                ours = f"SLURM_JOB_ID={number}\0".encode() in (entry / "environ").read_bytes()
                if ours and b"compmod.slurm.task.start" in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:  # it has just ended
                continue

    def _lose_power(self, job: str) -> None:
        node = self.cluster.job(job).get("NodeList")
        for each in NODES:
            if each == node:
                self.cluster.fail(each)
                time.sleep(self.random.uniform(0, 4))
                self.cluster.revive(each)

    def _try(self, *command: str) -> None:
        """The job may have ended meanwhile; of one that is ending scancel asks again and again, for a minute."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(command, env=self.cluster.environment, capture_output=True, timeout=3)


EVENTS = 30


@pytest.mark.timeout(2100)
def test_a_table_in_the_midst_of_chaos_ends_as_an_undisturbed_one(cluster: PrivateCluster, tmp_path: Path) -> None:
    table = tiny_table_1(epochs=30)
    chaos = Chaos(cluster, table, tmp_path / "chaos", seed=0)
    chaos.submit()
    submissions = 1
    start = time.monotonic()
    while not filled(table, chaos.runs):
        assert time.monotonic() - start < 1500, f"{dict(chaos.happened)} and not filled: {cluster.queue()}"
        time.sleep(chaos.random.uniform(0.5, 3.5))
        if sum(chaos.happened.values()) < EVENTS:
            chaos.disturb()
        if not [line for line in cluster.queue() if line.endswith("low")]:
            submissions += chaos.submit() > 0
    seconds = time.monotonic() - start
    print(f"{dict(chaos.happened)}, {submissions} submissions, {seconds:.0f} s")
    assert sum(chaos.happened.values()) >= EVENTS
    undisturbed(table, tmp_path / "straight")
    assert differences(table, chaos.runs, tmp_path / "straight") == []
