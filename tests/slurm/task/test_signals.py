"""Hearing signals: in processes of their own, for handlers belong to a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from compmod.pretrain.runtime.exit_status import INTERRUPTED
from compmod.slurm.task import signals
from compmod.slurm.task.signals import job_id
from printing_slurm import PrintingSlurm


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_signals_that_a_loader_worker_gets_are_not_those_of_the_task() -> None:
    done = _python(
        "import os, signal, time\n"
        "from compmod.slurm.task import signals\n"
        "signals.listen()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    time.sleep(60)\n"
        "os.kill(child, signal.SIGTERM)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "time.sleep(0.3)\n"
        "print(repr(signals.received()))\n"
    )
    assert done.stdout.split() == ["-15", "''"], done.stderr


def test_a_task_that_waits_inside_a_library_is_queued_again_all_the_same() -> None:
    done = _python(
        "import ctypes, os, signal, threading\n"
        "from compmod.slurm.task import signals\n"
        "signals.GRACE_S = 0.1\n"
        "signals.listen()\n"
        "signals.at_deadline(lambda: (print('deadline', signals.received(), flush=True), os._exit(3)))\n"
        "threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()\n"
        "library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)\n"
        "library.pthread_mutex_lock(mutex)\n"
        "library.pthread_mutex_lock(mutex)\n"  # no signal ends this
    )
    assert (done.returncode, done.stdout) == (3, "deadline SIGTERM\n"), done.stderr


def test_a_second_signal_does_not_disturb_what_the_first_set_off() -> None:
    done = _python(
        "import os, signal\n"
        "from compmod.slurm.task import signals\n"
        "signals.listen()\n"
        "signals.at_deadline(print)\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGUSR2)\n"
        "except SystemExit as leave:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print(leave.code, signals.received())\n"
    )
    assert done.stdout == "75 SIGUSR2\n", done.stderr


def test_signals_that_whoever_started_the_task_held_back_are_heard() -> None:
    done = _python(
        "import os, signal, time\n"
        "from compmod.slurm.task import signals\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, signals.STOPS)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "signals.listen()\n"
        "time.sleep(10)\n"
    )
    assert done.returncode == INTERRUPTED, done.stderr


def test_a_library_that_catches_everything_keeps_no_task_from_ending_before_it_has_begun() -> None:
    done = _python(
        "import os, signal\n"
        "from compmod.slurm.task import signals\n"
        "signals.listen()\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "except BaseException as error:\n"
        "    raise ImportError('as NumPy does') from error\n"
    )
    assert (done.returncode, done.stderr) == (INTERRUPTED, "")


def test_a_signal_whose_exception_python_drops_ends_the_task_all_the_same() -> None:
    done = _python(
        "import os, signal, time\n"
        "from compmod.slurm.task import signals\n"
        "signals.listen()\n"
        "signals.at_deadline(print)\n"
        "class Dropping:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "Dropping()\n"
        "time.sleep(10)\n"
    )
    assert (done.returncode, done.stderr) == (INTERRUPTED, "")


def test_other_exceptions_that_python_drops_are_still_shown() -> None:
    done = _python(
        "from compmod.slurm.task import signals\n"
        "signals.listen()\n"
        "class Dropping:\n"
        "    def __del__(self):\n"
        "        raise ValueError('a mistake')\n"
        "Dropping()\n"
    )
    assert "ValueError: a mistake" in done.stderr


def test_hearing_imports_nothing_slow() -> None:
    done = _python(
        "import sys; import compmod.slurm.task.start\n"
        "sys.exit(', '.join({'torch', 'numpy', 'submitit', 'tyro'} & set(sys.modules)) or 0)\n"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "environment, number",
    [
        ({"SLURM_JOB_ID": "8", "SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "3"}, "5_3"),
        ({"SLURM_JOB_ID": "8"}, "8"),
        ({"COMPMOD_JOB": "local-x_1"}, "local-x_1"),
        ({}, ""),
    ],
)
def test_a_task_knows_its_number_as_queues_show_it(environment: dict[str, str], number: str) -> None:
    assert job_id(environment) == number


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PrintingSlurm:
    """Job 8, started for the second time."""
    for name, value in {"SLURM_JOB_ID": "8", "SUBMITIT_EXECUTOR": "slurm", "SLURM_RESTART_COUNT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(signals._Received, "requeued", False)
    monkeypatch.setattr(signals._Received, "name", "SIGTERM")
    return PrintingSlurm(tmp_path / "bin", monkeypatch)


@pytest.mark.parametrize(
    "shown, fate",
    [
        ("JobState=RUNNING Reason=None Restarts=1", "running"),
        ("JobState=COMPLETING Reason=TimeLimit Restarts=1", "time limit"),
        ("JobState=COMPLETING Reason=None Restarts=2", "requeued"),
        ("JobState=PENDING Reason=BeginTime Restarts=1", "requeued"),
        ("JobState=COMPLETING Reason=None Restarts=1", "cancelled"),
        ("slurm_load_jobs error: Unable to contact slurm controller", "unknown"),
    ],
)
def test_what_becomes_of_a_job_is_read_from_scontrol(slurm: PrintingSlurm, shown: str, fate: str) -> None:
    slurm.says("scontrol", shown + "\n")
    assert signals.fate() == fate


@pytest.fixture
def contained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slurm: PrintingSlurm) -> Path:
    """In a container, which has no scontrol; the file that the job's script looks for."""
    monkeypatch.setenv(signals.ASK, str(tmp_path / "ask"))
    monkeypatch.setattr(signals._Received, "asked", False)
    return tmp_path / "ask"


def test_without_scontrol_the_script_of_the_job_is_asked_once(contained: Path) -> None:
    assert signals.fate() == "outside"
    assert [signals.requeue("outside"), signals.requeue("outside")] == ["", ""]
    assert contained.exists()


def test_a_scontrol_that_cannot_be_started_is_none(contained: Path, slurm: PrintingSlurm) -> None:
    (slurm.folder / "scontrol").symlink_to("/dev/null")
    assert signals.fate() == "outside"


def test_a_scontrol_that_fails_is_one_all_the_same(contained: Path, slurm: PrintingSlurm) -> None:
    slurm.says("scontrol", complains="Unable to contact slurm controller\n", status=1)
    assert signals.fate() == "unknown"


def test_a_script_of_an_older_version_cannot_be_asked(contained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(signals.ASK)
    assert signals.fate() == "unknown"


def test_why_the_script_could_not_be_asked_is_told(contained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(signals.ASK, str(contained.parent / "absent/ask"))
    assert signals.requeue("outside").startswith("scontrol is not here, and the script of the job cannot be asked: ")


@pytest.mark.parametrize(
    "fate, name, calls",
    [
        ("running", "SIGTERM", 1),
        ("time limit", "SIGTERM", 1),
        ("requeued", "SIGTERM", 0),
        ("cancelled", "SIGTERM", 0),
        ("unknown", "SIGTERM", 0),
        ("unknown", "SIGUSR2", 1),
        ("no job", "SIGTERM", 0),
    ],
)
def test_a_job_is_queued_again_only_where_nobody_else_decided(
    slurm: PrintingSlurm, monkeypatch: pytest.MonkeyPatch, fate: signals.Fate, name: str, calls: int
) -> None:
    monkeypatch.setattr(signals._Received, "name", name)
    slurm.says("scontrol")
    signals.requeue(fate)
    assert slurm.arguments("scontrol") == ["requeue 8"] * calls


def test_a_job_is_queued_again_once(slurm: PrintingSlurm) -> None:
    slurm.says("scontrol")
    assert [signals.requeue("running"), signals.requeue("running")] == ["", ""]
    assert slurm.arguments("scontrol") == ["requeue 8"]


def test_why_a_job_could_not_be_queued_again_is_told(slurm: PrintingSlurm) -> None:
    slurm.says("scontrol", complains="Requested operation is presently disabled for job 8\n", status=1)
    assert signals.requeue("running") == "Requested operation is presently disabled for job 8"


def test_that_slurm_was_faster_is_no_fault(slurm: PrintingSlurm) -> None:
    slurm.says("scontrol", complains="Job is pending execution for job 8\n", status=1)
    assert signals.requeue("running") == ""
