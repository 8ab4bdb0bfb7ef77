"""The command behind `compmod demo`: Table 1 in miniature on the embedded digits, in minutes on two CPU cores."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from ...pretrain.commands.options import RunsOption
from ...pretrain.commands.parsing import resumable
from ...pretrain.runtime.launch import usable_cores
from ...pretrain.specs.methods import METHODS as ENTRIES
from ...pretrain.specs.run import PLUS
from ..build import build_table
from ..paper.table import Table
from ..plan.cost import measured_rates
from ..plan.plan import counted, plan
from ..render.amounts import duration

METHODS = ("simclr", "byol", "barlow_twins")  # of Table 1's rows: what two cores pretrain in some minutes
SLOWER = 2.5  # times, on the slowest processor that was seen; the default rates are of an Intel Xeon


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


def introduction(table: Table, runs: Path) -> str:
    """What the demo is about to do, and how long it takes, in a few lines."""
    missing, cores = plan([table], runs, measured_rates(runs)), usable_cores()
    labels = ", ".join(entry.label for name, entry in ENTRIES.items() if name in METHODS)
    seconds = 3_600 * missing.cpu_hours / cores
    guessed = any(step.basis == "default" for step in missing.steps)
    most = f" to {duration(SLOWER * seconds)}, by the processor," if guessed else ""
    time = f"about {duration(seconds)}{most} on {cores} core{'s'[: cores != 1]}, an estimate"
    return "\n".join(
        [
            f"{len(table.specs)} runs on the embedded digits; nothing is downloaded:",
            f"  {labels}, plain and with CompMod (+); two floors without training",
            f"to do: {counted(missing.steps)}\ntime: {time}" if missing.steps else "all are done",
            f"then: the table, what + changed, and a report in {runs / 'report.md'}",
            "interrupted, the same command goes on",
        ]
    )


def run_demo(runs: Path) -> None:
    """Train what the demo table lacks below `runs`; print the table and what "+" changed; write report.md."""
    table = demo_table()
    print(introduction(table, runs), file=sys.stderr, flush=True)  # before the imports that take a second
    from ..claims.demo_gains import gain_sentences
    from ..render.render import render
    from ..report.report import write_report
    from ..reproduce import run_table
    from ..results.cells import cell_results
    from ..results.results import Results

    run_table(table, runs, Path("data"), device="cpu", workers=usable_cores())
    print(render(table, runs, "md"))
    print("\n".join(gain_sentences(cell_results(table, Results(runs)))))
    print(f"report: {write_report(table, runs, runs / 'report.md')}")
