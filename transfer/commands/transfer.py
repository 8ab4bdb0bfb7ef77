"""`compmod transfer`: Mask R-CNN fine-tuned on a run's trunk, or on weights from elsewhere, and its COCO AP."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from ...pretrain.commands.options import (
    CheckpointMinutesOption,
    DeviceOption,
    Folder,
    LoggerOption,
    RunsOption,
    WorkersOption,
)
from ...pretrain.commands.parsing import resumable
from ...pretrain.commands.results import print_results
from ...pretrain.records.record import Record
from ...pretrain.runtime.launch import launch_of
from ...pretrain.specs.fields import Range
from ...pretrain.specs.run import Run, Stem
from ...pretrain.training.session import Session, resolve_device
from ..spec import COCO, SCENES, Detection, ScheduleName, detector

if TYPE_CHECKING:
    from ...pretrain.specs.run import Backbone
    from ..data.coco import Split


@resumable
def transfer_command(
    source: Annotated[
        Positional[Path],
        arg(
            help="folder of a finished run, or a file of weights that others trained, also R-50.pkl",
            metavar="RUN_DIR|FILE",
        ),
    ],
    coco: Annotated[
        Path | None,
        Folder(),
        arg(
            metavar="PATH",
            help="folder with annotations/, train2017/ and val2017/; without it the embedded digit scenes",
        ),
    ] = None,
    schedule: Annotated[ScheduleName | None, arg(help="1x, 2x, or minutes on a CPU; 1x unless without --coco")] = None,
    architecture: Annotated[Literal["c4", "fpn"], arg(help="the paper's is c4")] = "c4",
    batch_size: Annotated[
        int, Range(0, 65_536), arg(help="images a step; rate and lengths follow it; 0 = the schedule's")
    ] = 0,
    gpus: Annotated[
        int, Range(1, 1024), arg(help="processes to start, each with a GPU and its share of the batch")
    ] = 1,
    stem: Annotated[Stem | None, arg(help="of a file of weights, where they leave it open")] = None,
    seed: Annotated[int, Range(0, 2**31 - 1), arg(help="with a file of weights; a run has its own")] = 0,
    runs: RunsOption = Path("runs"),
    device: DeviceOption = "auto",
    checkpoint_minutes: CheckpointMinutesOption = Session.checkpoint_minutes,
    workers: WorkersOption = Session.workers,
    logger: LoggerOption = Session.logger,
) -> None:
    """Fine-tune Mask R-CNN on a trunk; print box and mask AP; the same command resumes a stopped fine-tuning."""
    from ..data.coco import read_folder

    runs, run, digest = _trunk(source, runs, stem, seed)
    settings = detector(schedule or ("1x" if coco else "demo"), COCO if coco else SCENES, architecture)
    settings = replace(settings.scaled(batch_size or settings.batch_size), pixels=_pixels(source, digest))
    spec = Detection(
        run=run,
        detector=settings,
        data=COCO if coco else SCENES,
        copy=copy_name(coco, read_folder(coco, headers=False)) if coco else "",
        weights=digest,
    )
    if gpus > 1 and launch_of(os.environ).world == 1:
        _check_processes(gpus, device, settings.batch_size)
        if coco:
            read_folder(coco)  # raises once, and not in every process
        _start(gpus, sys.argv[1:])
    from ..fine_tune import transfer

    session = Session(device=device, checkpoint_minutes=checkpoint_minutes, workers=workers, logger=logger)
    done = transfer(runs, spec, coco or Path(), session, source if digest else None)
    if launch_of(os.environ).rank == 0:
        print_results(done.path, done.results or {})


def copy_name(folder: Path, splits: tuple[Split, Split]) -> str:
    """The name of a folder's data in a spec: "" for the official data, else the folder's name."""
    from ..data.coco import is_official

    return "" if is_official(*splits) else folder.resolve().name


def _trunk(source: Path, runs: Path, stem: Stem | None, seed: int) -> tuple[Path, Run, str]:
    """The folder of the runs, the run, and the SHA-256 of the file where its trunk is from elsewhere."""
    if source.is_dir():
        source = source.resolve()
        run = Record.run_in(source)
        if stem or seed:
            raise ValueError("stem and seed are for a file of weights; a run has its own")
        return source.parent, run, ""
    if not source.is_file():
        raise ValueError(f"no run or weights at {source}; expected the folder of a run, or a file of weights")
    import hashlib

    from ...pretrain.weights.recognise import recognised
    from ..weights.read import read_weights

    state = read_weights(source)
    try:
        run = foreign_run(recognised(state, stem), seed)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    return runs, run, hashlib.sha256(source.read_bytes()).hexdigest()


def _pixels(source: Path, digest: str) -> Literal["rgb", "msra"]:
    """The pixel values that the weights expect: Detectron2's own R-50, recognised by its file, has others."""
    from ..weights.read import pixels_of

    return pixels_of(source) if digest else "rgb"


def foreign_run(backbone: Backbone, seed: int) -> Run:
    """The run that stands for the pretraining of foreign weights: no epochs on ImageNet."""
    return Run(method="supervised", dataset="imagenet", epochs=0, backbone=backbone, seed=seed)


def _check_processes(processes: int, device: str, batch_size: int) -> None:
    """Raise ValueError where there are too few GPUs, or where the processes cannot share the batch equally."""
    import torch

    there = torch.cuda.device_count()
    if resolve_device(device) == "cuda" and processes > there:
        raise ValueError(f"gpus must be at most {there}, those of this machine, not {processes}")
    if batch_size % processes:
        raise ValueError(f"batch_size {batch_size} cannot be shared equally by {processes} processes")


def _start(processes: int, arguments: Sequence[str]) -> None:
    """Replace this process by torchrun with that many processes of the same command."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    os.execv(sys.executable, [sys.executable, *launcher, "-m", "compmod", *arguments])
