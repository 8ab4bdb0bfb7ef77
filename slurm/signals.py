"""Signals: how a task hears that it is to stop, from its first moment to its last, and queues its own job again.

SLURM sends SIGUSR2 some time before a limit (man sbatch, --signal) and SIGTERM at a limit or a preemption. While the
trainer trains, its own handlers save first; at any other moment ours end the task, for nothing is lost then.
Imports nothing slow.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

STOPPED = 75  # exit status: what there was is saved, the same task goes on with it; pretrain/session.py, with torch
STOPS = (signal.SIGTERM, signal.SIGUSR2)
GRACE_S = 20.0  # until a task that has not stopped is queued again as it is; SLURM kills 30 s after SIGTERM (KillWait)
_ASKED_S = 60.0  # how long a controller may take to answer


class _Heard:
    """What this process heard, and what it does about it."""

    name = ""  # of the first signal
    raised = False
    requeued = False
    deadline: Callable[[], None] | None = None  # of the task, once it has begun
    grace_s = GRACE_S  # after SIGUSR2, which comes early enough to end a long step


def listen() -> None:
    """From now on a signal to stop ends this process with status STOPPED, at once unless somebody handles it better."""
    for number in STOPS:
        signal.signal(number, _stop)
    receiving, sending = os.pipe()
    os.set_blocking(sending, False)
    signal.set_wakeup_fd(sending, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_forget)  # loader workers are ended by SIGTERM, which is none of our business
    threading.Thread(target=_watch, args=(receiving,), daemon=True, name="signals").start()


def heard() -> str:
    """The name of the first signal that asked to stop; "" while none has."""
    return _Heard.name


def at_deadline(act: Callable[[], None], warning_s: float = 0.0) -> None:
    """From now on the task itself says what follows a signal: it calls requeue, or a thread calls `act`.

    That happens when the task does not heed a signal, for it may wait inside a library: GRACE_S after SIGTERM, and after
    most of the warning that SIGUSR2 is.
    """
    _Heard.deadline, _Heard.grace_s = act, max(GRACE_S, 0.7 * warning_s)


def leave_early() -> None:
    """Queue the job again if a signal came before the task had begun."""
    if _Heard.name and _Heard.deadline is None:
        requeue()


def job_id(environment: Mapping[str, str] = os.environ) -> str:
    """This task's number as squeue shows it, such as 123_4; "" outside a SLURM job."""
    array, task = (environment.get(f"SLURM_ARRAY_{name}") for name in ("JOB_ID", "TASK_ID"))
    return f"{array}_{task}" if array and task else environment.get("SLURM_JOB_ID", "")


def requeue() -> str:
    """Queue this job again, once; SLURM then ends it. Returns why it could not be, or ""."""
    number = job_id()
    if _Heard.requeued:
        return ""
    if not number or os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
        return "it is no SLURM job"
    try:
        done = subprocess.run(
            ["scontrol", "requeue", number], capture_output=True, text=True, timeout=_ASKED_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = " ".join(done.stderr.split())
    if done.returncode and "pending" not in said.lower():  # pending: SLURM itself was faster
        return said or f"scontrol requeue ended with status {done.returncode}"
    _Heard.requeued = True
    return ""


def _stop(number: int, frame: Any) -> None:
    _Heard.name = _Heard.name or signal.Signals(number).name
    if not _Heard.raised:  # a second signal must not disturb what the first one set off
        _Heard.raised = True
        raise SystemExit(STOPPED)


def _watch(receiving: int) -> None:
    while number := os.read(receiving, 1):
        if number[0] in STOPS:
            _Heard.name = _Heard.name or signal.Signals(number[0]).name
            time.sleep(_Heard.grace_s if number[0] == signal.SIGUSR2 else GRACE_S)
            (_Heard.deadline or leave_early)()


def _forget() -> None:
    signal.set_wakeup_fd(-1)
    for number in STOPS:
        if signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_DFL)
