"""Interruption: what signals mean to a training, and how it ends so that the same command resumes it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..records.record import Record
from ..runtime.copies import HostCopy
from ..runtime.distributed import any_says, first_says, rank, world
from ..runtime.exit_status import BY_HAND, INTERRUPTED

MOVES_NO_NUMBER = "says when a training stops; that resuming is exact is tested"

PATIENCE_S = 8.0  # from Ctrl-C to the next step boundary; then the process ends at once
STEPS_LATER = 2  # on a GPU, where a step is read only when it has long been computed
STOPS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP)


class Interrupted(SystemExit):
    """A signal asked to stop; everything is saved."""

    def __init__(self, signal_name: str, path: Path) -> None:
        super().__init__(BY_HAND if signal_name == "SIGINT" else INTERRUPTED)
        self.reason = f"stopped by {signal_name}; {path} is saved, run the same command again to go on"


class Stop:
    """The name of the signal that asked to stop, once one has."""

    signal_name = ""


class SharedStop:
    """Whether to stop, agreed on by all processes at the same step, without a message of its own.

    A flag travels with the gradients of every step. On a GPU it is read STEPS_LATER steps later, so that the host
    does not wait for the step that it has just launched.
    """

    def __init__(self, stop: Stop, device: torch.device) -> None:
        self.stop, self.device = stop, device
        self._flag = torch.zeros(())
        self._later = STEPS_LATER if device.type == "cuda" else 0
        self._copies: deque[HostCopy] = deque()  # of the flags that are not read yet

    def passengers(self) -> list[Tensor]:
        """The flag of this process, to overwrite by its mean over processes in the step that begins."""
        if world() == 1:
            return []
        self._flag = torch.full((), float(bool(self.stop.signal_name)), device=self.device)
        return [self._flag]

    def asked(self, *, last: bool) -> bool:
        """Whether a signal came to any process; every process calls it after every step.

        After the `last` one the processes ask one another, for no other flag will travel.
        """
        if world() == 1 or last:
            return any_says(bool(self.stop.signal_name), "cpu")
        self._copies.append(HostCopy(self._flag))
        return len(self._copies) > self._later and bool(self._copies.popleft().values())


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """STOPS ask to stop at the next step boundary, instead of ending the process at once; those ignored stay so.

    After Ctrl-C a person waits: the second one, or a step of more than PATIENCE_S, raises KeyboardInterrupt.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers
        return

    def ask(number: int, frame: Any) -> None:
        if number == signal.SIGALRM or (number == signal.SIGINT and stop.signal_name == "SIGINT"):
            raise KeyboardInterrupt
        stop.signal_name = stop.signal_name or signal.Signals(number).name
        if number == signal.SIGINT:
            signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)

    heeded = [number for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in (*heeded, signal.SIGALRM)}
    # Who started this process may have blocked them, as the loader does for the server that its workers come from.
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, before)
    try:
        yield stop
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def working(record: Record) -> Iterator[Stop | None]:
    """Hold the record's folder for this job, note how its work fails, and hear the signals; every process calls it.

    Yields None where another job finished the work meanwhile. Raises ValueError when one works on it now.
    """
    with record.lock() if rank() == 0 else contextlib.nullcontext(), stop_signals() as stop:
        if first_says(record.results is not None):  # by the job that held the lock a moment ago
            yield None
            return
        if rank() == 0:
            record.start()
        first_says(None)  # the folder is there
        try:
            yield stop
        except Exception as error:
            if rank() == 0:
                record.fail(f"{type(error).__name__}: {error}")
            raise
