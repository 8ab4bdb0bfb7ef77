"""The demo: Table 1 in miniature on the embedded digits, from pretraining to a report, in minutes on two CPU cores."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .render import render
from .report import write_report
from .reproduce import run_table
from .table import build_table


def run_demo(runs: Path) -> None:
    """Fill the demo table below `runs`, unless that is done already, print it, and write report.md there."""
    table = build_table(1, "demo")
    count = len(table.specs)
    print(f"{count} runs on the embedded digits; interrupted, the same command goes on", file=sys.stderr, flush=True)
    run_table(table, runs, Path("data"), device="cpu", workers=len(os.sched_getaffinity(0)))
    print(render(table, runs, "md"))
    print(f"report: {write_report(table, runs, runs / 'report.md')}")
