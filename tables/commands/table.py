"""The command behind `compmod table N` and `python -m compmod.tables.tableN`: print tables, and first fill them."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, arg

from ...pretrain.commands.options import DataOption, DeviceOption, LoggerOption, RunsOption, Values, check_words
from ...pretrain.commands.parsing import deferred, errors_in_one_line, parse_errors_in_one_line, resumable
from ...pretrain.loggers.names import DEFAULT, chosen
from ...pretrain.recipes.scales import FOR_CPUS, Scale
from ...pretrain.runtime.launch import usable_cores
from ...pretrain.specs.fields import Range
from ..build import TABLES, tables_at
from ..paper.table import Format
from ..results.added_rows import read_rows, with_rows
from ..results.other_precision import unused_runs
from .options import CopiesOption, PrecisionOption, ScaleOption, SeedsOption, built, of_methods

ALL = "all"


@resumable
def table_command(
    number: Annotated[
        Positional[int | str], Values((*map(str, TABLES), ALL)), arg(metavar="N|all", help="number of a table, or all")
    ],
    scale: ScaleOption = "paper",
    run: Annotated[bool, arg(help="first train and evaluate what the table lacks")] = False,
    format: Annotated[Format, arg(help="markdown to read, a page, for a paper, or one line a cell")] = "md",
    sources: Annotated[bool, arg(help="below markdown, where each number comes from")] = False,
    methods: Annotated[tuple[str, ...], arg(metavar="[NAME ...]", help="with --run: these alone; none = all")] = (),
    seeds: SeedsOption = 1,
    copies: CopiesOption = (),
    precision: PrecisionOption = "auto",
    runs: RunsOption = Path("runs"),
    data: DataOption = Path("data"),
    device: DeviceOption = "auto",
    rows: Annotated[
        Path | None, arg(metavar="PATH", help="TOML: encoders that others trained, as further rows")
    ] = None,
    workers: Annotated[
        int, Range(0, 1024), arg(help="runs trained at once; 0 = one, at a scale for CPUs one a core")
    ] = 0,
    logger: LoggerOption = DEFAULT,
) -> None:
    """Print tables of the paper, our numbers beside theirs; with `--run`, first run what is missing.

    Raises ValueError on a wrong argument, and after printing when a run failed.
    """
    tables = built(numbers(number, scale), scale, seeds, copies, precision)
    if methods and not run:
        raise ValueError("--methods says which of the missing runs --run does; give both")
    work = of_methods(tables, methods)
    if rows:
        added = read_rows(rows, runs)
        tables = [with_rows(table, added) for table in tables]
    failure: ValueError | None = None
    if unused := unused_runs(tables, runs):
        print(unused, file=sys.stderr, flush=True)
    if run:
        from ...pretrain.training.session import resolve_device
        from ..reproduce import run_tables

        resolve_device(device)  # one error where this machine lacks it, too
        chosen(logger)  # one error where it is not installed
        runs.mkdir(parents=True, exist_ok=True)  # one error where the folder cannot be made, not one for every run
        try:
            at_once = workers or (usable_cores() if scale in FOR_CPUS else 1)
            run_tables(work if methods else tables, runs, data, device, workers=at_once, logger=logger)
        except ValueError as error:
            failure = error
    from ..render.render import render_all
    from ..results.results import Results

    results = Results(runs)
    print(render_all(tables, results, format, provenance=sources), end="", flush=True)
    if format == "csv":  # the others say it below each table
        print(*results.damaged, sep="\n", end="\n" * bool(results.damaged), file=sys.stderr)
    if failure is not None:
        raise failure


def numbers(asked: int | str, scale: Scale = "paper") -> tuple[int, ...]:
    """The tables that a word of the command line names. Raises ValueError unless it is a table's number or `all`."""
    if asked == ALL:
        return tables_at(scale)
    if isinstance(asked, str) or asked not in TABLES:
        raise ValueError(f"unknown table {asked!r}; known: {', '.join(map(str, TABLES))}, {ALL}")
    return (asked,)


def script(number: int, arguments: Sequence[str] | None = None) -> None:
    """The main function of `tableN.py`: `table_command` for one table, its options read from the command line.

    A mistake of the user's becomes one line on standard error and exit status 2.
    """
    options = ", ".join(f"--{name}" for name in inspect.signature(table_command).parameters if name != "number")
    with errors_in_one_line(resumable=True):
        arguments = sys.argv[1:] if arguments is None else arguments
        check_words(arguments)
        with parse_errors_in_one_line(known=options):
            call = tyro.cli(
                functools.partial(deferred(table_command), number),
                prog=f"python -m compmod.tables.{TABLES[number]}",
                description=f"Table {number} of the paper, ours beside theirs; with --run, first train what it lacks.",
                config=(FlagCreatePairsOff,),
                args=arguments,
            )
        call()
