"""The demo: Table 1 in miniature on the embedded digits, from pretraining to a report, in minutes on two CPU cores."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from ...pretrain.runtime.launch import usable_cores
from ...pretrain.specs.run import PLUS
from ..build import build_table
from ..claims.gains import gain_sentences
from ..paper.table import Table
from ..render.render import render
from ..report.report import write_report
from ..reproduce import run_table
from ..results.cells import cell_results
from ..results.results import Results

METHODS = ("simclr", "byol", "barlow_twins")  # of Table 1's rows: what two cores pretrain in under five minutes


def demo_table() -> Table:
    """Table 1 at scale `demo`, of its floors and these methods alone; `compmod table 1 --scale demo` has every row."""
    table = build_table(1, "demo")
    rows = tuple(row for row in table.rows if not row.method or row.method.removesuffix(PLUS) in METHODS)
    others = f"Rows of the other methods: compmod table {table.number} --scale demo --run."
    return replace(table, rows=rows, notes=(*table.notes, others))


def run_demo(runs: Path) -> None:
    """Fill the demo table below `runs`, unless that is done already, print it with what "+" changed, and report.md."""
    table = demo_table()
    count = len(table.specs)
    print(f"{count} runs on the embedded digits; interrupted, the same command goes on", file=sys.stderr, flush=True)
    run_table(table, runs, Path("data"), device="cpu", workers=usable_cores())
    print(render(table, runs, "md"))
    print("\n".join(gain_sentences(cell_results(table, Results(runs)))))
    print(f"report: {write_report(table, runs, runs / 'report.md')}")
