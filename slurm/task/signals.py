"""Signals: how a task stops after a signal, from its first moment to its last, and queues its own job again.

SLURM sends SIGUSR2 some time before a limit (man sbatch, --signal) and SIGTERM at a limit or a preemption. While the
trainer trains, its own handlers save first. At any other moment ours end the task, because nothing is lost then.
Before the task has begun they raise no exception: NumPy's import turns one into an ImportError, and Python drops one
that is raised in a callback of its import system.
A container has no scontrol: there the task asks the script of its job, outside, which then looks and decides.
This imports nothing slow.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, NoReturn

from ...pretrain.runtime.exit_status import INTERRUPTED

STOPS = (signal.SIGTERM, signal.SIGUSR2)
LOCAL_NUMBER = "COMPMOD_JOB"  # variable of what a local driver started
ASK = "COMPMOD_ASK"  # variable: a file that the script of a job looks for, at the end, to queue the job again
GRACE_S = 20.0  # until a task that has not stopped is queued again as it is; SLURM kills 30 s after SIGTERM (KillWait)
AGAIN_S = 0.2  # until a signal whose exception was dropped is sent again
Fate = Literal["running", "time limit", "requeued", "cancelled", "unknown", "outside", "no job"]
_ASKED_S = 60.0  # how long a controller may take to answer
_ABSENT = 127  # the exit status of a shell for a command that is not there


class _Received:
    """The signals that this process received, and what it does next."""

    name = ""  # of the first signal
    raised = False
    dropped = False  # Python has dropped the exception that a signal raised
    requeued = False
    asked = False  # outside
    deadline: Callable[[], None] | None = None  # what the task does then, once it has begun
    grace_s = GRACE_S  # after SIGUSR2, which comes early enough to end a long step


def listen() -> None:
    """From now on a signal to stop ends this process at once, with status INTERRUPTED, unless another handler acts."""
    for number in STOPS:
        signal.signal(number, _stop)
    _release()  # the process that started this one may have blocked them
    receiving, sending = os.pipe()
    os.set_blocking(sending, False)
    signal.set_wakeup_fd(sending, warn_on_full_buffer=False)
    # SIGTERM ends loader workers, from their first moment; the task must not take it for its own.
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_forget)
    sys.unraisablehook = _drop
    threading.Thread(target=_watch, args=(receiving,), daemon=True, name="signals").start()


def received() -> str:
    """The name of the first signal that asked to stop; "" while none has."""
    return _Received.name


def at_deadline(act: Callable[[], None], warning_s: float = 0.0) -> None:
    """From now on the task itself reacts to a signal: it calls requeue.

    Where it does not, because it waits inside a library, a thread calls `act`: GRACE_S after SIGTERM, and later after
    SIGUSR2, which comes `warning_s` seconds before the limit.
    """
    _Received.deadline, _Received.grace_s = act, max(GRACE_S, 0.7 * warning_s)


def settle() -> None:
    """From now on more signals do nothing; `scontrol requeue` sends one to this process."""
    _Received.raised = True


def job_id(environment: Mapping[str, str] = os.environ) -> str:
    """This task's number as squeue shows it, such as 123_4, or as a local driver gave it; "" elsewhere."""
    array, task = (environment.get(f"SLURM_ARRAY_{name}") for name in ("JOB_ID", "TASK_ID"))
    if array and task:
        return f"{array}_{task}"
    return environment.get("SLURM_JOB_ID") or environment.get(LOCAL_NUMBER, "")


def fate() -> Fate:
    """What SLURM does with this job after a signal, as SLURM 22.05 shows it: so we know whether to queue it again.

    outside: only the script of the job can tell.
    """
    number = job_id()
    if not number or os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
        return "no job"
    status, output = _scontrol("show", "job", "--oneliner", number)
    if status == _ABSENT and os.environ.get(ASK):
        return "outside"
    fields = dict(word.split("=", 1) for word in output.split() if "=" in word)
    state = fields.get("JobState", "")
    if status or not state:
        return "unknown"
    if state == "RUNNING":
        return "running"
    if fields.get("Reason") == "TimeLimit":
        return "time limit"
    again = _count(fields.get("Restarts")) > _count(os.environ.get("SLURM_RESTART_COUNT"))
    return "requeued" if again or state in ("PENDING", "REQUEUED") else "cancelled"


def requeue(fate: Fate) -> str:
    """Queue this job again, unless SLURM does so itself or a user cancelled it: `scontrol requeue` would revive it.

    SLURM then ends this process; outside, this process is to end first. Returns why the job is not queued again, or "".
    """
    if fate == "requeued" or _Received.requeued:
        return ""
    if fate == "outside":
        return _ask()
    if fate in ("no job", "cancelled") or (fate == "unknown" and _Received.name != signal.SIGUSR2.name):
        return {"no job": "it is no SLURM job", "cancelled": "it was cancelled"}.get(fate, "scontrol does not answer")
    status, output = _scontrol("requeue", job_id())
    if status and "pending" not in output.lower():  # pending: SLURM itself was faster
        return output or f"scontrol requeue ended with status {status}"
    _Received.requeued = True
    return ""


def _count(text: str | None) -> int:
    """A number of restarts; 0 where the text is none, because an error must not follow a signal."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else 0


def _ask() -> str:
    """Ask the script of this job to queue it again, once this task has ended. Returns why that fails, or ""."""
    try:
        with open(os.environ[ASK], "w"):
            pass
    except OSError as error:
        return f"scontrol is not here, and the script of the job cannot be asked: {error}"
    _Received.requeued = _Received.asked = True
    return ""


def _scontrol(*arguments: str) -> tuple[int, str]:
    """Exit status and output of scontrol, in one line."""
    try:
        done = subprocess.run(
            ["scontrol", *arguments], capture_output=True, text=True, timeout=_ASKED_S, errors="replace", check=False
        )
    except OSError as error:
        return _ABSENT, str(error)
    except subprocess.TimeoutExpired as error:
        return 1, str(error)
    return done.returncode, " ".join((done.stderr or done.stdout).split())


def _stop(number: int, frame: Any) -> None:
    _Received.name = _Received.name or signal.Signals(number).name
    if not _Received.raised:  # a second signal must not disturb what the first one started
        _Received.raised = True
        if _Received.deadline is None:
            _leave_early()
        raise SystemExit(INTERRUPTED)


def _leave_early() -> NoReturn:
    """End this process, whose task has not begun, and queue the job again."""
    settle()
    requeue(fate())
    os._exit(INTERRUPTED)


def _drop(lost: sys.UnraisableHookArgs) -> None:
    """Python calls it where it drops an exception, as in a destructor: that of a signal is to be raised again."""
    if isinstance(lost.exc_value, SystemExit) and lost.exc_value.code == INTERRUPTED:
        _Received.dropped = True
    else:
        sys.__unraisablehook__(lost)


def _watch(receiving: int) -> None:
    while number := os.read(receiving, 1):
        if number[0] in STOPS:
            _Received.name = _Received.name or signal.Signals(number[0]).name
            _wait(number[0], _Received.grace_s if number[0] == signal.SIGUSR2 else GRACE_S)
            (_Received.deadline or _leave_early)()
            if _Received.asked:
                os._exit(INTERRUPTED)


def _wait(number: int, grace_s: float) -> None:
    """Wait for the task to stop; where Python has dropped the exception, send the signal once more."""
    until = time.monotonic() + grace_s
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, AGAIN_S))
        if _Received.dropped:
            _Received.dropped = _Received.raised = False
            os.kill(os.getpid(), number)


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
