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
from typing import Any, Literal

from ...pretrain.runtime.exit_status import INTERRUPTED

STOPS = (signal.SIGTERM, signal.SIGUSR2)
LOCAL_NUMBER = "COMPMOD_JOB"  # variable of what a local driver started
GRACE_S = 20.0  # until a task that has not stopped is queued again as it is; SLURM kills 30 s after SIGTERM (KillWait)
Fate = Literal["running", "time limit", "requeued", "cancelled", "unknown", "no job"]
_ASKED_S = 60.0  # how long a controller may take to answer


class _Received:
    """What this process heard, and what it does about it."""

    name = ""  # of the first signal
    raised = False
    requeued = False
    deadline: Callable[[], None] | None = None  # of the task, once it has begun
    grace_s = GRACE_S  # after SIGUSR2, which comes early enough to end a long step


def listen() -> None:
    """From now on a signal to stop ends this process at once, with status INTERRUPTED, unless another handler acts."""
    for number in STOPS:
        signal.signal(number, _stop)
    _release()  # whoever started this process may have held them back
    receiving, sending = os.pipe()
    os.set_blocking(sending, False)
    signal.set_wakeup_fd(sending, warn_on_full_buffer=False)
    # Loader workers are ended by SIGTERM, from the moment they are there; that is none of the task's business.
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_forget)
    threading.Thread(target=_watch, args=(receiving,), daemon=True, name="signals").start()


def received() -> str:
    """The name of the first signal that asked to stop; "" while none has."""
    return _Received.name


def at_deadline(act: Callable[[], None], warning_s: float = 0.0) -> None:
    """From now on the task itself says what follows a signal: it calls requeue, or a thread calls `act`.

    That happens when the task does not heed a signal, for it may wait inside a library: GRACE_S after SIGTERM, later
    after SIGUSR2, which is a warning of so many seconds.
    """
    _Received.deadline, _Received.grace_s = act, max(GRACE_S, 0.7 * warning_s)


def settle() -> None:
    """What follows is not to be disturbed by more signals; `scontrol requeue` sends this very process one."""
    _Received.raised = True


def leave_early() -> None:
    """Queue the job again if a signal came before the task had begun."""
    if _Received.name and _Received.deadline is None:
        settle()
        requeue(fate())


def job_id(environment: Mapping[str, str] = os.environ) -> str:
    """This task's number as squeue shows it, such as 123_4, or as a local driver gave it; "" elsewhere."""
    array, task = (environment.get(f"SLURM_ARRAY_{name}") for name in ("JOB_ID", "TASK_ID"))
    if array and task:
        return f"{array}_{task}"
    return environment.get("SLURM_JOB_ID") or environment.get(LOCAL_NUMBER, "")


def fate() -> Fate:
    """What SLURM is doing with this job, after a signal (seen on 22.05): whether it is for us to queue it again."""
    number = job_id()
    if not number or os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
        return "no job"
    status, said = _scontrol("show", "job", "--oneliner", number)
    found = dict(word.split("=", 1) for word in said.split() if "=" in word)
    state = found.get("JobState", "")
    if status or not state:
        return "unknown"
    if state == "RUNNING":
        return "running"
    if found.get("Reason") == "TimeLimit":
        return "time limit"
    again = _count(found.get("Restarts")) > _count(os.environ.get("SLURM_RESTART_COUNT"))
    return "requeued" if again or state in ("PENDING", "REQUEUED") else "cancelled"


def requeue(found: Fate) -> str:
    """Queue this job again, unless SLURM does so itself or a user cancelled it: `scontrol requeue` would revive it.

    SLURM then ends this process. Returns why the job is not queued again, or "".
    """
    if found == "requeued" or _Received.requeued:
        return ""
    if found in ("no job", "cancelled") or (found == "unknown" and _Received.name != signal.SIGUSR2.name):
        return {"no job": "it is no SLURM job", "cancelled": "it was cancelled"}.get(found, "scontrol does not answer")
    status, said = _scontrol("requeue", job_id())
    if status and "pending" not in said.lower():  # pending: SLURM itself was faster
        return said or f"scontrol requeue ended with status {status}"
    _Received.requeued = True
    return ""


def _count(text: str | None) -> int:
    """A number of restarts; none where it is not told: a signal is no time for errors."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else 0


def _scontrol(*arguments: str) -> tuple[int, str]:
    """Exit status and what it says, in one line."""
    try:
        done = subprocess.run(
            ["scontrol", *arguments], capture_output=True, text=True, timeout=_ASKED_S, errors="replace", check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, " ".join((done.stderr or done.stdout).split())


def _stop(number: int, frame: Any) -> None:
    _Received.name = _Received.name or signal.Signals(number).name
    if not _Received.raised:  # a second signal must not disturb what the first one set off
        _Received.raised = True
        raise SystemExit(INTERRUPTED)


def _watch(receiving: int) -> None:
    while number := os.read(receiving, 1):
        if number[0] in STOPS:
            _Received.name = _Received.name or signal.Signals(number[0]).name
            time.sleep(_Received.grace_s if number[0] == signal.SIGUSR2 else GRACE_S)
            (_Received.deadline or leave_early)()


def _hold() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def _forget() -> None:
    signal.set_wakeup_fd(-1)
    for number in STOPS:
        if signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_DFL)
    _release()
