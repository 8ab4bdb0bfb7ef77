"""Reproduce: the one room that turns a spec into results; a cluster job makes this same call.

torch is imported only when something has to be trained or evaluated.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from ..pretrain.record import Record
from ..pretrain.run import Evaluation
from .table import Table

FAILURES = (ValueError, RuntimeError, ArithmeticError, OSError)  # of a run; anything else is a fault of ours


def reproduce(spec: Evaluation, runs: Path, data: Path, device: str = "auto") -> Record:
    """Train the run of `spec` unless that is done, evaluate it unless that is done, and return its record.

    Raises what training or evaluation raises.
    """
    record = Record(runs, spec)
    if record.status == "done":
        return record
    from ..pretrain.evaluate.probe import evaluate
    from ..pretrain.trainer import train

    if Record(runs, spec.run).status != "done":
        train(spec.run, runs, data, device=device)
    return evaluate(runs, spec, data, device)


def run_table(table: Table, runs: Path, data: Path, device: str = "auto") -> None:
    """Fill what `table` lacks, each spec once, in order, one line of progress each on standard error.

    A run that fails does not stop the others. Raises ValueError at the end, naming the runs that failed.
    """
    missing = [spec for spec in table.specs if Record(runs, spec).status != "done"]
    failed: dict[str, str] = {}
    for count, spec in enumerate(missing, start=1):
        name = f"{spec.run.label}, seed {spec.run.seed}, {spec.run.folder}"
        start = time.perf_counter()
        try:
            if spec.run.folder in failed:  # a moment ago, for another evaluation of the same run
                raise ValueError(failed[spec.run.folder])
            reproduce(spec, runs, data, device)
            outcome = f"done in {time.perf_counter() - start:.0f} s"
        except FAILURES as error:
            failed.setdefault(spec.run.folder, _one_line(error))
            outcome = f"failed: {failed[spec.run.folder]}"
        print(f"[{count}/{len(missing)}] {name}: {outcome}", file=sys.stderr, flush=True)
    if failed:
        reasons = "; ".join(f"{folder}: {reason}" for folder, reason in failed.items())
        raise ValueError(f"{len(failed)} of table {table.number}'s runs failed: {reasons}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
