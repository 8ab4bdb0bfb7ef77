"""The command behind `compmod evaluate`: probes of a finished run, or a protocol of large data."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from ..loggers.names import FOREIGN
from ..recipes.evaluation import named_protocol
from ..records.record import Record
from ..runtime.launch import launch_of
from ..specs.fields import Range
from ..specs.measurement import Evaluation, FineTuning
from ..training.session import Session, resolve_device
from .options import DataOption, DeviceOption, LoggerOption, WorkersOption
from .parsing import resumable
from .results import print_results

Protocol = Literal["probes", "linear", "semi-1", "semi-10"]
Split = Literal["test", "validation"]


@resumable
def evaluate_command(
    run_dir: Annotated[Positional[Path], arg(help="folder of a finished run", metavar="RUN_DIR")],
    protocol: Annotated[
        Protocol,
        arg(help="probes: on fixed features; linear: on augmented images; semi: fine-tuned on 1 % or 10 % of labels"),
    ] = "probes",
    variant: Annotated[str, arg(help="whose settings of linear or semi: barlow_twins unless given")] = "",
    sweep: Annotated[bool, arg(help="linear: choose the learning rate on held-out training images first")] = False,
    epochs: Annotated[int, Range(0, 100_000), arg(help="of linear or semi; 0 = the protocol's")] = 0,
    linear_epochs: Annotated[
        int, Range(1, 100_000), arg(help="of the linear probe of probes; the paper's protocol has 500")
    ] = 500,
    split: Annotated[Split, arg(help="validation: on a held-out fifth of the training images")] = "test",
    workers: WorkersOption = Session.workers,
    data: DataOption = Path("data"),
    device: DeviceOption = "auto",
    logger: LoggerOption = Session.logger,
) -> None:
    """Measure a finished run: linear probe and 5-nn, or a protocol of large data; the same command resumes it."""
    run_dir = run_dir.resolve()
    run = Record.run_in(run_dir)
    spec: Evaluation | FineTuning
    if protocol == "probes":
        if variant or sweep or epochs:
            raise ValueError("variant, sweep and epochs are of --protocol linear, semi-1 or semi-10, not of probes")
        if set(logger) & set(FOREIGN):
            raise ValueError("probes have no curves; logger is of --protocol linear, semi-1 or semi-10")
        spec = Evaluation(run=run, linear_epochs=linear_epochs, split=split)
    else:
        if sweep and (protocol != "linear" or split == "validation"):
            raise ValueError("sweep is of --protocol linear, and itself chooses on the validation split")
        spec = named_protocol(run, protocol, variant, data)
        spec = dataclasses.replace(spec, split=split, epochs=epochs or spec.epochs)
    session = Session(device=resolve_device(device), workers=workers, logger=logger)
    done = _evaluated(run_dir.parent, spec, data, session, sweep=sweep)
    if launch_of(os.environ).rank == 0:
        print_results(done.path, {name: value for name, value in (done.results or {}).items() if name != "epochs"})


def _evaluated(runs: Path, spec: Evaluation | FineTuning, data: Path, session: Session, *, sweep: bool) -> Record:
    if isinstance(spec, FineTuning):
        from ..evaluate.finetune import fine_tune
        from ..evaluate.finetune import sweep as choose_and_fine_tune

        return (choose_and_fine_tune if sweep else fine_tune)(runs, spec, data, session)
    from ..evaluate.probe import evaluate

    return evaluate(runs, spec, data, session)
