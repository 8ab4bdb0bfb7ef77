"""Reproduce: the one room that turns a spec into results; a cluster job makes this same call.

torch is imported only when something has to be trained or evaluated.
"""

from __future__ import annotations

import functools
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from ..pretrain.data_identity import Present, check_finished
from ..pretrain.methods import METHODS
from ..pretrain.parent import end_with_the_parent
from ..pretrain.record import Record
from ..pretrain.run import FineTuning, Run
from ..transfer.folder_digests import check_finished_detection
from ..transfer.spec import COCO, Detection
from .table import Measurement, Table

FAILURES = (ValueError, RuntimeError, ArithmeticError, OSError)  # of a run; anything else is a fault of ours


def reproduce(spec: Run | Measurement, runs: Path, data: Path, device: str = "auto", *, quiet: bool = False) -> Record:
    """Do what `spec` lacks and return its record: a pretraining, or a measurement and the pretraining under it.

    What is finished is compared with the data below `data`, where they are there. Raises what training or measuring
    raises, and ValueError where those are other data.
    """
    record = Record(runs, spec)
    if record.status == "done":
        check_data(record, Present(data))
        return record
    from ..pretrain.session import Session, resolve_device
    from ..pretrain.trainer import train

    session = Session(device=resolve_device(device), quiet=quiet)
    run = spec if isinstance(spec, Run) else spec.run
    trained = Record(runs, run)
    if trained.status != "done":
        trained = train(run, runs, data, session)
    if isinstance(spec, Run):
        return trained
    if isinstance(spec, FineTuning):
        from ..pretrain.evaluate.finetune import fine_tune

        return fine_tune(runs, spec, data, session)
    if isinstance(spec, Detection):
        from ..transfer.engine import transfer

        return transfer(runs, spec, data / (spec.copy or COCO), session)
    from ..pretrain.evaluate.probe import evaluate

    return evaluate(runs, spec, data, session.device, session.loader_workers)


def check_data(record: Record, present: Present) -> None:
    """Raise ValueError where the data there now are not those of a finished record; absent ones say nothing."""
    if isinstance(record.spec, Detection):
        check_finished_detection(record, present.root / (record.spec.copy or COCO), present)
    else:
        check_finished(record, present)


@dataclass(frozen=True)
class Done:
    """How one measurement went."""

    spec: Measurement
    seconds: float = 0.0  # with its pretraining, for the first of a run
    failed: str = ""  # the reason in one line
    folder: str = ""  # of what failed, the run or the measurement


def run_table(table: Table, runs: Path, data: Path, device: str = "auto", *, workers: int = 1) -> None:
    """`run_tables` of one table."""
    run_tables([table], runs, data, device, workers=workers)


def run_tables(tables: Sequence[Table], runs: Path, data: Path, device: str = "auto", *, workers: int = 1) -> None:
    """Fill what `tables` lack, one line of progress a measurement on standard error.

    The data of what is finished are compared with those below `data`, where they are there, and nothing runs on data
    that are others now.

    A run is pretrained once, whichever tables ask for it, and the same process then measures it, one protocol after
    another. With several `workers`, so many processes of one thread each, the longest runs first: small networks gain
    more from that than from threads. What fails stops nothing else. Raises ValueError at the end, naming what failed.
    """
    unique = {spec.digest: spec for table in tables for spec in table.specs}
    missing: dict[str, list[Measurement]] = {}
    failed = _other_data(unique.values(), runs, data)
    wrong = {spec.data_name for spec in unique.values() if spec.folder in failed}
    for spec in unique.values():
        if Record(runs, spec).status != "done" and not wrong & {spec.data_name, spec.run.data_name}:
            missing.setdefault(spec.run.digest, []).append(spec)
    count = sum(map(len, missing.values()))
    work = functools.partial(_measure, runs=runs, data=data, device=device)
    for number, done in enumerate(_side_by_side(list(missing.values()), work, workers), start=1):
        if done.failed:
            failed[done.folder] = done.failed
        said = f"failed: {done.failed}" if done.failed else f"done in {done.seconds:.0f} s"
        name = f"{done.spec.run.label}, seed {done.spec.run.seed}, {done.spec.folder}"
        print(f"[{number}/{count}] {name}: {said}", file=sys.stderr, flush=True)
    if failed:
        numbers = ", ".join(str(table.number) for table in tables)
        whose = f"table {numbers}'s runs" if len(tables) == 1 else f"the runs of tables {numbers}"
        reasons = "; ".join(f"{folder}: {reason}" for folder, reason in failed.items())
        raise ValueError(f"{len(failed)} of {whose} failed: {reasons}")


def _other_data(specs: Iterable[Measurement], runs: Path, data: Path) -> dict[str, str]:
    """Of the data that are no longer those of a finished measurement: the first such folder, and what is wrong."""
    present, found = Present(data), dict[str, tuple[str, str]]()
    for spec in specs:
        record = Record(runs, spec)
        if spec.data_name in found or record.status != "done":
            continue
        try:
            check_data(record, present)
        except ValueError as error:
            found[spec.data_name] = (spec.folder, " ".join(str(error).split()))
    return dict(found.values())


def _side_by_side(
    groups: Sequence[list[Measurement]], work: Callable[..., Iterator[Done]], workers: int
) -> Iterator[Done]:
    """Each group's outcomes as they come; a group is done by one process."""
    if workers == 1 or len(groups) < 2:
        for group in groups:
            yield from work(group, quiet=False)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:
        longest_first = sorted(groups, key=lambda group: -_length(group[0].run))
        waiting = {pool.submit(_listed, work, group): group for group in longest_first}
        for finished in as_completed(waiting):
            try:
                yield from finished.result()
            except FAILURES as error:  # the process died
                yield from (_failure(spec, spec, error) for spec in waiting[finished])


def _length(run: Run) -> float:
    """How long a run takes, roughly: what tells the demo's runs apart."""
    entry = METHODS[run.base_method]
    return run.epochs * (entry.plus_cost if run.plus else entry.cost)


def _listed(work: Callable[..., Iterator[Done]], group: list[Measurement]) -> list[Done]:
    return list(work(group, quiet=True))


def _measure(group: list[Measurement], *, runs: Path, data: Path, device: str, quiet: bool) -> Iterator[Done]:
    """Pretrain the run of all of `group`, then measure one after another; where the run fails, all of them did."""
    start, run = time.perf_counter(), group[0].run
    try:
        reproduce(run, runs, data, device, quiet=quiet)
    except FAILURES as error:
        yield from (_failure(spec, run, error) for spec in group)
        return
    for spec in group:
        try:
            reproduce(spec, runs, data, device, quiet=quiet)
            yield Done(spec, time.perf_counter() - start)
        except FAILURES as error:
            yield _failure(spec, spec, error)
        start = time.perf_counter()


def _failure(spec: Measurement, where: Run | Measurement, error: Exception) -> Done:
    return Done(spec, failed=" ".join(str(error).split()) or type(error).__name__, folder=where.folder)


def _begin() -> None:
    """In a new process: end with the one that fills the tables, and compute with one thread."""
    import torch

    end_with_the_parent()
    torch.set_num_threads(1)
