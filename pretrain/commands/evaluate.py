"""The command behind `compmod evaluate`: probes of a run or of a file of weights, or a protocol of large data."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from ..loggers.names import FOREIGN
from ..recipes.evaluation import named_protocol
from ..records.record import Record
from ..runtime.launch import launch_of
from ..specs.datasets import known
from ..specs.fields import Range
from ..specs.imported import Imported
from ..specs.measurement import Evaluation, FineTuning
from ..specs.run import Run, Stem
from ..training.session import Session, resolve_device
from .options import DataOption, DeviceOption, LoggerOption, Name, RunsOption, WorkersOption, check_fields
from .own_data import FolderOption, SizeOption, data_root, known_names, own_folder
from .parsing import resumable
from .results import print_results

Protocol = Literal["probes", "linear", "semi-1", "semi-10"]
Split = Literal["test", "validation"]
Channels = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """What a file of weights does not tell; a run has its own."""

    dataset: Annotated[str, arg(help="with a file of weights: the data set to measure on")] = ""
    stem: Annotated[Stem | None, arg(help="where weights leave it open; small-padded is solo-learn's on CIFAR")] = None
    normalise: Annotated[
        Literal["imagenet", "dataset"], arg(help="pixels by the statistics of ImageNet or of the data set")
    ] = "imagenet"
    mean: Annotated[Channels | None, arg(metavar="R G B", help="of pixels in 0..1, in place of those")] = None
    std: Annotated[Channels | None, arg(metavar="R G B", help="deviation likewise")] = None
    size: SizeOption = 0
    copy: Annotated[str, Name(), arg(help="a re-encoded copy of the data set, a folder below data")] = ""
    seed: Annotated[int, Range(0, 2**63 - 1), arg(help="of the probes")] = 0
    runs: RunsOption = Path("runs")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(FileOptions):
    """Every option of `compmod evaluate`."""

    protocol: Annotated[
        Protocol,
        arg(help="probes: on fixed features; linear: on augmented images; semi: fine-tuned on 1 % or 10 % of labels"),
    ] = "probes"
    variant: Annotated[str, arg(help="whose settings of linear or semi: barlow_twins unless given")] = ""
    sweep: Annotated[bool, arg(help="linear: choose the learning rate on held-out training images first")] = False
    epochs: Annotated[int, Range(0, 100_000), arg(help="of linear or semi; 0 = the protocol's")] = 0
    linear_epochs: Annotated[
        int, Range(1, 100_000), arg(help="of the linear probe of probes; the paper's protocol has 500")
    ] = 500
    split: Annotated[Split, arg(help="validation: on a held-out fifth of the training images")] = "test"
    workers: WorkersOption = Session.workers
    data: DataOption = Path("data")
    data_folder: FolderOption = None
    device: DeviceOption = "auto"
    logger: LoggerOption = Session.logger


@resumable
def evaluate_command(
    source: Annotated[
        Positional[Path],
        arg(help="folder of a finished run, or a file of weights that others trained", metavar="RUN_DIR|FILE"),
    ],
    options: Annotated[EvaluateOptions, arg(name="")] = EvaluateOptions(),
) -> None:
    """Measure a finished run or a file of weights: linear probe and 5-nn, or another protocol; again, it resumes."""
    done, results = measured(source, options)
    if launch_of(os.environ).rank == 0:
        print_results(done.path, {name: value for name, value in results.items() if name != "epochs" and value != []})


def measured(source: Path, options: EvaluateOptions) -> tuple[Record, dict[str, Any]]:
    """The record of the measurement that the options ask for, made now unless it is there, and all its results.

    Those of a file of weights begin with what was read from it. Raises ValueError on a wrong option, an unfinished
    run, damaged weights, and images that are missing or others than those of the run.
    """
    check_fields(options)
    with contextlib.ExitStack() as group:
        return _measured(source, options, group)


def _measured(source: Path, options: EvaluateOptions, group: contextlib.ExitStack) -> tuple[Record, dict[str, Any]]:
    runs, run = _run(source, options, group)
    spec: Evaluation | FineTuning
    if options.protocol == "probes":
        if options.variant or options.sweep or options.epochs:
            raise ValueError("variant, sweep and epochs are of --protocol linear, semi-1 or semi-10, not of probes")
        if set(options.logger) & set(FOREIGN):
            raise ValueError("probes have no curves; logger is of --protocol linear, semi-1 or semi-10")
        spec = Evaluation(run=run, linear_epochs=options.linear_epochs, split=options.split)
    else:
        if options.sweep and (options.protocol != "linear" or options.split == "validation"):
            raise ValueError("sweep is of --protocol linear, and itself chooses on the validation split")
        spec = named_protocol(run, options.protocol, options.variant, options.data)
        spec = dataclasses.replace(spec, split=options.split, epochs=options.epochs or spec.epochs)
    root = data_root(run, options.data, options.data_folder)
    session = Session(device=resolve_device(options.device), workers=options.workers, logger=options.logger)
    done = _evaluated(runs, spec, root, session, sweep=options.sweep)
    of_file = Record(runs, run).results or {} if isinstance(run, Imported) else {}
    return done, {**of_file, **(done.results or {})}


def _run(source: Path, options: EvaluateOptions, group: contextlib.ExitStack) -> tuple[Path, Run]:
    """The folder of the runs, and the run: that of a folder, or the one that stands for a file, which is imported.

    Processes that import a file stay together in `group`: if they met anew, one could take another's old address.
    """
    if source.is_dir():
        if given := _given(options):
            raise ValueError(f"only for a file of weights: {', '.join(given)}; a run has its own")
        source = source.resolve()
        return source.parent, Record.run_in(source)
    if not source.is_file():
        raise ValueError(f"no run or weights at {source}; expected the folder of a run, or a file of weights")
    if not options.dataset:
        raise ValueError(f"a file of weights needs --dataset NAME; {known_names()}")
    settings = _settings(options)
    from ..evaluate.shared_work import fails_together
    from ..runtime.distributed import first_says, processes, rank
    from ..weights.imported import import_weights, read_foreign

    foreign = read_foreign(source, options.stem)
    spec = Imported(backbone=foreign.backbone, weights=foreign.sha256, **settings)
    group.enter_context(processes(resolve_device(options.device)))
    with fails_together():
        if rank() == 0:
            import_weights(options.runs, foreign, spec, source)
    first_says(None)  # it is there
    return options.runs, spec


def _settings(options: EvaluateOptions) -> dict[str, Any]:
    """The fields of the spec that the weights do not tell."""
    folder = own_folder(options.dataset, options.data_folder, options.size)
    own = folder.survey().own if folder else None
    entry = own.entry(options.dataset) if own else known(options.dataset)
    if (options.mean is None) != (options.std is None):
        raise ValueError("mean and std go together; give both, or --normalise imagenet or dataset")
    if options.mean and options.normalise != "imagenet":
        raise ValueError("mean and std are in place of --normalise dataset; give one of them")
    settings: dict[str, Any] = {"dataset": options.dataset, "own": own, "copy": options.copy, "seed": options.seed}
    if options.mean and options.std:
        settings |= {"mean": options.mean, "std": options.std}
    elif options.normalise == "dataset":
        settings |= {"mean": entry.mean, "std": entry.std}
    return settings


def _given(options: FileOptions) -> list[str]:
    """The options of a file that are not at their defaults."""
    return [field.name for field in dataclasses.fields(FileOptions) if getattr(options, field.name) != field.default]


def _evaluated(runs: Path, spec: Evaluation | FineTuning, data: Path, session: Session, *, sweep: bool) -> Record:
    if isinstance(spec, FineTuning):
        from ..evaluate.finetune import fine_tune
        from ..evaluate.finetune import sweep as choose_and_fine_tune

        return (choose_and_fine_tune if sweep else fine_tune)(runs, spec, data, session)
    from ..evaluate.probe import evaluate

    return evaluate(runs, spec, data, session)
