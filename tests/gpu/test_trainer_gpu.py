"""CUDA: a run that is stopped or killed at a fixed step and resumed ends with the same bits as one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Backbone, Run
from compmod.pretrain.trainer import train
from compmod.pretrain.training.interruption import Interrupted
from compmod.pretrain.training.session import Session
from gpu_device import DEVICE, signal_after
from safetensors.torch import load_file

pytestmark = pytest.mark.gpu
SESSION = Session(device=DEVICE, online_every=0, linear_epochs=2, quiet=True)
STOPS = (5, 13)  # steps, of 24
KILLED = 13
# A process of its own, which a signal that nothing can catch ends after a step; it saved at the end of each epoch.
KILL = """
import json, signal, sys
from pathlib import Path
from compmod.pretrain.specs.run import Run
from compmod.pretrain.trainer import train
from compmod.pretrain.training.session import Session
from gpu_device import DEVICE, signal_after
encoded, folder, step = sys.argv[1:]
session = Session(device=DEVICE, online_every=0, linear_epochs=2, quiet=True, checkpoint_epochs=1)
with signal_after([int(step)], signal.SIGKILL):
    train(Run.from_dict(json.loads(encoded)), Path(folder), Path(folder), session=session)
"""


def run_of(method: str, precision: str) -> Run:
    return replace(
        preset(method, "digits"),
        epochs=3,
        batch_size=64,
        train_images=512,
        backbone=Backbone(width=16),
        precision=precision,  # type: ignore[arg-type]
    )


def encoder(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*/encoder.safetensors")
    return load_file(file)


def same(one: Path, other: Path) -> bool:
    first, second = encoder(one), encoder(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["simclr", "simclr+", "byol", "byol+", "barlow_twins", "barlow_twins+"])
def test_a_stopped_and_resumed_run_equals_a_straight_one(tmp_path: Path, method: str, precision: str) -> None:
    run = run_of(method, precision)
    train(run, tmp_path / "straight", tmp_path, session=SESSION)
    with signal_after(STOPS) as left:
        for _ in STOPS:
            with pytest.raises(Interrupted):
                train(run, tmp_path / "stopped", tmp_path, session=SESSION)
    train(run, tmp_path / "stopped", tmp_path, session=SESSION)
    assert not left
    assert same(tmp_path / "straight", tmp_path / "stopped")


@pytest.mark.parametrize("method", ["simclr+", "moco"])
def test_a_killed_and_resumed_run_equals_a_straight_one(tmp_path: Path, method: str) -> None:
    run = run_of(method, "bfloat16")
    train(run, tmp_path / "straight", tmp_path, session=SESSION)
    words = [json.dumps(run.to_dict()), str(tmp_path / "killed"), str(KILLED)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run([sys.executable, "-c", KILL, *words], env=environment, capture_output=True, text=True)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert [path.name for path in (tmp_path / "killed").glob("*/checkpoints/*.pt")]
    train(run, tmp_path / "killed", tmp_path, session=SESSION)
    assert same(tmp_path / "straight", tmp_path / "killed")
