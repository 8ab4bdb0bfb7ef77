"""Session: how one process trains, as far as another process on the same spec may do it otherwise.

Device, layout in memory, how often to save and to look; what signals mean; which float32 arithmetic is used.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from .distributed import first_says, rank
from .place import cores_here, usable_cores
from .record import Record
from .run import Amount, Count, Whole
from .spec import Range, check_fields

INTERRUPTED = 75  # exit status after SIGTERM or SIGUSR2: saved, run the same command to go on (EX_TEMPFAIL)
BY_HAND = 130  # the same after Ctrl-C, as a shell says of it
PATIENCE_S = 8.0  # from Ctrl-C to the next step boundary; then the process ends at once
STOPS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True)
class Session:
    """How this process trains: what may differ between two processes that work on the same spec."""

    device: str = "auto"
    checkpoint_minutes: Amount = 10.0
    checkpoint_epochs: Whole = 0  # additionally every so many epochs; 0 = by time alone
    log_every: Count = 10  # steps a line of metrics.jsonl averages over
    memory_format: Literal["channels-last", "contiguous"] = "channels-last"
    online_every: Whole = 20  # epochs between online probes, W-MSE code; a quarter of it in the last 5 % of training
    linear_epochs: Count = 50  # of an online linear probe; a tenth of the real one
    workers: Annotated[
        int, Range(-1, cap=4096)
    ] = -1  # processes that decode large images; -1 = a core's each, shared with the run's other processes
    quiet: bool = False

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def loader_workers(self) -> int:
        """How many processes decode images for this one."""
        return self.workers if self.workers >= 0 else cores_here(os.environ, usable_cores())


class Interrupted(SystemExit):
    """A signal asked to stop; everything is saved."""

    def __init__(self, signal_name: str, path: Path) -> None:
        super().__init__(BY_HAND if signal_name == "SIGINT" else INTERRUPTED)
        self.reason = f"stopped by {signal_name}; {path} is saved, run the same command again to go on"


def resolve_device(device: str) -> str:
    """ "auto" is CUDA where there is one. Raises ValueError for a device this machine lacks."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {device!r}; known: auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' was asked for and this machine has no usable CUDA device; valid: auto, cpu")
    return device


class Stop:
    """The name of the signal that asked to stop, once one has."""

    signal_name = ""


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

    heard = [number for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in (*heard, signal.SIGALRM)}
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


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Float32 on the CPU by default and gradients on, whatever the caller has set: a number depends on its spec alone.

    Without it another default type would draw other initial weights.
    """
    before = torch.get_default_dtype()
    elsewhere = torch.get_default_device().type != "cpu"
    torch.set_default_dtype(torch.float32)
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.device("cpu") if elsewhere else contextlib.nullcontext(),  # such a context slows every operation
        ):
            yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def numerics(precision: str) -> Iterator[None]:
    """TF32 where the spec says so, and only convolution algorithms that give the same bits every time."""
    cudnn = torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    torch.set_float32_matmul_precision("highest" if precision in ("float32", "float64") else "high")
    cudnn.allow_tf32 = precision not in ("float32", "float64")
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = before[1:]
