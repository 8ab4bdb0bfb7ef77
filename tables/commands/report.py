"""The command behind `compmod report`: all tables, curves, claims and costs as a web page and as markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from ...pretrain.commands.options import Folder, RunsOption
from ...pretrain.records.files import SPEC_FILE
from ..build import TABLES, build_table
from .options import CopiesOption, PrecisionOption, ScaleOption, SeedsOption, chosen_precision, named_copies


def report_command(
    output: Annotated[
        Path, Folder(), arg(aliases=("-o",), metavar="DIR", help="folder for index.html, report.md and pictures")
    ],
    scale: ScaleOption = "paper",
    seeds: SeedsOption = 1,
    copies: CopiesOption = (),
    precision: PrecisionOption = "auto",
    runs: RunsOption = Path("runs"),
) -> None:
    """Write a report: the seven tables, curves, the paper's claims, the missing runs and their cost."""
    from ..report.report import write_reports

    settings = scale, seeds, named_copies(copies), chosen_precision(precision)
    build_table(next(iter(TABLES)), *settings)  # raises on a wrong argument before it makes the folder
    if output.resolve() == output.resolve().parent or (output / SPEC_FILE).exists():
        raise ValueError(f"{output} is {'the folder of a run' if output.name else 'the root'}; give the report its own")
    output.mkdir(parents=True, exist_ok=True)  # raises where the folder cannot be made, before the work
    for path in write_reports(runs, output, *settings):
        print(path)
