"""Session: which layout of images in memory a training uses, and that its record tells it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.trainer import train
from compmod.pretrain.training.session import Session

QUIET = Session(device="cpu", linear_epochs=1, quiet=True)


@pytest.mark.parametrize("precision", ["float32", "float64", "tf32", "bfloat16"])
def test_only_float32_on_a_gpu_is_contiguous_by_itself(precision: str) -> None:
    assert Session().layout("cpu", precision, 64) == "channels-last"
    contiguous = precision in ("float32", "float64")
    assert Session().layout("cuda", precision, 64) == ("contiguous" if contiguous else "channels-last")


@pytest.mark.parametrize("asked", ["channels-last", "contiguous"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_layout_that_was_asked_for_is_used(device: str, asked: str) -> None:
    session = Session(memory_format=asked)  # type: ignore[arg-type]
    assert {session.layout(device, precision, 64) for precision in ("float32", "bfloat16")} == {asked}


@pytest.mark.parametrize("width, asked, used", [(16, "auto", "channels-last"), (4, "channels-last", "contiguous")])
def test_the_record_tells_the_layout_that_was_used(tmp_path: Path, width: int, asked: str, used: str) -> None:
    run = preset("simclr", "digits")
    run = replace(run, epochs=1, train_images=64, backbone=replace(run.backbone, width=width))
    record = train(run, tmp_path, tmp_path, replace(QUIET, memory_format=asked))  # type: ignore[arg-type]
    assert json.loads((record.path / "provenance.json").read_text())["memory_format"] == used
