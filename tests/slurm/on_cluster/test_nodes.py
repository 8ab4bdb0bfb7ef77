"""Two nodes of a real cluster share a run: they meet by what SLURM tells them, and train what one process trains."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.run import Optimizer, Run, Schedule
from compmod.slurm.submission.arrays import Wish
from compmod.slurm.submission.journal import entries
from compmod.slurm.submission.submit import submit
from compmod.slurm.task.failures import histories
from private_cluster import CONTAINED, PrivateCluster, until
from safetensors.torch import load_file
from small_runs import small
from tables_of_tiny_runs import tiny_table

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

ADDRESS = """
import os
from compmod.pretrain.runtime.launch import meeting_point
print(os.environ["SLURM_PROCID"], os.environ["SLURMD_NODENAME"], meeting_point(os.environ)["MASTER_ADDR"])
"""
REPRODUCE = """
import json, sys
from pathlib import Path
from compmod.pretrain.specs.run import Run
from compmod.tables.reproduce import reproduce
reproduce(Run.from_dict(json.loads(sys.argv[1])), Path(sys.argv[2]), Path("data"), "cpu", quiet=True)
"""


def exact(method: str, epochs: int = 3) -> Run:
    """In double precision, with large batches and without Adam's steps, which magnify a difference of rounding."""
    run = small(method, train_images=96, epochs=epochs, precision="float64")
    optimizer, projector = Optimizer(name="sgd", lr=0.01), replace(run.projector, out=32)
    return replace(run, batch_size=32, optimizer=optimizer, projector=projector, schedule=Schedule(warmup_steps=0))


def step(run: Run, runs: Path) -> list[str]:
    """The command of a job step that works on `run`."""
    return [sys.executable, "-c", REPRODUCE, json.dumps(run.to_dict()), str(runs)]


def lines(record: Record) -> list[dict[str, Any]]:
    text = (record.path / "metrics.jsonl").read_text()
    return [line for line in map(json.loads, text.splitlines()) if line["kind"] == "train"]


def encoder(record: Record) -> dict[str, torch.Tensor]:
    return load_file(record.path / "encoder.safetensors")


def test_in_a_container_two_nodes_meet_at_the_first_as_outside(cluster: PrivateCluster, tmp_path: Path) -> None:
    both = ["--nodes=2", "--ntasks-per-node=1"]
    said = []
    for python in ((sys.executable,), CONTAINED):
        step = shlex.join(["srun", *python, "-c", ADDRESS])
        job = cluster.batch(*both, f"--output={tmp_path}/log", f"--wrap={step}")
        cluster.wait(job, "COMPLETED")
        said.append(sorted((tmp_path / "log").read_text().splitlines()))
    outside, inside = said
    assert [line.split()[:2] for line in outside] == [["0", "n1"], ["1", "n2"]]
    assert inside == outside


@pytest.mark.parametrize("method", ["simclr+", "byol"])
def test_two_nodes_train_what_one_process_trains(cluster: PrivateCluster, tmp_path: Path, method: str) -> None:
    run = exact(method)
    both = ["--nodes=2", "--ntasks-per-node=1"]
    cluster.run("srun", "--nodes=1", *step(run, tmp_path / "one"))
    cluster.run("srun", *both, *step(run, tmp_path / "two"))
    one, two = (Record(tmp_path / name, run) for name in ("one", "two"))
    assert [(found.provenance or {})["processes"] for found in (one, two)] == [1, 2]
    assert len(lines(two)) == len(lines(one))  # one writer: every line once
    for mine, theirs in zip(lines(two), lines(one), strict=True):
        assert abs(mine["loss"] - theirs["loss"]) < 1e-10 * abs(theirs["loss"])
    for name, value in encoder(one).items():
        torch.testing.assert_close(encoder(two)[name], value, rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize("python", [(sys.executable,), CONTAINED], ids=["plain", "contained"])
def test_a_submitted_run_on_two_nodes_stops_and_goes_on_to_the_same_bits(
    cluster: PrivateCluster, tmp_path: Path, python: tuple[str, ...]
) -> None:
    run = exact("byol+", epochs=12)
    cluster.run("srun", "--nodes=2", "--ntasks-per-node=1", *step(run, tmp_path / "straight"))
    straight, stopped = Record(tmp_path / "straight", run), Record(tmp_path / "stopped", run)
    submit([tiny_table([run])], tmp_path / "stopped", tmp_path, cluster.place(python=python), Wish(nodes=2))
    job = entries(tmp_path / "stopped")[run.digest].job_id
    until(lambda: (stopped.path / "metrics.jsonl").exists() and len(lines(stopped)) > 0, "a logged step")
    cluster.run("scancel", "--signal=USR2", job)
    cluster.wait(job, "COMPLETED")
    shown = cluster.job(job)
    assert (shown["NumNodes"], shown["NumTasks"], shown["Restarts"]) == ("2", "2", "1")
    assert [failure.updates > 0 for failure in histories(tmp_path / "stopped")[run.digest]] == [True]
    assert all(torch.equal(encoder(stopped)[name], value) for name, value in encoder(straight).items())
