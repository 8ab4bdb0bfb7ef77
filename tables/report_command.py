"""The command behind `compmod report`: all tables, curves, claims and costs as a web page and as markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import UseAppendAction, arg

from .command import named_copies
from .scales import Scale


def report_command(
    output: Annotated[Path, arg(aliases=("-o",), metavar="DIR", help="folder for index.html, report.md and pictures")],
    scale: Annotated[Scale, arg(help="the full recipes, a tenth of the epochs, or digits on a CPU")] = "paper",
    seeds: Annotated[int, arg(help="number of seeds a cell")] = 1,
    copies: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="DATA=COPY", help="a re-encoded copy in place of a data set; repeatable"),
    ] = (),
    runs: Annotated[Path, arg(help="folder of the runs")] = Path("runs"),
) -> None:
    """Write what there is: the seven tables, curves, the paper's claims, what is missing and what that would cost."""
    from .report import write_reports

    named = named_copies(copies)
    output.mkdir(parents=True, exist_ok=True)  # a folder that cannot be is found out before the work
    for path in write_reports(runs, output, scale, seeds, named):
        print(path)
