"""The command behind `compmod pretrain`: the method first, for the defaults of all options are those of its recipe."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, arg
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from ..files.stored_json import parse_object, read_regular, shortened
from ..files.stored_toml import parse_toml
from ..recipes.presets import recipes
from ..recipes.scales import SCALES, Scale, scaled
from ..runtime.launch import launch_of
from ..specs.datasets import DATASETS
from ..specs.fields import Range
from ..specs.methods import METHODS
from ..specs.own_data import OwnData
from ..specs.run import PLUS, Run
from ..specs.spec import DIGEST_LENGTH
from ..training.session import Session
from .options import (
    CheckpointMinutesOption,
    DataOption,
    DeviceOption,
    LoggerOption,
    RunsOption,
    WorkersOption,
    check_fields,
)
from .own_data import FolderOption, OwnFolder, SizeOption, data_root, known_names, own_folder
from .parsing import described, parse_errors_in_one_line, parsed_by, resumable
from .results import print_results

FIRST = "METHOD[+] --dataset NAME"  # how its command line begins
NAMES = (*METHODS, *(name + PLUS for name, entry in METHODS.items() if entry.plus))  # that METHOD[+] may be


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainOptions:
    """Every option of `compmod pretrain`: the spec, and what does not belong to it."""

    run: Annotated[Run, arg(name="")]  # its fields are options without a prefix
    scale: Annotated[Scale, arg(help="recipe to start from; every option changes one field of it")] = "paper"
    preset: Annotated[str, arg(help="another of its recipes, of those that compmod methods METHOD lists")] = ""
    spec: Annotated[
        Path | None,
        arg(metavar="PATH", help="in place of METHOD --dataset NAME: a spec.json, as every run leaves one, or TOML"),
    ] = None
    runs: RunsOption = Path("runs")
    data: DataOption = Path("data")
    data_folder: FolderOption = None
    size: SizeOption = 0
    device: DeviceOption = "auto"
    checkpoint_minutes: CheckpointMinutesOption = Session.checkpoint_minutes
    checkpoint_epochs: Annotated[
        int, Range(0), arg(help="also a checkpoint every so many epochs; 0 = by time alone")
    ] = Session.checkpoint_epochs
    online_every: Annotated[
        int, Range(0), arg(help="epochs between probes while training; 0 = only after the last")
    ] = Session.online_every
    linear_epochs: Annotated[int, Range(1, 100_000), arg(help="epochs of those linear probes")] = Session.linear_epochs
    log_every: Annotated[int, Range(1), arg(help="steps a line of metrics.jsonl averages over")] = Session.log_every
    logger: LoggerOption = Session.logger
    workers: WorkersOption = Session.workers
    memory_format: Annotated[
        Literal["auto", "channels-last", "contiguous"],
        arg(help="layout of images in memory; auto = contiguous for float32 on CUDA, channels-last elsewhere"),
    ] = Session.memory_format
    compile: Annotated[
        bool, arg(help="run networks by kernels that torch.compile makes; starting takes minutes longer")
    ] = Session.compile
    kept_share: Annotated[
        float, Range(0, 1), arg(help="of the activations that METHOD+ may keep within a step; less saves memory")
    ] = Session.kept_share
    recompute: Annotated[
        bool, arg(help="compute activations again in the backward pass: less memory, same numbers")
    ] = Session.recompute


_OWN_IS_FOUND = ConstructorRegistry()  # Run.own, which --data-folder decides: shown, and not to be typed


@_OWN_IS_FOUND.primitive_rule
def _own(field: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[OwnData | None] | None:
    if field.type != OwnData | None:
        return None

    def typed(words: list[str]) -> OwnData:
        raise ValueError("own is what --data-folder holds; it cannot be given")

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="(as found)",
        instance_from_str=typed,
        is_instance=lambda own: own is None or isinstance(own, OwnData),
        str_from_instance=lambda own: [own.contents[:DIGEST_LENGTH] if own else "none"],
    )


def parse(arguments: Sequence[str]) -> Callable[[], None]:
    """The call that the words after `compmod pretrain` ask for. Raises ValueError, in one line, on a mistake."""
    method, rest = (arguments[0], arguments[1:]) if arguments and not arguments[0].startswith("-") else ("", arguments)
    if other := _value(rest, "--method"):
        raise ValueError(f"the method is the first word, for its recipe depends on it: compmod pretrain {other} ...")
    file = _value(rest, "--spec")
    run = _of_file(Path(file), method, rest) if file else _of_recipe(method, rest)
    with parse_errors_in_one_line(known="those of compmod pretrain METHOD --dataset NAME --help"):
        options = tyro.cli(
            PretrainOptions,
            prog=f"compmod pretrain {FIRST}",
            description=_description(run),
            default=PretrainOptions(run=run),
            config=(FlagCreatePairsOff,),
            registry=_OWN_IS_FOUND,
            args=list(rest),
        )
    return functools.partial(pretrain_command, options)


@resumable
@parsed_by(parse, {"": NAMES, "--dataset": DATASETS})
def pretrain_command(options: PretrainOptions) -> None:
    """Pretrain METHOD (or METHOD+, with CompMod) on a data set; the same command resumes a stopped run."""
    check_fields(options)
    from ..data.identity import check_no_other_images
    from ..trainer import train

    names = {field.name for field in dataclasses.fields(Session)}
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(options) if field.name in names}
    root = data_root(options.run, options.data, options.data_folder)
    if options.run.own:
        check_no_other_images(options.run, options.runs)
    record = train(options.run, options.runs, root, Session(**given))
    if launch_of(os.environ).rank:
        return
    results = record.results or {}
    last, online = results.get("last"), results.get("online")
    parts = [last, *(online[-1:] if isinstance(online, list) else [])]  # another person may have written the record
    print_results(
        record.path, {name: value for part in parts if isinstance(part, dict) for name, value in part.items()}
    )


def _of_recipe(method: str, rest: Sequence[str]) -> Run:
    """The Run of the words METHOD, --dataset, --scale and --preset; for --help, without them, that of an example."""
    dataset, scale = _value(rest, "--dataset"), _value(rest, "--scale") or "paper"
    if "-h" not in rest and "--help" not in rest:
        if not method:
            known = ", ".join(METHODS)
            raise ValueError(f"pretrain needs a METHOD before its options; known: {known}, each also with '+'")
        if not dataset:
            raise ValueError(f"pretrain needs --dataset NAME; {known_names()}")
    method, dataset = method or "simclr", dataset or "digits"
    folder, size = _value(rest, "--data-folder"), _value(rest, "--size") or "0"
    if not size.isdecimal():
        raise ValueError(f"size must be a whole number of pixels, not {size!r}")
    own = own_folder(dataset, Path(folder) if folder else None, int(size))
    return _recipe(method, dataset, scale, _value(rest, "--preset"), own)


def _of_file(file: Path, method: str, rest: Sequence[str]) -> Run:
    """The Run in a file of JSON or TOML. Raises ValueError where it holds none, or words beside it ask for another."""
    beside = [option for option in ("--dataset", "--scale", "--preset", "--size") if _value(rest, option)]
    if given := [*([method] if method else []), *beside]:
        raise ValueError(f"{file} says all that a recipe says; leave out {', '.join(given)}")
    content = read_regular(file)
    if content is None:
        raise ValueError(f"{file}: no such file; expected a spec.json, as every run leaves one, or the same in TOML")
    found = parse_toml(content, file) if file.suffix == ".toml" else parse_object(content, file)
    try:
        run = Run.from_dict(found)
    except ValueError as error:
        raise ValueError(f"{file}: {shortened(str(error))}") from error
    if run.kind != "pretraining":
        raise ValueError(f"{file}: describes weights that others trained; expected a pretraining")
    return run


def _description(run: Run) -> str:
    """What `--help` says before the options: whose defaults these are, and the names that may stand in their place."""
    method, dataset = run.method, run.dataset
    presets = ", ".join(name or "(default)" for name in recipes(method, dataset, run.own))
    without = [name for name, entry in METHODS.items() if not entry.plus]
    return described(
        pretrain_command,
        f"The defaults shown are those of {method} on {dataset}.",
        f"Methods: {', '.join(METHODS)}; each also with {PLUS}, except {' and '.join(without)}.",
        f"Data sets: {', '.join(DATASETS)}.",
        f"Presets of {method} on {dataset}: {presets}.",
    )


def _recipe(method: str, dataset: str, scale: str, preset: str, own: OwnFolder | None) -> Run:
    """The Run whose fields are the defaults. Raises ValueError on a name that is not known, or on faulty images."""
    known = next((name for name in SCALES if name == scale), None)
    if known is None:
        raise ValueError(f"unknown scale {scale!r}; known: {', '.join(SCALES)}")
    if known == "demo" and dataset != "digits":
        raise ValueError(f"scale demo is for --dataset digits, not {dataset!r}; for it use --scale paper or short")
    Run(method=method, dataset="digits")  # an unknown method is named before all images are read
    of_own = own.survey().own if own else None
    return scaled(method, dataset, "demo" if dataset == "digits" else known, preset, of_own)


def _value(arguments: Sequence[str], option: str) -> str:
    """Value of the last `--option VALUE` or `--option=VALUE`, as tyro reads it; "" when it is not there."""
    value = ""
    for argument, following in pairwise([*arguments, ""]):
        if argument.replace("_", "-") == option:
            value = following
        elif argument.partition("=")[0].replace("_", "-") == option and "=" in argument:
            value = argument.partition("=")[2]
    return value
