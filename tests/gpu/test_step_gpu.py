"""CUDA: a step of every method waits for nothing, equals the CPU's, has the same bits every time; and its memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from compmod.pretrain.data.images import Images
from compmod.pretrain.memory import peak_bytes
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.records.record import Record
from compmod.pretrain.runtime.settings import numerics, own_settings
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import Backbone, Run
from compmod.pretrain.trainer import Trainer
from compmod.pretrain.training.interruption import Stop
from compmod.pretrain.training.objective import build_objective
from compmod.pretrain.training.session import Session
from gpu_device import DEVICE, REHEARSAL, distance, no_waits, peak_bytes_of
from small_runs import IMAGES, SIDE, small, small_batch
from torch import Tensor

pytestmark = pytest.mark.gpu
NAMES = [name + plus for name, entry in METHODS.items() for plus in ("", "+") if entry.plus or not plus]
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
# Relative errors that are allowed: the first number, ten times it for the gradient of a regulariser, which is a sum of
# terms that nearly cancel; or where that is more, the second number times the CPU's own error in the precision of the
# third, which is large where a method whitens. TF32 has 10 bits, bfloat16 7.
ALLOWED = {"float32": (1e-4, 10.0, "float32"), "tf32": (0.02, 1.0, "bfloat16"), "bfloat16": (0.05, 2.0, "bfloat16")}
PREDICTION = 0.15  # relative error of the predicted memory that is allowed: kernels' workspaces are not in it


class Step(NamedTuple):
    """The loss, and the gradients of the networks and of the regularisers, each as one vector."""

    loss: Tensor
    psi: Tensor
    xi: Tensor


def step(
    name: str, device: str, precision: str = "float64", layout: str = "NCHW", wrap: Callable[[Any], None] | None = None
) -> Step:
    """The second of two steps from the same weights, so that queues and averages are in use."""

    def autocast() -> AbstractContextManager[Any]:
        return torch.autocast(device, torch.bfloat16) if precision == "bfloat16" else nullcontext()

    dtype = torch.float64 if precision == "float64" else torch.float32
    with own_settings(), numerics(precision):
        objective = build_objective(
            replace(small(name), backbone=Backbone(name="resnet10", width=16)), SIDE, IMAGES, autocast
        )
        objective.to(device=device, dtype=dtype)
        objective.method.to(memory_format=LAYOUTS[layout])  # type: ignore[call-overload]
        if wrap:
            wrap(objective)
        for number in range(2):
            batch = small_batch(name, number)
            views = tuple(view.to(device, dtype, memory_format=LAYOUTS[layout]) for view in batch.views)
            batch = replace(batch, views=views, labels=batch.labels.to(device))
            logged = objective.backward(batch, lr=0.1)
            if not number:
                objective.after_step(0.5)
    return Step(logged["loss"].cpu(), _vector(objective.psi.values()), _vector(objective.xi))


def _vector(parameters: Any) -> Tensor:
    gradients = [p.grad.flatten().cpu() for p in parameters if p.grad is not None]
    return torch.cat(gradients) if gradients else torch.zeros(0)


@functools.cache
def on_cpu(name: str, precision: str) -> Step:
    return step(name, "cpu", precision)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_step_equals_the_cpus_in_float64(name: str, layout: str) -> None:
    for ours, exact in zip(step(name, DEVICE, "float64", layout), on_cpu(name, "float64"), strict=True):
        assert distance(ours, exact) < 1e-9


@pytest.mark.parametrize("precision", ALLOWED)
@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_as_close_to_the_exact_one_as_the_cpus(name: str, precision: str) -> None:
    least, factor, compared = ALLOWED[precision]
    found, exact, cpu = step(name, DEVICE, precision, "NHWC"), on_cpu(name, "float64"), on_cpu(name, compared)
    for part, ours, right, theirs in zip(Step._fields, found, exact, cpu, strict=True):
        error, of_cpu = distance(ours, right), distance(theirs, right)
        print(f"{name} {precision} {part}: relative error {error:.2g}, the CPU's in {compared} {of_cpu:.2g}")
        assert error <= max(least * (10 if part == "xi" else 1), factor * of_cpu), part


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
