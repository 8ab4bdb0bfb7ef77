"""The command under torchrun, two processes on a CPU: equal to one process, stopped and resumed to the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

OPTIONS = [
    *("--dataset", "digits", "--epochs", "3", "--batch-size", "32", "--train-images", "128", "--precision", "float64"),
    *("--backbone.width", "4", "--projector.hidden", "16", "--optimizer.name", "sgd", "--optimizer.lr", "0.01"),
    *("--schedule.warmup-steps", "0", "--online-every", "0", "--linear-epochs", "1", "--log-every", "1"),
    *("--device", "cpu"),
]


def command(method: str, runs: Path, processes: int, *more: str) -> list[str]:
    launcher = [sys.executable, "-m"]
    if processes > 1:
        launcher += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    return [*launcher, "compmod", "pretrain", method, *OPTIONS, "--runs", str(runs), *more]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


def pretrain(method: str, runs: Path, processes: int, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(method, runs, processes, *more), env=environment(), capture_output=True, text=True, timeout=300
    )


def result(runs: Path) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Lines of the log, and the encoder."""
    (run,) = runs.iterdir()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "train"], load_file(run / "encoder.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["simclr+", "byol"])
def test_two_processes_train_what_one_trains(method: str, tmp_path: Path) -> None:
    for processes in (1, 2):
        done = pretrain(method, tmp_path / str(processes), processes)
        assert done.returncode == 0, done.stderr
    (one, first), (two, second) = (result(tmp_path / name) for name in "12")
    assert [line["step"] for line in two] == list(range(1, 13))  # one writer: every line once
    for mine, theirs in zip(two, one, strict=True):
        assert abs(mine["loss"] - theirs["loss"]) < 1e-10 * abs(theirs["loss"])
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.slow
def test_a_stopped_pair_resumes_to_the_same_bits(tmp_path: Path) -> None:
    often = ("--epochs", "4", "--checkpoint-minutes", "0.00001")
    done = pretrain("byol+", tmp_path / "straight", 2, "--epochs", "4")
    assert done.returncode == 0, done.stderr
    child = subprocess.Popen(command("byol+", tmp_path / "stopped", 2, *often), env=environment(), text=True)
    while not list((tmp_path / "stopped").glob("*/checkpoints/step-*.pt")):
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=120) != 0
    (run,) = (tmp_path / "stopped").iterdir()
    assert not (run / "results.json").exists()
    done = pretrain("byol+", tmp_path / "stopped", 2, "--epochs", "4")
    assert done.returncode == 0, done.stderr
    (_, straight), (_, resumed) = result(tmp_path / "straight"), result(tmp_path / "stopped")
    assert all(torch.equal(resumed[name], value) for name, value in straight.items())


def test_a_batch_that_cannot_be_shared_is_one_clear_line(tmp_path: Path) -> None:
    done = pretrain("simclr", tmp_path, 2, "--batch-size", "31")
    assert done.returncode != 0
    assert done.stderr.count("error: batch_size 31 cannot be shared equally by 2 processes") == 1
