"""CUDA: a step of every method waits for nothing, equals the CPU's, has the same bits every time; and its memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compmod.pretrain.data.images import Images
from compmod.pretrain.memory import peak_bytes
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.records.record import Record
from compmod.pretrain.runtime.settings import own_settings
from compmod.pretrain.specs.run import Run
from compmod.pretrain.trainer import Trainer
from compmod.pretrain.training.interruption import Stop
from compmod.pretrain.training.session import Session
from gpu_device import DEVICE, REHEARSAL, distance, no_waits, peak_bytes_of
from gpu_steps import ALLOWED, LAYOUTS, NAMES, check_closeness, on_cpu, step
from small_runs import small

pytestmark = pytest.mark.gpu
PREDICTION = 0.15  # relative error of the predicted memory that is allowed: kernels' workspaces are not in it


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_step_equals_the_cpus_in_float64(name: str, layout: str) -> None:
    for ours, exact in zip(step(name, DEVICE, "float64", layout), on_cpu(name, "float64"), strict=True):
        assert distance(ours, exact) < 1e-9


@pytest.mark.parametrize("precision", ALLOWED)
@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_as_close_to_the_exact_one_as_the_cpus(name: str, precision: str) -> None:
    check_closeness(name, precision)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_a_step_has_the_same_bits_every_time(name: str, precision: str) -> None:
    one, other = (step(name, DEVICE, precision, "NHWC") for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def trainer_of(run: Run, folder: Path, count: int, **session: Any) -> Trainer:
    """A trainer on random images, `count` of them."""
    side = 32 if run.dataset == "cifar10" else 16
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    images = Images(pixels, np.arange(count) % 10, np.arange(count))
    record = Record(folder, run)
    record.start()
    return Trainer(record, run, images, folder, Session(device=DEVICE, quiet=True, **session), Stop())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_the_host_never_waits_in_a_whole_step(name: str, precision: str, tmp_path: Path) -> None:
    run = small(name, precision=precision)
    with own_settings():
        trainer = trainer_of(run, tmp_path, 10 * run.batch_size, log_every=2)
        with trainer._running():
            batches = trainer._batches(range(trainer.total))

            def whole_step() -> None:
                trainer._train_step(next(batches))
                trainer._after_step()

            for _ in range(3):  # libraries are loaded, the optimiser makes its state
                whole_step()
            with no_waits():
                for _ in range(4):  # views, losses, gradients, update, log
                    whole_step()
            assert trainer.step == 7


@pytest.mark.parametrize(
    "name, precision, recompute",
    [
        ("simclr", "float32", False),
        ("simclr", "bfloat16", False),
        ("simclr", "bfloat16", True),
        ("simclr+", "float32", False),
        ("simclr+", "bfloat16", False),
        ("simclr+", "bfloat16", True),
        ("byol+", "bfloat16", False),
    ],
)
def test_the_peak_of_memory_is_the_predicted_one(name: str, precision: str, recompute: bool, tmp_path: Path) -> None:
    run = replace(preset(name, "cifar10"), precision=precision)
    if REHEARSAL:
        run = replace(run, batch_size=8, backbone=replace(run.backbone, width=4))

    def train() -> None:
        trainer = trainer_of(run, tmp_path, 50_000, recompute=recompute)
        with trainer._running():
            for batch in trainer._batches(range(2)):
                trainer._train_step(batch)

    with own_settings():
        needed, predicted = peak_bytes_of(train), peak_bytes(run, recompute=recompute)
    print(f"{name} {precision}, recompute {recompute}: {needed / 2**30:.3f} GiB, predicted {predicted / 2**30:.3f}")
    assert REHEARSAL or abs(needed / predicted - 1) < PREDICTION
