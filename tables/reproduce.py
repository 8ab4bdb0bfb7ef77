"""Reproduce: the only place that turns a spec into results; a cluster job makes this same call.

torch is imported only when something has to be trained or measured.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..pretrain.data.identity import Present, check_finished
from ..pretrain.loggers.names import DEFAULT, LoggerName
from ..pretrain.records.record import InUse, Record
from ..pretrain.runtime.exit_status import BY_HAND
from ..pretrain.specs.measurement import Measurement, Work
from ..pretrain.specs.methods import METHODS
from ..pretrain.specs.performers import PERFORMS
from ..pretrain.specs.run import Kind, Run
from ..transfer.identity import check_finished_detection
from ..transfer.spec import Detection
from .display import displayed, named
from .paper.cell_names import cell_names
from .paper.table import Table
from .workers import handled, side_by_side, stop

POLL_S = 1.0  # between looks at what another process does
FAILURES = (ValueError, RuntimeError, ArithmeticError, OSError)  # of a run; any other error is a bug of ours


def reproduce(
    spec: Work,
    runs: Path,
    data: Path,
    device: str = "auto",
    *,
    quiet: bool = False,
    recompute: bool = False,
    logger: tuple[LoggerName, ...] = DEFAULT,
) -> Record:
    """Do what `spec` lacks and return its record: a pretraining, or a measurement and the pretraining that it needs.

    A finished record is compared with the data below `data`, where they exist. Raises what training or measuring
    raises, and ValueError where the data are not those of the record.
    """
    record = Record(runs, spec)
    if record.status == "done":
        check_data(record, Present(data))
        return record
    from ..pretrain.runtime.distributed import processes
    from ..pretrain.training.session import Session, resolve_device

    session = Session(device=resolve_device(device), quiet=quiet, recompute=recompute, logger=logger)
    lacking = [part for part in dict.fromkeys([spec.run, spec]) if Record(runs, part).status != "done"]
    with processes(session.device):  # one group for all: if they met anew, one could take another's old address
        for part in lacking:
            record = performer(part.kind)(runs=runs, spec=part, data=data, session=session)
    return record


def performer(kind: Kind) -> Callable[..., Record]:
    """The function that does work of a kind; imports its module, and torch with it."""
    module, _, function = PERFORMS[kind].partition(":")
    performs: Callable[..., Record] = getattr(importlib.import_module(f"..{module}", __package__), function)
    return performs


def check_data(record: Record, present: Present) -> None:
    """Raise ValueError where the present data are not those of a finished record; absent data pass."""
    if isinstance(record.spec, Detection):
        check_finished_detection(record, present.root / record.spec.images_folder, present)
    else:
        check_finished(record, present)


@dataclass(frozen=True)
class Done:
    """How one measurement went."""

    spec: Measurement
    seconds: float = 0.0  # with the pretraining, for the first measurement of a run
    failed: str = ""  # the reason in one line
    folder: str = ""  # of what failed, the run or the measurement
    in_use: Work | None = None  # what another process works on, so that this one left it

    @property
    def outcome(self) -> str:
        """How it went, in words."""
        if self.in_use:
            return "done by another process"
        return f"failed: {self.failed}" if self.failed else f"done in {self.seconds:.0f} s"


def run_table(table: Table, runs: Path, data: Path, device: str = "auto", *, workers: int = 1) -> None:
    """`run_tables` of one table."""
    run_tables([table], runs, data, device, workers=workers)


def run_tables(
    tables: Sequence[Table],
    runs: Path,
    data: Path,
    device: str = "auto",
    *,
    workers: int = 1,
    logger: tuple[LoggerName, ...] = DEFAULT,
) -> None:
    """Do the work that `tables` lack, with one line of progress a measurement on standard error.

    The data of finished work are compared with those below `data`, where these exist, and no work runs on data that
    have changed.

    A run is pretrained once, whichever tables ask for it, and the same process then measures it, one protocol after
    another. `workers` processes of one thread do this side by side, the longest runs first: small networks gain more
    from that than from threads. Work that another command does is left to it and awaited at the end; where that command
    dies, this one goes on with it. A failure stops no other work. Raises ValueError at the end, which names what
    failed, and Stopped after a signal.
    """
    unique = {spec.digest: spec for table in tables for spec in table.specs}
    failed = _other_data(unique.values(), runs, data)
    wrong = {spec.data_name for spec in unique.values() if spec.folder in failed}
    missing = [
        spec
        for spec in unique.values()
        if Record(runs, spec).status != "done" and not wrong & {spec.data_name, spec.run.data_name}
    ]
    work = functools.partial(_measure, runs=runs, data=data, device=device, logger=logger)
    with handled(stop), _status_of_a_stop():
        names = cell_names(tables)
        for number, done in enumerate(_all(missing, work, runs, workers, names), start=1):
            if done.failed:
                failed[done.folder] = done.failed
            run = done.spec.run
            name = f"{named(run, names)}, seed {run.seed}, {done.spec.folder}"
            print(f"[{number}/{len(missing)}] {name}: {done.outcome}", file=sys.stderr, flush=True)
    if failed:
        numbers = ", ".join(str(table.number) for table in tables)
        whose = f"table {numbers}'s runs" if len(tables) == 1 else f"the runs of tables {numbers}"
        reasons = "; ".join(f"{folder}: {reason}" for folder, reason in failed.items())
        raise ValueError(f"{len(failed)} of {whose} failed: {reasons}")


def _other_data(specs: Iterable[Measurement], runs: Path, data: Path) -> dict[str, str]:
    """For data that are not those of a finished measurement any more: its folder, the first one, and what is wrong."""
    present, changed = Present(data), dict[str, tuple[str, str]]()
    for spec in specs:
        record = Record(runs, spec)
        if spec.data_name in changed or record.status != "done":
            continue
        try:
            check_data(record, present)
        except ValueError as error:
            changed[spec.data_name] = (spec.folder, " ".join(str(error).split()))
    return dict(changed.values())


@contextlib.contextmanager
def _status_of_a_stop() -> Iterator[None]:
    """After a signal, training in this process exits with a status for schedulers; replace it by BY_HAND."""
    try:
        yield
    except SystemExit as leave:
        leave.code = BY_HAND
        raise


def _all(
    missing: Iterable[Measurement],
    work: functools.partial[Iterator[Done]],
    runs: Path,
    workers: int,
    names: Mapping[str, str],
) -> Iterator[Done]:
    """The outcome of every measurement, once no other process works on it; `in_use` is set where another one did it."""
    left: list[Done] = []
    while missing or left:
        for done in _side_by_side(_by_run(missing), work, workers, names):
            if done.in_use:
                left.append(done)
            else:
                yield done
        _wait(left, runs)
        free = [done for done in left if not _in_use(done, runs)]
        left = [done for done in left if done not in free]
        theirs = [done for done in free if Record(runs, done.spec).status == "done"]
        yield from theirs
        missing = [done.spec for done in free if done not in theirs]


def _by_run(specs: Iterable[Measurement]) -> list[list[Measurement]]:
    groups: dict[str, list[Measurement]] = {}
    for spec in specs:
        groups.setdefault(spec.run.digest, []).append(spec)
    return list(groups.values())


def _wait(left: Sequence[Done], runs: Path) -> None:
    """Until another process has ended its work on one of these."""
    if left and all(_in_use(done, runs) for done in left):
        folders = ", ".join(dict.fromkeys(done.in_use.folder for done in left if done.in_use))
        print(f"waiting for what another process works on: {folders}", file=sys.stderr, flush=True)
        while all(_in_use(done, runs) for done in left):
            time.sleep(POLL_S)


def _in_use(done: Done, runs: Path) -> bool:
    return done.in_use is not None and Record(runs, done.in_use).status == "running"


def _side_by_side(
    groups: Sequence[list[Measurement]],
    work: functools.partial[Iterator[Done]],
    workers: int,
    names: Mapping[str, str],
) -> Iterator[Done]:
    """The outcomes of all groups as they come; one process does a group."""
    if workers == 1 or len(groups) < 2:
        for group in groups:
            yield from work(group, quiet=False)
        return
    longest_first = sorted(groups, key=lambda group: -_length(group[0].run))
    ended: set[str] = set()
    with displayed(longest_first, ended, work.keywords["runs"], names):
        for group, outcome in side_by_side(longest_first, functools.partial(_listed, work), workers):
            ended.update(spec.digest for spec in group)
            if isinstance(outcome, str):
                yield from (_failure(spec, spec, outcome) for spec in group)
            else:
                yield from outcome


def _length(run: Run) -> float:
    """How long a run takes, roughly, relative to the other runs of the demo."""
    entry = METHODS[run.base_method]
    return run.epochs * (entry.plus_cost if run.plus else entry.cost)


def _listed(work: functools.partial[Iterator[Done]], group: list[Measurement]) -> list[Done]:
    return list(work(group, quiet=True))


def _measure(
    group: list[Measurement], *, runs: Path, data: Path, device: str, quiet: bool, logger: tuple[LoggerName, ...]
) -> Iterator[Done]:
    """Pretrain the run that all of `group` share, then measure one after another; where the run fails, all fail."""
    start, run = time.perf_counter(), group[0].run
    try:
        if Record(runs, run).status == "running":  # its lock tells the same, but only after the data are read
            raise InUse(run.folder)
        reproduce(run, runs, data, device, quiet=quiet, logger=logger)
    except InUse:
        yield from (Done(spec, in_use=run) for spec in group)
        return
    except FAILURES as error:
        yield from (_failure(spec, run, str(error) or type(error).__name__) for spec in group)
        return
    for spec in group:
        try:
            reproduce(spec, runs, data, device, quiet=quiet, logger=logger)
            yield Done(spec, time.perf_counter() - start)
        except InUse:
            yield Done(spec, in_use=spec)
        except FAILURES as error:
            yield _failure(spec, spec, str(error) or type(error).__name__)
        start = time.perf_counter()


def _failure(spec: Measurement, where: Work, reason: str) -> Done:
    return Done(spec, failed=" ".join(reason.split()), folder=where.folder)
