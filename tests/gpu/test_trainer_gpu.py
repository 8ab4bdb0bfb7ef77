"""CUDA: a run that is stopped and resumed ends with the same bits as one that was not."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Backbone, Run
from compmod.pretrain.trainer import train
from compmod.pretrain.training.interruption import Interrupted
from compmod.pretrain.training.session import Session
from safetensors.torch import load_file

pytestmark = pytest.mark.gpu


def _run(method: str, precision: str) -> Run:
    return replace(
        preset(method, "digits"),
        epochs=3,
        backbone=Backbone(width=16),
        precision=precision,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["simclr", "simclr+", "byol", "byol+", "barlow_twins", "barlow_twins+"])
def test_a_stopped_and_resumed_run_equals_a_straight_one(tmp_path: Path, method: str, precision: str) -> None:
    run = _run(method, precision)
    session = Session(device="cuda", online_every=0, linear_epochs=2, quiet=True)
    straight = train(run, tmp_path / "straight", tmp_path, session=session)
    for delay in (2.5, 4.0):
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        try:
            train(run, tmp_path / "stopped", tmp_path, session=session)
        except Interrupted:
            continue
        finally:
            timer.cancel()
            timer.join()
    resumed = train(run, tmp_path / "stopped", tmp_path, session=session)
    one, other = (load_file(record.path / "encoder.safetensors") for record in (straight, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)
