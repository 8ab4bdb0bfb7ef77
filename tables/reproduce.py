"""Reproduce: the one room that turns a spec into results; a cluster job makes this same call.

torch is imported only when something has to be trained or evaluated.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from ..pretrain.record import Record
from ..pretrain.run import Evaluation
from .table import Table

FAILURES = (ValueError, RuntimeError, ArithmeticError, OSError)  # of a run; anything else is a fault of ours


def reproduce(spec: Evaluation, runs: Path, data: Path, device: str = "auto", *, quiet: bool = False) -> Record:
    """Train the run of `spec` unless that is done, evaluate it unless that is done, and return its record.

    Raises what training or evaluation raises.
    """
    record = Record(runs, spec)
    if record.status == "done":
        return record
    from ..pretrain.evaluate.probe import evaluate
    from ..pretrain.session import Session, resolve_device
    from ..pretrain.trainer import train

    device = resolve_device(device)
    session = Session(device=device, quiet=quiet)
    if Record(runs, spec.run).status != "done":
        train(spec.run, runs, data, session)
    return evaluate(runs, spec, data, device, session.loader_workers)


def run_table(table: Table, runs: Path, data: Path, device: str = "auto", *, workers: int = 1) -> None:
    """Fill what `table` lacks, each spec once, one line of progress each on standard error.

    With several `workers`, so many processes of one thread each: small networks gain more from that than from threads.
    A run that fails does not stop the others. Raises ValueError at the end, naming the runs that failed.
    """
    missing = [spec for spec in table.specs if Record(runs, spec).status != "done"]
    failed: dict[str, str] = {}
    outcomes: Iterable[tuple[Evaluation, Callable[[], float]]]
    with contextlib.ExitStack() as stack:
        if workers > 1 and len(missing) > 1:
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread))
            waiting = [pool.submit(_timed, spec, runs, data, device, quiet=True) for spec in missing]
            outcomes = ((missing[waiting.index(done)], done.result) for done in as_completed(waiting))
        else:
            outcomes = ((spec, functools.partial(_timed, spec, runs, data, device, quiet=False)) for spec in missing)
        for count, (spec, result) in enumerate(outcomes, start=1):
            try:
                if spec.run.folder in failed:  # a moment ago, for another evaluation of the same run
                    raise ValueError(failed[spec.run.folder])
                said = f"done in {result():.0f} s"
            except FAILURES as error:
                failed.setdefault(spec.run.folder, _one_line(error))
                said = f"failed: {failed[spec.run.folder]}"
            name = f"{spec.run.label}, seed {spec.run.seed}, {spec.run.folder}"
            print(f"[{count}/{len(missing)}] {name}: {said}", file=sys.stderr, flush=True)
    if failed:
        reasons = "; ".join(f"{folder}: {reason}" for folder, reason in failed.items())
        raise ValueError(f"{len(failed)} of table {table.number}'s runs failed: {reasons}")


def _timed(spec: Evaluation, runs: Path, data: Path, device: str, *, quiet: bool) -> float:
    start = time.perf_counter()
    reproduce(spec, runs, data, device, quiet=quiet)
    return time.perf_counter() - start


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
