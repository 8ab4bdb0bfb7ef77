"""Workers: processes that work side by side, and how a signal ends them all.

The signals of a terminal do not reach a worker: the parent tells it to stop, and it saves what it trains.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection, resource_tracker
from typing import Any, Generic, TypeVar

from ..pretrain.runtime.exit_status import BY_HAND
from ..pretrain.runtime.worker_process import end_with_the_parent

GRACE_S = 10.0  # for saving; then a worker is killed, and the next start goes on from an older checkpoint
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, kill, a terminal that is closed
OF_TERMINALS = (signal.SIGINT, signal.SIGHUP)  # sent to every process of a terminal at once

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Stopped(SystemExit):
    """A signal ended the work; what was saved stays."""

    def __init__(self, number: int) -> None:
        super().__init__(BY_HAND)
        name = signal.Signals(number).name
        self.reason = f"stopped by {name}; what was saved stays, run the same command again to go on"


@contextlib.contextmanager
def handled(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Inside this, `handler` handles SIGNALS, except those that were ignored before, as under nohup."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    ours = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in ours}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


def stop(number: int, frame: Any) -> None:
    """Handler of a signal: raise Stopped."""
    raise Stopped(number)


def side_by_side(
    tasks: Sequence[Item], work: Callable[[Item], Outcome], count: int
) -> Iterator[tuple[Item, Outcome | str]]:
    """Every task with its outcome as they come, from `count` processes of one thread, started in the order of `tasks`.

    Where a process ends by itself, a sentence about that replaces the outcome, and a new process does the other tasks.
    After a signal no task starts: the workers are told to stop, and Stopped is raised when all have ended. A second
    signal kills them.
    """
    waiting, working, idle = deque(tasks), dict[_Worker[Item, Outcome], Item](), list[_Worker[Item, Outcome]]()
    with _signal_pipe() as received, handled(received.note):
        try:
            while waiting or working:
                while waiting and len(working) < count and not received.numbers:
                    worker = idle.pop() if idle else _Worker(work)
                    working[worker] = waiting.popleft()
                    worker.send(working[worker])
                readable = connection.wait([received.pipe, *(worker.pipe for worker in working)])
                if received.numbers:
                    with contextlib.suppress(OSError):  # of a terminal that is gone
                        print("stopping; what runs is asked to save", file=sys.stderr, flush=True)
                    raise Stopped(received.numbers[0])
                for worker in [other for other in working if other.pipe in readable]:
                    task = working.pop(worker)
                    try:
                        outcome: Outcome | str = worker.pipe.recv()
                        idle.append(worker)
                    except (EOFError, OSError):
                        outcome = worker.ending()
                    yield task, outcome
        except BaseException:
            _terminate(list(working), received)
            raise
        finally:
            for worker in idle:
                worker.close()


class _Received:
    """The signals that came, and a pipe that is readable after the first one."""

    def __init__(self, pipe: int, end: int) -> None:
        self.pipe, self._end = pipe, end
        self.numbers: list[int] = []

    def note(self, number: int, frame: Any) -> None:
        self.numbers.append(number)
        with contextlib.suppress(BlockingIOError):
            os.write(self._end, b"!")


@contextlib.contextmanager
def _signal_pipe() -> Iterator[_Received]:
    pipe, end = os.pipe()
    os.set_blocking(end, False)
    try:
        yield _Received(pipe, end)
    finally:
        os.close(pipe)
        os.close(end)


class _Worker(Generic[Item, Outcome]):
    """A process that does one task after another."""

    def __init__(self, work: Callable[[Item], Outcome]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work, sys.orig_argv))
        _start(self.process)
        theirs.close()

    def send(self, task: Item) -> None:
        with contextlib.suppress(OSError):  # it has ended, which shows when its pipe is read
            self.pipe.send(task)

    def ending(self) -> str:
        """How it ended by itself."""
        self.process.join()
        code = self.process.exitcode or 0
        return f"its process was ended by {signal.Signals(-code).name}" if code < 0 else f"its process left with {code}"

    def close(self) -> None:
        """Let it end: there is no task left."""
        self.pipe.close()
        self.process.join(GRACE_S)
        self.process.kill()
        self.process.join()


def _start(process: multiprocessing.process.BaseProcess) -> None:
    """Start a process that the signals of a terminal never reach, not even before its first line."""
    resource_tracker.ensure_running()  # first, because its start unblocks them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, OF_TERMINALS)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _terminate(workers: Sequence[_Worker[Any, Any]], received: _Received) -> None:
    """Tell them to save and end; kill what is left after GRACE_S, or at another signal."""
    for worker in workers:
        worker.process.terminate()
    end = time.monotonic() + GRACE_S
    before = min(len(received.numbers), 1)  # the first signal is the reason; a second one may have come already
    while any(worker.process.is_alive() for worker in workers):
        if time.monotonic() > end or len(received.numbers) > before:
            for worker in workers:
                worker.process.kill()
        time.sleep(0.02)


def _serve(pipe: connection.Connection, work: Callable[[Any], Any], words: list[str]) -> None:
    """In a new process: end when the parent ends, and compute with one thread.

    `words` are the parent's command line, which is what its records are to tell.
    """
    sys.orig_argv = words
    for number in OF_TERMINALS:
        signal.signal(number, signal.SIG_IGN)
    end_with_the_parent()
    import torch

    torch.set_num_threads(1)
    with contextlib.suppress(EOFError):  # the parent has no task left
        while True:
            pipe.send(work(pipe.recv()))
