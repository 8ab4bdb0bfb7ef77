"""The command behind `compmod table N` and `python -m compmod.tables.tableN`: fill a table if asked, then print it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, arg

from .scales import Scale
from .table import build_table


def table_command(
    number: int,
    scale: Scale = "paper",
    run: bool = False,
    format: Literal["md", "csv"] = "md",
    seeds: int = 1,
    runs: Path = Path("runs"),
    data: Path = Path("data"),
    device: str = "auto",
) -> None:
    """Print table `number`; with `run`, first train and evaluate what it lacks.

    Raises ValueError on a wrong argument, and after printing when a run failed.
    """
    table = build_table(number, scale, seeds)
    failure: ValueError | None = None
    if run:
        from .reproduce import run_table

        try:
            run_table(table, runs, data, device)
        except ValueError as error:
            failure = error
    from .render import render

    print(render(table, runs, format), end="")
    if failure is not None:
        raise failure


def script(number: int) -> None:
    """The main function of `tableN.py`. A mistake of the user's is one line and exit status 2."""
    def command(
        scale: Annotated[Scale, arg(help="the full recipes, a tenth of the epochs, or digits on a CPU")] = "paper",
        run: Annotated[bool, arg(help="first train and evaluate what the table lacks")] = False,
        format: Annotated[Literal["md", "csv"], arg(help="markdown to read or CSV, one line a cell")] = "md",
        seeds: Annotated[int, arg(help="number of seeds a cell")] = 1,
        runs: Annotated[Path, arg(help="folder of the runs")] = Path("runs"),
        data: Annotated[Path, arg(help="folder of the data sets")] = Path("data"),
        device: Annotated[Literal["auto", "cpu", "cuda"], arg(help="where to train")] = "auto",
    ) -> None:
        table_command(number, scale, run, format, seeds, runs, data, device)

    try:
        tyro.cli(
            command,
            prog=f"python -m compmod.tables.table{number}",
            description=f"Table {number} of the paper, ours beside theirs.",
            config=(FlagCreatePairsOff,),
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
