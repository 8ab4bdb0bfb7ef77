"""Cost: the predicted time and disk of a run or a measurement, from measured rates where there are any.

Every prediction says whether it is measured, scaled from another measured method, or the default (`default_rates.py`).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

from ...pretrain.specs.measurement import Evaluation, FineTuning, Measurement, Work
from ...pretrain.specs.run import Device, Run
from ...transfer.spec import Detection
from . import measured_rates as records
from .default_rates import (
    LOADED_IMAGES_PER_S,
    PASSES,
    default_images_per_second,
    method_key,
    operations_per_second,
    relative_cost,
    trunk_key,
)
from .measured_rates import Rates, alike
from .network_size import FLOAT_BYTES, encoder_bytes, forward_operations, head_parameters, trunk_parameters

Basis = Literal["measured", "scaled", "default"]

HOUR_S = 3600.0
START_S: dict[Device, float] = {  # before the first update: to read images and build networks
    "cpu": 1.0,  # measured on digits, in a process that has imported torch
    "gpu": 20.0,  # estimate: the same, and to start Python and CUDA and read a small data set
}
LINEAR_STEP_S = 3e-4  # of the probes' layer; measured on a core; an estimate for a GPU, which starts a few kernels
LINEAR_BATCH = 1_000  # that of linear_probe
DETECTION_S: dict[Device, dict[str, float]] = {  # for one image that Mask R-CNN trains on; scoring costs far less
    # Estimate: Detectron2's model zoo has 0.58 and 0.26 s a step of 16 images on 8 V100, of which an H100 makes 2.5.
    "gpu": {"c4": 0.12, "fpn": 0.05},
    "cpu": {"c4": 0.054, "fpn": 0.2},  # measured on digit scenes, one core
}
ONLINE_EVERY, ONLINE_EPOCHS = 20, 50  # epochs between probes while training, and of their layer; defaults of Session
LAST_SHARE, LAST_OFTENER = 0.05, 4  # the last part of training, and how much oftener it is probed; as the trainer does

CHECKPOINT_HOURS = 1 / 6  # a shorter run leaves none; checkpoint_minutes of Session
CHECKPOINTS = 2  # checkpoint.KEPT; they stay beside a finished run
MOMENTS = {"adam": 2, "sgd": 1, "lars": 1, "larc": 1}  # numbers that an optimiser keeps for one trained number
STEP_BYTES = 60  # of metrics.jsonl and of the TensorBoard file for one step; measured on digits
RECORD_BYTES = 20_000  # the JSON files of a folder; measured on digits

measured_rates = records.measured_rates


@dataclass(frozen=True)
class Prediction:
    """Hours of one device: a GPU, or a core of a CPU."""

    hours: float
    device: Device
    basis: Basis


def predict(spec: Work, rates: Rates) -> Prediction:
    """Time that the work of `spec` takes; for a measurement, without the pretraining that it needs."""
    device = spec.device
    basis: Basis = "default"
    if isinstance(spec, Run):
        rate, basis = images_per_second(spec, rates)
        seconds = spec.epochs * spec.images_per_epoch / rate + _online_seconds(spec)
    elif (hours := rates.hours.get(alike(spec))) is not None:
        seconds, basis = hours * HOUR_S, "measured"
    else:
        seconds = _measurement_seconds(spec)
    return Prediction((START_S[device] + seconds) / HOUR_S, device, basis)


def _measurement_seconds(spec: Measurement) -> float:
    """Seconds by the default figures, after the start."""
    if isinstance(spec, Evaluation):
        return _probe_seconds(spec.run, spec.linear_epochs)
    if isinstance(spec, FineTuning):
        return _fine_tuning_seconds(spec)
    assert isinstance(spec, Detection), f"{type(spec).__name__} needs a default figure here"
    return spec.updates * spec.batch_size * DETECTION_S[spec.device][spec.detector.architecture]


def images_per_second(run: Run, rates: Rates) -> tuple[float, Basis]:
    """Of one device: measured with the same trunk, method and head, else scaled from other methods, else default."""
    trunk = trunk_key(run)
    if (same := rates.images_per_second.get((trunk, method_key(run)))) is not None:
        return same, "measured"
    if (simclr := rates.simclr_images_per_second.get(trunk)) is not None:
        return simclr / relative_cost(run), "scaled"
    return default_images_per_second(run), "default"


def disk_bytes(spec: Work, hours: float, rates: Rates) -> float:
    """Bytes of the folder after so many hours; rather too many, because only some methods keep an averaged network."""
    if not isinstance(spec, Run):
        return RECORD_BYTES
    held = encoder_bytes(spec.backbone) + RECORD_BYTES
    held += STEP_BYTES * spec.updates
    if hours < CHECKPOINT_HOURS:
        return held
    measured = rates.checkpoint_bytes.get((trunk_key(spec), method_key(spec)))
    return held + CHECKPOINTS * (_checkpoint_bytes(spec) if measured is None else measured)


def _checkpoint_bytes(run: Run) -> float:
    """Trained numbers, their average and the moments of the optimiser; for a pair of trunks, a bank of all images."""
    trained = trunk_parameters(run.backbone) + head_parameters(run.backbone, run.projector)
    banks = 0 if run.backbone.colours == "rgb" else 2 * run.images_per_epoch * run.projector.out
    return FLOAT_BYTES * (trained * (2 + MOMENTS[run.optimizer.name]) + banks)


def _online_seconds(run: Run) -> float:
    """Probes while training: the trainer does not count their time, and so a measured rate lacks it."""
    if run.data.large or not run.epochs:
        return 0.0
    return online_probes(run.epochs) * _probe_seconds(run, ONLINE_EPOCHS)


@functools.cache
def online_probes(epochs: int) -> int:
    """How many times a pretraining of so many epochs is probed."""
    every = min(ONLINE_EVERY, -(-epochs // 3))
    often = max(1, every // LAST_OFTENER)
    last = [epochs - epoch < LAST_SHARE * epochs for epoch in range(1, epochs + 1)]
    due = (epoch % (often if late else every) == 0 or epoch == epochs for epoch, late in enumerate(last, start=1))
    return sum(due)


def _probe_seconds(run: Run, linear_epochs: int) -> float:
    """One pass over the labelled images and the steps of the linear layer; the neighbour search takes a second."""
    train, test = _labelled(run)
    steps = linear_epochs * -(-train // LINEAR_BATCH)
    return (train + test) * _forward_seconds(run, "float32") + steps * LINEAR_STEP_S


def _fine_tuning_seconds(spec: FineTuning) -> float:
    """Every epoch trains on a share of the labelled images and scores the test images."""
    train, test = _labelled(spec.run)
    passes = spec.share * train * (PASSES if spec.backbone_lr else 1) + test
    seconds = passes * _forward_seconds(spec.run, spec.precision)
    if spec.run.data.large:
        seconds = max(seconds, (spec.share * train + test) / LOADED_IMAGES_PER_S)
    return spec.epochs * seconds


def _labelled(run: Run) -> tuple[int, int]:
    """Labelled training images and test images."""
    return run.labelled_images, run.data.test_images


def _forward_seconds(run: Run, precision: str) -> float:
    """Seconds of one image through the trunk."""
    size = run.data.view_size
    return forward_operations(run.backbone, size) / operations_per_second(run.device, run.backbone, precision)
