"""Measured rates: what finished runs took, by hardware; a prediction prefers these figures to the default ones.

For what no run has done on a GPU, the rates of `make bench-gpu` on the same GPU come next.
"""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from ...pretrain.files.printable import printable
from ...pretrain.files.stored_fields import PRETRAINED, PROVENANCE, Fields, check_fields
from ...pretrain.files.stored_json import read_object
from ...pretrain.records.files import CHECKPOINT_GLOB, CHECKPOINTS_FOLDER, PROVENANCE_FILE, RESULTS_FILE
from ...pretrain.records.record import Record, check_unchanged
from ...pretrain.specs.measurement import Work
from ...pretrain.specs.run import Device, Run
from .benchmark_rates import benchmark_rates
from .default_rates import MethodKey, TrunkKey, method_key, relative_cost, trunk_key

DEFAULT_GPU = "one H100"
SAMPLED = 10  # records read for one method on one data set: enough for a median; ten thousand would take seconds


@dataclass(frozen=True)
class Rates:
    """Medians over finished runs on one model of GPU and one of CPU. All are of one device: a GPU, or a core."""

    gpu: str = ""  # name of the hardware; "" = nothing measured
    cpu: str = ""
    images_per_second: Mapping[tuple[TrunkKey, MethodKey], float] = field(default_factory=dict)
    simclr_images_per_second: Mapping[TrunkKey, float] = field(default_factory=dict)  # scaled to SimCLR
    hours: Mapping[tuple[Any, ...], float] = field(default_factory=dict)  # of measurements, by `alike`
    checkpoint_bytes: Mapping[tuple[TrunkKey, MethodKey], float] = field(default_factory=dict)
    damaged: tuple[str, ...] = ()  # sentences that begin with the path of an unreadable file


class Timed(NamedTuple):
    """How long one finished run or measurement took."""

    spec: Work
    hardware: str
    device: Device
    devices: int  # GPUs or cores that worked on it
    seconds: float
    images_per_second: float  # of all of them together; 0 = no training
    checkpoint_bytes: int  # 0 = none is left


def alike(spec: Work) -> tuple[Any, ...]:
    """What decides the time of a measurement: all of its settings, and of its run only trunk and data."""
    run = spec.run
    settings = tuple(getattr(spec, part.name) for part in fields(spec) if part.name != "run")
    return type(spec).__name__, trunk_key(run), run.data, run.copy, run.train_images, settings


def measured_rates(runs: Path, hardware: str = "") -> Rates:
    """The medians of the finished runs below `runs`.

    GPU figures are those of the GPU `hardware`, or of the GPU with most records where that is empty, or of the GPU that
    was benchmarked. CPU figures are those of the CPU with most records. Work that is planned for a GPU and ran on a
    CPU, or the reverse, does not count. Raises ValueError on a GPU that neither a finished run nor the benchmark names.
    """
    benchmark = benchmark_rates()
    damaged: list[str] = []
    timed = [work for work in _finished(Path(runs), damaged) if work.device == work.spec.device]
    gpus = [work.hardware for work in timed if work.device == "gpu"]
    known = dict.fromkeys([*gpus, *([benchmark.gpu] if benchmark.gpu else [])])
    if hardware and hardware not in known:
        raise ValueError(f"no finished run on {hardware!r}; measured: {', '.join(known) or 'no GPU yet'}")
    gpu = hardware or _most(gpus) or benchmark.gpu
    cpu = _most([work.hardware for work in timed if work.device == "cpu"])
    timed = [work for work in timed if work.hardware in (gpu, cpu)]
    rates: dict[Any, list[float]] = defaultdict(list)
    of_trunk: dict[Any, list[float]] = defaultdict(list)
    hours: dict[Any, list[float]] = defaultdict(list)
    checkpoints: dict[Any, list[float]] = defaultdict(list)
    for work in timed:
        run = work.spec
        if not isinstance(run, Run):
            hours[alike(run)].append(work.seconds * work.devices / 3600)
        elif work.images_per_second:
            trunk, method, rate = trunk_key(run), method_key(run), work.images_per_second / work.devices
            rates[trunk, method].append(rate)
            of_trunk[trunk].append(rate * relative_cost(run))
            if work.checkpoint_bytes:
                checkpoints[trunk, method].append(work.checkpoint_bytes)
    if gpu and gpu == benchmark.gpu:
        lacking = {run: rate for run, rate in benchmark.images_per_second.items() if trunk_key(run) not in of_trunk}
        for run, rate in lacking.items():
            rates[trunk_key(run), method_key(run)].append(rate)
            of_trunk[trunk_key(run)].append(rate * relative_cost(run))
    return Rates(
        gpu=gpu,
        cpu=cpu,
        images_per_second=_medians(rates),
        simclr_images_per_second=_medians(of_trunk),
        hours=_medians(hours),
        checkpoint_bytes=_medians(checkpoints),
        damaged=tuple(damaged),
    )


def _medians(values: Mapping[Any, list[float]]) -> dict[Any, float]:
    return {key: statistics.median(several) for key, several in values.items()}


def _most(names: list[str]) -> str:
    """The name that occurs most often; of equal ones, the first."""
    return max(dict.fromkeys(names), key=names.count, default="")


def _finished(runs: Path, damaged: list[str]) -> Iterator[Timed]:
    """Finished pretrainings and what was measured on them, at most SAMPLED for one method and data set.

    The order of digests is as good as random. A damaged record is skipped and adds a sentence to `damaged`; a record
    without the fields, such as one of an older version, is skipped silently.
    """
    seen: dict[str, int] = defaultdict(int)
    try:
        folders = sorted(entry.name for entry in os.scandir(runs) if entry.is_dir())
    except OSError:  # the folder does not exist: no run started yet
        return
    for name in folders:
        group = name.rpartition("-")[0]
        if seen[group] >= SAMPLED or not (runs / name / RESULTS_FILE).is_file():
            continue
        seen[group] += 1
        below = sorted(path.parent for path in (runs / name).glob("*/results.json"))
        for folder in (runs / name, *below):
            try:
                yield _read(folder)
            except ValueError as error:
                damaged.append(str(error).removeprefix("damaged spec "))
            except OSError as error:
                damaged.append(f"{folder}: {error.strerror}")
            except KeyError:
                continue


def _read(folder: Path) -> Timed:
    """Raises ValueError, which begins with a path, on a damaged file, and KeyError where a file or a field is not."""
    spec = Record.open(folder).spec
    if not isinstance(spec, Work):
        raise KeyError(f"{type(spec).__name__} is no run and no measurement")
    if not folder.name.endswith(f"-{spec.digest}"):
        raise ValueError(f"{folder}/spec.json: of another folder, {spec.folder}")
    results = _checked(folder / RESULTS_FILE, PRETRAINED if spec.kind == "pretraining" else {})
    provenance = _without_nulls(_checked(folder / PROVENANCE_FILE, PROVENANCE))
    if provenance.get("digest") not in (None, spec.digest):
        raise ValueError(f"{folder}/provenance.json: of another folder, digest {provenance['digest']!r}")
    check_unchanged(results, provenance, folder / RESULTS_FILE)
    hardware = provenance["hardware"]
    gpu = hardware.get("gpu")
    return Timed(
        spec=spec,
        hardware=printable(gpu or hardware["cpu"]),
        device="gpu" if gpu else "cpu",
        devices=provenance.get("processes", 1) * (1 if gpu else hardware["threads"]),
        seconds=float(provenance["seconds"]),
        images_per_second=float(results.get("images_per_second") or 0) if spec.kind == "pretraining" else 0.0,
        checkpoint_bytes=max(
            (path.stat().st_size for path in (folder / CHECKPOINTS_FOLDER).glob(CHECKPOINT_GLOB)), default=0
        ),
    )


def _checked(file: Path, fields: Fields) -> dict[str, Any]:
    """The content of a file. Raises KeyError where there is no file, and ValueError where it is damaged."""
    stored = read_object(file)
    if stored is None:
        raise KeyError(file)
    check_fields(stored, fields, file)
    return stored


def _without_nulls(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are known: null says that one is not."""
    return {name: value for name, value in stored.items() if value is not None}
