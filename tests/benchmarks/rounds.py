"""Rounds: contestants of one subject, timed in turns, each in a process of its own.

A package that is imported can change how another one runs (threads, global settings), so no two share a process. The
contestants take turns, one call each a round, so that a machine whose speed drifts disturbs all alike. The first call
of each is a warm-up and is not counted. A contestant that cannot run is reported with the reason, never left out.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import resource
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from multiprocessing.connection import Connection
from typing import Any

import torch
import torchvision  # noqa: F401  # imported once here, and not again in every process
from threadpoolctl import threadpool_limits

Sizes = Mapping[str, Any]
Figures = dict[str, Any]
Work = Callable[[], Mapping[str, float] | None]  # one timed call; may return figures of its own, such as an error
MIB = 2**20


@dataclass(frozen=True)
class Contestant:
    """One way to do the work of a subject."""

    name: str
    package: str  # distribution that does the work; the table names its version
    build: Callable[[str, Sizes], Work]  # case and sizes -> what is timed; imports its package itself


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured, and how its table is made."""

    title: str
    text: str  # what is timed; may use the names of `sizes`
    cases: Sequence[str]
    contestants: Sequence[Contestant]  # the first is ours, which the others are compared with
    sizes: Sizes
    tiny: Sizes  # in place of `sizes`, to see that all of it runs
    columns: Mapping[str, Callable[[Figures, Figures], str]]  # title -> text of (figures, those of ours)
    rounds: int = 3
    threads: int = 2


def measure(subject: Subject, cases: Sequence[str], sizes: Sizes, rounds: int, threads: int) -> Iterator[Figures]:
    """For every case, the figures of every contestant, or `not_run` with the reason."""
    with contextlib.ExitStack() as stack:
        workers = {c.name: stack.enter_context(_worker(c, sizes, threads)) for c in subject.contestants}
        for case in cases:
            figures = {name: _ask(worker, case) for name, worker in workers.items()}  # builds, and warms up
            for _ in range(rounds):
                for name, worker in workers.items():
                    if "not_run" not in figures[name]:
                        for key, value in _ask(worker, "call").items():
                            if key == "not_run":
                                figures[name] = {key: value}
                            else:
                                figures[name].setdefault(key, []).append(value)
            yield figures


@contextlib.contextmanager
def _worker(contestant: Contestant, sizes: Sizes, threads: int) -> Iterator[Connection]:
    # forked, for this process has computed nothing yet: no threads are lost, and torch is imported once
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_answer, args=(there, contestant, sizes, threads), daemon=True)
    with warnings.catch_warnings(action="ignore"):
        process.start()
    there.close()
    try:
        yield here
    finally:
        process.kill()
        process.join()


def _ask(worker: Connection, word: str) -> Figures:
    try:
        worker.send(word)
        answer: Figures = worker.recv()
    except (EOFError, BrokenPipeError):
        return {"not_run": "its process ended"}
    return answer


def _answer(pipe: Connection, contestant: Contestant, sizes: Sizes, threads: int) -> None:
    """What a process does: build and warm up when it is sent a case, and make a timed call when it is sent "call"."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # packages print
        os.dup2(nowhere, stream)
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    work: Work | None = None
    with threadpool_limits(threads):
        while True:
            word = pipe.recv()
            try:
                if word == "call":
                    assert work is not None
                    answer = call(work)
                else:
                    work = None
                    gc.collect()
                    answer = warm_up(contestant, word, sizes)
                    work = answer.pop("work")
            except Exception as error:  # whatever a package raises is the answer
                answer = {"not_run": f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"}
            pipe.send(answer)


def warm_up(contestant: Contestant, case: str, sizes: Sizes) -> Figures:
    """Build a contestant and call it once. The memory is what the peak grows by beyond what was built."""
    work = contestant.build(case, sizes)
    _give_back()
    before = _reset_peak()
    call(work)
    memory_mib = (_peak() - before) / MIB
    return {
        "package": contestant.package,
        "version": version(contestant.package),
        "memory_mib": memory_mib,
        "work": work,
    }


def call(work: Work) -> Figures:
    """One call: seconds, core-seconds and the figures that it returns."""
    start, start_cpu = time.perf_counter(), time.process_time()
    own = work()
    seconds, core_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    return {"seconds": seconds, "core_seconds": core_seconds, **(own or {})}


def _give_back() -> None:
    """Return freed memory to the system: a call that fills what building left would seem to need none."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # of glibc alone
        ctypes.CDLL(None).malloc_trim(0)


def _reset_peak() -> int:
    """Forget the peak of this process's resident set, where Linux can; returns the set's size or the old peak."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return _peak()


def _peak() -> int:
    """Largest resident set of this process in bytes."""
    with contextlib.suppress(OSError, IndexError, ValueError), open("/proc/self/status") as file:
        return int(file.read().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def version(package: str) -> str:
    """Of an installed distribution; "" where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
