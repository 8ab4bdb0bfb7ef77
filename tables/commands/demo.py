"""The command behind `compmod demo`: Table 1 in miniature on the embedded digits, in minutes on two CPU cores."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from ...pretrain.commands.options import RunsOption
from ...pretrain.commands.parsing import resumable
from ...pretrain.runtime.launch import usable_cores
from ...pretrain.specs.run import PLUS
from ..build import build_table
from ..paper.table import Table

METHODS = ("simclr", "byol", "barlow_twins")  # of Table 1's rows: what two cores pretrain in under five minutes


@resumable
def demo_command(runs: RunsOption = Path("runs")) -> None:
    """Pretrain three methods, plain and with CompMod, on the embedded digits; print the table, write a report."""
    runs.mkdir(parents=True, exist_ok=True)  # one error where the folder cannot be made, not one for every run
    run_demo(runs)


def demo_table() -> Table:
    """Table 1 at scale `demo`, of its floors and these methods alone; `compmod table 1 --scale demo` has every row."""
    table = build_table(1, "demo")
    rows = tuple(row for row in table.rows if not row.method or row.method.removesuffix(PLUS) in METHODS)
    others = f"Rows of the other methods: compmod table {table.number} --scale demo --run."
    return replace(table, rows=rows, notes=(*table.notes, others))


def run_demo(runs: Path) -> None:
    """Train what the demo table lacks below `runs`; print the table and what "+" changed; write report.md."""
    from ..claims.gains import gain_sentences
    from ..render.render import render
    from ..report.report import write_report
    from ..reproduce import run_table
    from ..results.cells import cell_results
    from ..results.results import Results

    table = demo_table()
    count = len(table.specs)
    print(f"{count} runs on the embedded digits; interrupted, the same command goes on", file=sys.stderr, flush=True)
    run_table(table, runs, Path("data"), device="cpu", workers=usable_cores())
    print(render(table, runs, "md"))
    print("\n".join(gain_sentences(cell_results(table, Results(runs)))))
    print(f"report: {write_report(table, runs, runs / 'report.md')}")
