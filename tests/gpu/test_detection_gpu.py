"""CUDA: the tiny detector trains, is scored, and goes on after a stop at a fixed step with the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from compmod.pretrain.training.interruption import Interrupted
from gpu_device import DEVICE, signal_after

pytestmark = [pytest.mark.gpu, pytest.mark.detectron2]
STOPPED = 3  # step, of 6


def test_a_stopped_and_resumed_detection_equals_a_straight_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from compmod.transfer import fine_tune as engine
    from tiny_detections import QUIET, RUN, SPEC, tiny_coco
    from tiny_fine_tunings import finish

    tiny_coco(tmp_path / "tiny")
    session, states, detect = replace(QUIET, device=DEVICE), [], engine.detect

    def keep(model: torch.nn.Module, *arguments: Any) -> Any:
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return detect(model, *arguments)

    monkeypatch.setattr(engine, "detect", keep)
    finish(tmp_path / "straight", RUN)
    results = engine.transfer(tmp_path / "straight", SPEC, tmp_path / "tiny", session).results or {}
    assert all(0 <= results[f"{task}/{figure}"] <= 1 for task in ("bbox", "segm") for figure in ("AP", "AP50", "AP75"))

    finish(tmp_path / "stopped", RUN)
    with signal_after([STOPPED]), pytest.raises(Interrupted):
        engine.transfer(tmp_path / "stopped", SPEC, tmp_path / "tiny", session)
    engine.transfer(tmp_path / "stopped", SPEC, tmp_path / "tiny", session)
    straight, resumed = states
    assert all(torch.equal(resumed[name], tensor) for name, tensor in straight.items())
