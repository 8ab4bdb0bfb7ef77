"""Whole tables on a real cluster: filled by arrays, and submitted by two people at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from compmod.slurm.submission.journal import history
from compmod.slurm.submission.submit import submit
from private_cluster import PrivateCluster, until
from tables_of_tiny_runs import filled, tiny, tiny_table

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

SUBMIT = """
import json, sys
from pathlib import Path
from compmod.slurm.submission.submit import submit
from private_cluster import PrivateCluster
from tables_of_tiny_runs import tiny, tiny_table
folder, runs = map(Path, sys.argv[1:3])
table = tiny_table(tiny("simclr", epochs=1, seed=seed) for seed in range(int(sys.argv[3])))
print("ready", flush=True)
sys.stdin.readline()
print(sum(len(job.steps) for job in submit([table], runs, runs, PrivateCluster(folder).place()).arranged.jobs))
"""


def test_an_array_of_8_runs_and_their_dependent_evaluations_fill_a_table(
    cluster: PrivateCluster, tmp_path: Path
) -> None:
    table = tiny_table(tiny("simclr", epochs=1, seed=seed) for seed in range(8))
    sent = submit([table], tmp_path, tmp_path, cluster.place(max_parallel=3))
    assert [len(job.steps) for job in sent.arranged.jobs] == [8, 8]  # two calls of sbatch for sixteen tasks
    assert submit([table], tmp_path, tmp_path, cluster.place()).numbers == ()  # all are queued or running
    until(lambda: not cluster.queue(), "the end of sixteen tasks", timeout=500)
    assert filled(table, tmp_path)
    assert submit([table], tmp_path, tmp_path, cluster.place()).numbers == ()  # all are done


def test_two_people_who_submit_the_same_table_at_once_train_nothing_twice(
    cluster: PrivateCluster, tmp_path: Path
) -> None:
    count = 3
    command = [sys.executable, "-c", SUBMIT, str(cluster.folder), str(tmp_path), str(count)]
    paths = os.pathsep.join(sys.path)
    people = [
        subprocess.Popen(
            command,
            env={**cluster.environment, "LOGNAME": name, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("ada", "grace")
    ]
    for person in people:
        assert person.stdout is not None
        assert person.stdout.readline() == "ready\n"
    submitted = [int(person.communicate("now\n", timeout=100)[0]) for person in people]
    assert sorted(submitted) == [0, 2 * count]
    assert all(number == 1 for number in Counter(entry.digest for entry in history(tmp_path)).values())
    until(lambda: not cluster.queue(), "the end of six tasks", timeout=300)
    assert filled(tiny_table(tiny("simclr", epochs=1, seed=seed) for seed in range(count)), tmp_path)
