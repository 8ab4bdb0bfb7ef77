"""Tables of runs that take seconds, for the tests on a cluster, and whether two folders hold the same work."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from compmod.pretrain.record import Record
from compmod.pretrain.run import Evaluation, Run
from compmod.tables.reproduce import reproduce
from compmod.tables.table import Cell, Column, Row, Table, build_table
from safetensors.torch import load_file
from small_runs import small

HEADING = "Digits"
METRICS = {"linear": "linear/top1", "5-nn": "knn/top1"}
TIMED = ("seconds", "images_per_second", "peak_memory_gb")  # what no two executions share


def tiny(method: str = "simclr+", *, epochs: int = 12, seed: int = 0) -> Run:
    """Eight steps an epoch."""
    return small(method, epochs=epochs, train_images=96, seed=seed)


def probed(run: Run) -> Evaluation:
    """Its linear and nearest-neighbour probes, briefly."""
    return Evaluation(run=run, linear_epochs=2)


def tiny_table(runs: Iterable[Run]) -> Table:
    """A table of the probes of these runs, a row each."""
    columns = tuple(Column(group=HEADING, name=name, heading=HEADING, parts=("ours",)) for name in METRICS)
    rows = [
        Row(
            label=f"{run.label} {run.seed}",
            method=run.method,
            cells=tuple(Cell(metric=metric, specs=(probed(run),)) for metric in METRICS.values()),
        )
        for run in runs
    ]
    return Table(number=1, title="Tiny runs", scale="demo", columns=columns, rows=tuple(rows), cost="seconds a run")


def tiny_table_1(epochs: int) -> Table:
    """The rows of Table 1 at scale demo, all its methods, with tiny runs in place of its own."""
    methods = dict.fromkeys(row.method for row in build_table(1, "demo").rows if row.method)
    return tiny_table(tiny(method, epochs=epochs) for method in methods)


def undisturbed(table: Table, runs: Path) -> None:
    """Do all of its work in this process, one after another."""
    for spec in table.specs:
        reproduce(spec, runs, runs, "cpu", quiet=True)


def differences(table: Table, runs: Path, others: Path) -> list[str]:
    """What two folders do not have in common of a table's work: bits of encoders, logged lines, results."""
    found = []
    for spec in table.specs:
        for each in (spec.run, spec):
            mine, theirs = Record(runs, each), Record(others, each)
            if mine.status != "done" or theirs.status != "done":
                found.append(f"{each.folder}: {mine.status} and {theirs.status}")
            elif _results(mine) != _results(theirs):
                found.append(f"{each.folder}: results")
        mine, theirs = Record(runs, spec.run), Record(others, spec.run)
        if _lines(mine) != _lines(theirs):
            found.append(f"{spec.run.folder}: lines of the log")
        if not _same_bits(mine, theirs):
            found.append(f"{spec.run.folder}: encoder")
    return found


def _results(record: Record) -> dict[str, Any]:
    return {name: value for name, value in (record.results or {}).items() if name not in TIMED}


def _lines(record: Record) -> list[dict[str, Any]]:
    path = record.path / "metrics.jsonl"
    lines = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
    return [{name: value for name, value in line.items() if name not in TIMED} for line in lines]


def _same_bits(mine: Record, theirs: Record) -> bool:
    """The tensors; the order of a file's remarks is chance."""
    both = [record.path / "encoder.safetensors" for record in (mine, theirs)]
    if not all(path.exists() for path in both):
        return not any(path.exists() for path in both)
    one, two = map(load_file, both)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
