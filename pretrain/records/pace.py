"""Pace: how far unfinished work is and how fast it goes, from the end of its metrics or from its checkpoints' names."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files.stored_fields import LOGGED, check_fields
from ..files.stored_json import parse_object
from ..specs.measurement import FineTuning, Work
from ..specs.run import Run
from .files import CHECKPOINTS_FOLDER, METRICS_FILE, step_of

TAIL_BYTES = 8192  # of metrics.jsonl: about twenty lines, read at once
LINES = 10  # their median is the rate, because one line may include the wait for a checkpoint


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How far one pretraining or fine-tuning is."""

    epoch: float
    epochs: int
    images_per_second: float | None = None  # None = not known
    seconds_left: float | None = None
    silent_s: float = 0.0  # since its last sign of life
    loss: float | None = None  # the last one

    @property
    def share(self) -> float:
        """Of the work, from 0 to 1."""
        return min(1.0, self.epoch / self.epochs) if self.epochs else 0.0


def pace(runs: Path, spec: Work) -> Pace | None:
    """How far the work on `spec` is; None where it leaves no trace of that, as the probes do."""
    folder = Path(runs) / spec.folder
    if isinstance(spec, Run):
        return _of_metrics(folder / METRICS_FILE, spec)
    epochs = spec.epochs if isinstance(spec, FineTuning) else spec.updates  # the length of a detection is in updates
    return _of_checkpoints(folder / CHECKPOINTS_FOLDER, spec.updates, epochs) if spec.updates else None


def _of_metrics(path: Path, run: Run) -> Pace | None:
    try:
        written = path.stat().st_mtime
        lines = [line for line in _tail(path) if line.get("kind") == "train"]
    except OSError:
        return None
    epochs = [line["epoch"] for line in lines if line.get("epoch") is not None]
    if not epochs:
        return None
    rates = [line["images_per_second"] for line in lines[-LINES:] if line.get("images_per_second") is not None]
    rate = statistics.median(rates) if rates else 0.0
    return Pace(
        epoch=epochs[-1],
        epochs=run.epochs,
        images_per_second=rate or None,
        seconds_left=max(0.0, run.epochs - epochs[-1]) * run.images_per_epoch / rate if rate else None,
        silent_s=max(0.0, time.time() - written),
        loss=lines[-1].get("loss"),
    )


def _of_checkpoints(folder: Path, total: int, epochs: int) -> Pace | None:
    """From the newest two, which are an epoch apart."""
    kept = sorted(_checkpoints(folder))
    if not kept:
        return None
    step, written = kept[-1]
    left = None
    if len(kept) > 1 and step > kept[-2][0] and written > kept[-2][1]:
        left = (total - step) * (written - kept[-2][1]) / (step - kept[-2][0])
    silent_s = max(0.0, time.time() - written)
    return Pace(epoch=epochs * step / total, epochs=epochs, seconds_left=left, silent_s=silent_s)


def _checkpoints(folder: Path) -> Iterator[tuple[int, float]]:
    """Updates and time of every checkpoint, by its name, because reading it needs torch."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if (step := step_of(entry.name)) is not None:
            try:
                yield step, entry.stat().st_mtime
            except OSError:  # replaced by a newer one meanwhile
                continue


def _tail(path: Path) -> list[dict[str, Any]]:
    """The last lines of a file of JSON, without those that are damaged or cut, here or by a process that writes."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # do not wait for a pipe
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
        content = file.read(TAIL_BYTES)
    lines = []
    for part in content.splitlines():
        try:
            line = parse_object(part, path)
            check_fields(line, LOGGED, path)
        except ValueError:
            continue
        lines.append(line)
    return lines
