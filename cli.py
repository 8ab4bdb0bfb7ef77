"""The `compmod` command: demo, pretrain, evaluate, transfer, table, plan, claims, data, methods, and those of jobs.

Every command is a function whose parameters are its options, read by tyro. What needs torch is imported inside, so
that `--help` and reading a table answer at once. A mistake of the user's is one line and exit status 2.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, arg

from .pretrain.commands.methods import methods
from .pretrain.commands.options import Folder, Name, check_fields, check_words
from .pretrain.commands.parsing import deferred, errors_in_one_line, parse_errors_in_one_line
from .pretrain.files.printable import printable
from .pretrain.recipes.evaluation import named_protocol
from .pretrain.recipes.scales import SCALES, Scale, scaled
from .pretrain.records.record import Record
from .pretrain.runtime.launch import launch_of
from .pretrain.specs.datasets import DATASETS
from .pretrain.specs.fields import ABOVE_ZERO, Range
from .pretrain.specs.measurement import Evaluation, FineTuning
from .pretrain.specs.methods import METHODS
from .pretrain.specs.run import Run
from .tables.commands.claims import claims_command
from .tables.commands.plan import plan_command
from .tables.commands.report import report_command
from .tables.commands.table import table_command

if TYPE_CHECKING:
    from .pretrain.data.inventory import Holding

Device = Annotated[Literal["auto", "cpu", "cuda"], arg(help="where to compute")]
Runs = Annotated[Path, Folder(), arg(help="folder of the runs")]
Data = Annotated[Path, Folder(), arg(help="folder of the data sets")]


def demo(runs: Runs = Path("runs")) -> None:
    """Pretrain three methods, plain and with CompMod, on the embedded digits; print the table, write a report."""
    from .tables.commands.demo import run_demo

    runs.mkdir(parents=True, exist_ok=True)  # a folder that cannot be is one error, not one a run
    run_demo(runs)


def evaluate(
    run_dir: Annotated[Positional[Path], arg(help="folder of a finished run", metavar="RUN_DIR")],
    protocol: Annotated[
        Literal["probes", "linear", "semi-1", "semi-10"],
        arg(help="probes: on fixed features; linear: on augmented images; semi: fine-tuned on 1 % or 10 % of labels"),
    ] = "probes",
    variant: Annotated[str, arg(help="whose settings of linear or semi: barlow_twins unless given")] = "",
    sweep: Annotated[bool, arg(help="linear: choose the learning rate on held-out training images first")] = False,
    epochs: Annotated[int, Range(0, 100_000), arg(help="of linear or semi; 0 = the protocol's")] = 0,
    linear_epochs: Annotated[
        int, Range(1, 100_000), arg(help="of the linear probe of probes; the paper's protocol has 500")
    ] = 500,
    split: Annotated[
        Literal["test", "validation"], arg(help="validation: on a held-out fifth of the training images")
    ] = "test",
    workers: Annotated[int, Range(-1, 1024), arg(help="processes that decode large images; -1 = one a core")] = -1,
    data: Data = Path("data"),
    device: Device = "auto",
) -> None:
    """Linear probe and 5-nn of a finished run, or a protocol of large data; the same command resumes a stopped one."""
    run_dir = run_dir.resolve()
    run = Record.run_in(run_dir)
    spec: Evaluation | FineTuning
    if protocol == "probes":
        if variant or sweep or epochs:
            raise ValueError("variant, sweep and epochs are of --protocol linear, semi-1 or semi-10, not of probes")
        spec = Evaluation(run=run, linear_epochs=linear_epochs, split=split)
    else:
        if sweep and (protocol != "linear" or split == "validation"):
            raise ValueError("sweep is of --protocol linear, and itself chooses on the validation split")
        spec = named_protocol(run, protocol, variant, data)
        spec = dataclasses.replace(spec, split=split, epochs=epochs or spec.epochs)
    done = _evaluated(run_dir.parent, spec, data, device, workers, sweep=sweep)
    if launch_of(os.environ).rank:  # the first process speaks for all
        return
    _print_results(done.path, {name: value for name, value in (done.results or {}).items() if name != "epochs"})


def _evaluated(
    runs: Path, spec: Evaluation | FineTuning, data: Path, device: str, workers: int, *, sweep: bool
) -> Record:
    from .pretrain.training.session import Session, resolve_device

    session = Session(device=resolve_device(device), workers=workers)
    if isinstance(spec, FineTuning):
        from .pretrain.evaluate.finetune import fine_tune
        from .pretrain.evaluate.finetune import sweep as choose_and_fine_tune

        return (choose_and_fine_tune if sweep else fine_tune)(runs, spec, data, session)
    from .pretrain.evaluate.probe import evaluate as evaluate_run

    return evaluate_run(runs, spec, data, session.device, session.loader_workers)


def data(
    name: Annotated[Positional[str], arg(help="data set", metavar="NAME")],
    data: Data = Path("data"),
    copy: Annotated[str, Name(), arg(help="name of a copy of it, a folder below the data folder")] = "",
    download: Annotated[bool, arg(help="fetch what is missing, where that is allowed")] = True,
) -> None:
    """Say where a data set is looked for, what was found, and whether its checksums are right."""
    from .pretrain.data.download import download as fetch
    from .pretrain.data.inventory import describe

    faulty = _print_holdings(describe(name, data, copy))
    if faulty and download and not copy:
        print(f"downloading {name} to {data}", file=sys.stderr)
        fetch(name, data)
        faulty = _print_holdings(describe(name, data, copy))
    if faulty:
        raise ValueError(f"{name} is not complete: {', '.join(faulty)}")


def _print_holdings(holdings: Sequence[Holding]) -> list[str]:
    """One line each; the paths of those that are missing or wrong."""
    for holding in holdings:
        found = f"{holding.found}; expected {holding.expected}; checksum {holding.checksum}"
        print(f"{'ok    ' if holding.ok else 'FAULTY'} {holding.path}: {found}", flush=True)
    return [holding.path for holding in holdings if not holding.ok]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretraining:
    """Options of `compmod pretrain` that are not part of the spec."""

    run: Annotated[Run, arg(name="")]  # its fields are options without a prefix
    scale: Annotated[Scale, arg(help="recipe to start from; every option changes one field of it")] = "paper"
    preset: Annotated[str, arg(help="another of its recipes, of those that compmod methods METHOD lists")] = ""
    runs: Runs = Path("runs")
    data: Data = Path("data")
    device: Device = "auto"
    checkpoint_minutes: Annotated[float, Range(ABOVE_ZERO), arg(help="time between checkpoints")] = 10.0
    checkpoint_epochs: Annotated[
        int, Range(0), arg(help="also a checkpoint every so many epochs; 0 = by time alone")
    ] = 0
    online_every: Annotated[
        int, Range(0), arg(help="epochs between probes while training; 0 = only after the last")
    ] = 20
    linear_epochs: Annotated[int, Range(1, 100_000), arg(help="epochs of those linear probes")] = 50
    log_every: Annotated[int, Range(1), arg(help="steps a line of metrics.jsonl averages over")] = 10
    workers: Annotated[int, Range(-1, 1024), arg(help="processes that decode large images; -1 = one a core")] = -1
    memory_format: Annotated[Literal["channels-last", "contiguous"], arg(help="layout of images in memory")] = (
        "channels-last"
    )


def pretrain(arguments: Sequence[str]) -> None:
    """Pretrain METHOD (or METHOD+, with CompMod around it) on a data set; the same command resumes a stopped run."""
    method, rest = (arguments[0], arguments[1:]) if arguments and not arguments[0].startswith("-") else ("", arguments)
    asks_help = "-h" in rest or "--help" in rest
    dataset, scale = _value(rest, "--dataset"), _value(rest, "--scale") or "paper"
    if not asks_help and not method:
        raise ValueError(f"pretrain needs a METHOD before its options; known: {', '.join(METHODS)}, each also with '+'")
    if not asks_help and not dataset:
        raise ValueError(f"pretrain needs --dataset NAME; known: {', '.join(DATASETS)}")
    if other := _value(rest, "--method"):
        raise ValueError(f"the method is the first word, for its recipe depends on it: compmod pretrain {other} ...")
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; known: {', '.join(SCALES)}")
    method, dataset = method or "simclr", dataset or "digits"
    if scale == "demo" and dataset != "digits":
        raise ValueError(f"scale demo is for --dataset digits, not {dataset!r}; for it use --scale paper or short")
    base = scaled(method, dataset, "demo" if dataset == "digits" else scale, _value(rest, "--preset"))
    with parse_errors_in_one_line(known="those of compmod pretrain METHOD --dataset NAME --help"):
        asked = tyro.cli(
            Pretraining,
            prog="compmod pretrain METHOD[+] --dataset NAME",
            description=f"{pretrain.__doc__} The defaults shown are those of {method} on {dataset}.",
            default=Pretraining(run=base),
            config=(FlagCreatePairsOff,),
            args=list(rest),
        )
    _pretrain(asked)


def _pretrain(asked: Pretraining) -> None:
    check_fields(asked)
    from .pretrain.trainer import train
    from .pretrain.training.session import Session

    names = {field.name for field in dataclasses.fields(Session)} & {f.name for f in dataclasses.fields(Pretraining)}
    session = Session(**{name: getattr(asked, name) for name in names})
    record = train(asked.run, asked.runs, asked.data, session)
    if launch_of(os.environ).rank:  # the first process speaks for all
        return
    results = record.results or {}
    last, online = results.get("last"), results.get("online")
    figures = [last, *(online[-1:] if isinstance(online, list) else [])]  # of a finished record, maybe another's
    _print_results(
        record.path, {name: value for part in figures if isinstance(part, dict) for name, value in part.items()}
    )


def _print_results(folder: Path, results: dict[str, object]) -> None:
    for name, value in results.items():
        text = f"{value:.4g}" if isinstance(value, int | float) else printable(str(value))
        print(f"{printable(name):18} {text}")
    print(folder)


def _value(arguments: Sequence[str], option: str) -> str:
    """Value of the last `--option VALUE` or `--option=VALUE`, as tyro reads it; "" when it is not there."""
    value = ""
    for argument, following in pairwise([*arguments, ""]):
        if argument == option:
            value = following
        elif argument.startswith(option + "="):
            value = argument.partition("=")[2]
    return value


COMMANDS: dict[str, Callable[..., None] | str] = {  # as module:function below this package: imported when asked for
    "demo": demo,
    "pretrain": pretrain,
    "evaluate": evaluate,
    "transfer": "transfer.commands.transfer:transfer_command",
    "table": table_command,
    "plan": plan_command,
    "claims": claims_command,
    "report": report_command,
    "data": data,
    "methods": methods,
    "export": "transfer.commands.export:export_command",
    "doctor": "transfer.commands.doctor:doctor_command",
    "cluster": "slurm.commands.submit:cluster_command",
    "submit": "slurm.commands.submit:submit_command",
    "status": "slurm.commands.status:status_command",
    "logs": "slurm.commands.status:logs_command",
    "cancel": "slurm.commands.cancel_retry:cancel_command",
    "retry": "slurm.commands.cancel_retry:retry_command",
}

RESUMABLE = ("demo", "pretrain", "evaluate", "transfer", "table")  # by the same command again

_USAGE = """usage: compmod COMMAND ...

  compmod demo [--runs DIR]
  compmod pretrain METHOD[+] --dataset NAME [any field of Run] [--runs DIR] [--data DIR] [--device auto|cpu|cuda]
  compmod evaluate RUN_DIR [--protocol probes|linear|semi-1|semi-10] [--variant NAME] [--sweep]
  compmod transfer RUN_DIR|FILE [--coco DIR] [--schedule 1x|2x|demo] [--architecture c4|fpn] [--gpus N]
  compmod table N|all [--scale paper|short|demo] [--run] [--format md|html|latex|csv] [--seeds K] [--copies DATA=COPY]
  compmod plan [N...] [--scale paper|short|demo] [--seeds K] [--runs DIR] [--hardware GPU] [--json]
  compmod claims [--scale paper|short|demo] [--seeds K] [--runs DIR] [--format md|csv]
  compmod report -o DIR [--scale paper|short|demo] [--seeds K] [--runs DIR]
  compmod data NAME [--data DIR]
  compmod methods [NAME] [--format text|md]
  compmod export RUN_DIR --to torchvision|timm|detectron2 -o FILE
  compmod doctor
  compmod cluster new|check|list [NAME] [--run]
  compmod submit [N...] --cluster NAME|local [--scale paper|short|demo] [--seeds K] [--dry-run] [--nodes K] [--gpus K]
  compmod status [N...] [--scale paper|short|demo] [--seeds K] [--runs DIR] [--watch] [--json]
  compmod logs DIGEST [--follow] [--lines K] [--runs DIR]
  compmod cancel N|all|DIGEST... [--scale paper|short|demo] [--seeds K] [--runs DIR]
  compmod retry [N|DIGEST...] [--scale paper|short|demo] [--seeds K] [--runs DIR] [--data DIR] [--cluster NAME]

`compmod COMMAND --help` lists a command's options."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit status 2 with one line on a mistake, 1 on a failure while computing."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    with errors_in_one_line(resumable=bool(arguments) and arguments[0] in RESUMABLE):
        check_words(arguments)
        if not arguments or arguments[0] in ("-h", "--help"):
            print(_USAGE, flush=True)
        else:
            _dispatch(arguments[0], arguments[1:])


def _dispatch(name: str, arguments: Sequence[str]) -> None:
    if name not in COMMANDS:
        raise ValueError(f"unknown command {name!r}; known: {', '.join(COMMANDS)}")
    if name == "pretrain":
        pretrain(arguments)
        return
    with parse_errors_in_one_line(known=f"those of compmod {name} --help"):
        call = tyro.cli(
            deferred(_command(name)), prog=f"compmod {name}", config=(FlagCreatePairsOff,), args=list(arguments)
        )
    call()


def _command(name: str) -> Callable[..., None]:
    command = COMMANDS[name]
    if not isinstance(command, str):
        return command
    module, _, function = command.partition(":")
    found: Callable[..., None] = getattr(importlib.import_module(f".{module}", __package__), function)
    return found
