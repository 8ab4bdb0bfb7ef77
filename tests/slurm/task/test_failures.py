"""Why tasks end: by state, exit, exception and log, as SLURM 22.05, torch 2.11 and Pillow 11 word them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import ModuleType

import pytest
import torch
from compmod.pretrain import data as pretraining_data
from compmod.pretrain.data.decode import open_image
from compmod.pretrain.data.load import load
from compmod.pretrain.files.bad_data import BadData
from compmod.pretrain.runtime.exit_status import INTERRUPTED
from compmod.pretrain.training.divergence import NonFiniteLoss
from compmod.pretrain.training.interruption import Interrupted
from compmod.slurm.task.failures import (
    FOLDER,
    RETRIES,
    Failure,
    FailureKind,
    classify,
    histories,
    kind_in,
    note,
    retried,
)
from compmod.slurm.task.log import last_line
from compmod.transfer import data as detection_data
from compmod.transfer.data.coco import read_folder
from PIL import Image

CUDA = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.1 GiB"
TRACEBACK = (
    'Traceback (most recent call last):\n  File "/x/compmod/pretrain/{file}.py", line 9, in read\n    read()\n{last}'
)


def _raised(action: object) -> BaseException:
    try:
        action()  # type: ignore[operator]
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    "state, kind",
    [
        ("OUT_OF_MEMORY", "out of memory"),
        ("NODE_FAIL", "node failure"),
        ("TIMEOUT", "time limit"),
        ("PREEMPTED", "preempted"),
        ("CANCELLED by 1000", "cancelled"),
        ("CANCELLED+", "cancelled"),
    ],
)
def test_slurms_state_names_the_kind(state: str, kind: FailureKind) -> None:
    assert classify(state=state, exit_code=1, log="Traceback (most recent call last):") == kind


def test_a_state_of_failed_leaves_the_kind_to_the_log() -> None:
    assert classify(state="FAILED", exit_code=1, log=CUDA) == "out of memory"


@pytest.mark.parametrize(
    "number, kind",
    [
        (signal.SIGKILL, "out of memory"),
        (signal.SIGBUS, "out of memory"),
        (signal.SIGTERM, "preempted"),
        (signal.SIGUSR2, "preempted"),
        (signal.SIGSEGV, "bug"),
        (signal.SIGABRT, "bug"),
    ],
)
def test_a_signal_tells_alike_by_number_and_as_a_shells_exit_status(number: int, kind: FailureKind) -> None:
    assert (classify(signal=number), classify(exit_code=128 + number)) == (kind, kind)


def test_the_exit_status_of_a_saved_run_is_no_bug() -> None:
    assert classify(exit_code=INTERRUPTED) == "preempted"
    assert classify(error=Interrupted("SIGTERM", Path("runs/x"))) == "preempted"


def test_an_exit_that_nothing_explains_is_a_bug() -> None:
    assert classify(exit_code=1, log="epoch 3 of 10") == "bug"


def test_a_killed_task_whose_log_holds_an_earlier_traceback_was_killed() -> None:
    assert classify(signal=9, log=TRACEBACK.format(file="trainer", last="TypeError: x")) == "out of memory"


def test_a_kill_that_slurm_explains_is_no_lack_of_memory() -> None:
    log = "slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 2024-05-01T10:00:00 DUE TO TIME LIMIT ***"
    assert classify(signal=9, log=log) == "time limit"


@pytest.mark.parametrize(
    "line, kind",
    [
        (CUDA, "out of memory"),
        ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=3.0. Some of your processes", "out of memory"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=3.0. Some of the step tasks", "out of memory"),
        ("srun: error: n1: task 0: Out Of Memory", "out of memory"),
        ("RuntimeError: [enforce fail at alloc_cpu.cpp:114] . DefaultCPUAllocator: can't allocate memory: you tried"
         " to allocate 8000000000000 bytes. Error code 12 (Cannot allocate memory)", "out of memory"),
        ("RuntimeError: DataLoader worker (pid 3) is killed by signal: Bus error. It is possible that dataloader's"
         " workers are out of shared memory. Please try to raise your shared memory limit.", "out of memory"),
        ("slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2024-05-01T10:00:00 DUE TO NODE FAILURE, SEE SLURMCTLD LOG"
         " FOR DETAILS ***", "node failure"),
        ("slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2024-05-01T10:00:00 DUE TO TIME LIMIT ***", "time limit"),
        ("slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2024-05-01T10:00:00 DUE TO PREEMPTION ***", "preempted"),
        ("slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2024-05-01T10:00:00 DUE TO JOB REQUEUE ***", "preempted"),
        ("srun: Check SLURM_JOB_ID environment variable. Expired or invalid job 5", "cancelled"),
        ("srun: error: Application launch failed: Job credential revoked", "cancelled"),
        ("srun: error: Unable to create step for job 5: Job/step already completing or completed", "cancelled"),
        ("slurmstepd: error: *** STEP 5.0 ON n1 CANCELLED AT 2024-05-01T10:00:00 ***", "cancelled"),
        ("torch.distributed.DistBackendError: NCCL error, remote process exited: ncclRemoteError", "node failure"),
        ("RuntimeError: [../gloo/transport/tcp/pair.cc:525] Connection closed by peer [10.0.0.1]:34", "node failure"),
        ("torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered", "node failure"),
        ("OSError: [Errno 116] Stale file handle: '/data/x'", "node failure"),
        ("ValueError: runs/simclr-digits-1 is in use by another process; wait for it or stop it first", "node failure"),
        ("OSError: [Errno 28] No space left on device", "disk full"),
        ("PIL.UnidentifiedImageError: cannot identify image file 'a.jpg'", "bad data"),
        ("compmod.pretrain.trainer.NonFiniteLoss: the loss became NaN or infinite at or before step 9", "diverged"),
    ],
)  # fmt: skip
def test_a_line_of_a_log_names_the_kind(line: str, kind: FailureKind) -> None:
    assert kind_in(f"epoch 3 of 10\n{line}\nsrun: error: n1: task 0: Exited with exit code 1\n") == kind


def test_that_the_job_was_over_before_srun_began_tells_less_than_any_other_line() -> None:
    line = "slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2024-05-01T10:00:00 DUE TO PREEMPTION ***"
    assert kind_in(f"{line}\nsrun: error: Slurm job 5 has expired\n") == "preempted"


def test_what_follows_the_cancelling_of_a_job_is_not_why_it_ended() -> None:
    line = "slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2024-05-01T10:00:00 ***"
    traceback = TRACEBACK.format(file="trainer", last="ImportError: x")
    assert kind_in(f"{line}\n{traceback}") == "cancelled"
    assert kind_in(f"{traceback}\n{line.replace('JOB 5', 'STEP 5.0')}\n{traceback}") == "bug"


def test_a_log_without_a_telling_line_names_no_kind() -> None:
    assert kind_in("epoch 3 of 10, loss 4.2\nmemory format channels-last\n") is None


def test_a_later_traceback_outweighs_an_earlier_attempts_lack_of_memory() -> None:
    assert kind_in(f"{CUDA}\n{TRACEBACK.format(file='trainer', last='TypeError: x')}") == "bug"


def test_an_error_caused_by_a_lack_of_memory_is_one() -> None:
    cause = "\n\nThe above exception was the direct cause of the following exception:\n\n"
    text = f"{CUDA}{cause}{TRACEBACK.format(file='trainer', last='RuntimeError: x')}"
    assert kind_in(text) == "out of memory"


def test_an_unreadable_file_is_bad_data_in_a_log_of_the_files_of_version_0_1() -> None:
    last = "FileNotFoundError: [Errno 2] No such file or directory: 'a.jpg'"
    assert kind_in(TRACEBACK.format(file="large_images", last=last)) == "bad data"
    assert kind_in(TRACEBACK.format(file="trainer", last=last)) == "bug"


@pytest.mark.parametrize("package", [pretraining_data, detection_data], ids=lambda package: package.__name__)
def test_an_unreadable_file_is_bad_data_wherever_a_file_that_reads_data_is(package: ModuleType) -> None:
    files = list(Path(package.__path__[0]).glob("*.py"))
    assert files
    for file in files:
        text = f'Traceback (most recent call last):\n  File "{file}", line 9, in read\n    read()\n'
        assert kind_in(f"{text}PermissionError: [Errno 13] Permission denied: 'a.jpg'") == "bad data"
        assert kind_in(f"{text}TypeError: x") == "bug"


@pytest.mark.parametrize("error, kind", [(BadData, "bad data"), (NonFiniteLoss, "diverged")])
def test_an_exception_of_ours_is_known_by_the_name_that_its_class_has(
    error: type[Exception], kind: FailureKind
) -> None:
    text = "Traceback (most recent call last):\n  File\n"
    assert kind_in(f"{text}{error.__module__}.{error.__qualname__}: x") == kind
    assert classify(error=error("x")) == kind


def test_a_type_error_where_data_is_read_is_a_bug() -> None:
    assert kind_in(TRACEBACK.format(file="large_images", last="TypeError: x")) == "bug"


def test_a_file_of_that_name_of_another_package_is_none_of_ours() -> None:
    text = TRACEBACK.format(file="loader", last="ValueError: x").replace("compmod/pretrain", "site-packages/jinja")
    assert kind_in(text) == "bug"


def test_missing_data_is_bad_data(tmp_path: Path) -> None:
    assert classify(error=_raised(lambda: load("cifar10", "train", tmp_path))) == "bad data"


def test_a_file_that_is_no_image_is_bad_data(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no image")
    assert classify(error=_raised(lambda: Image.open(tmp_path / "a.jpg"))) == "bad data"


def test_every_fault_of_data_is_bad_data(tmp_path: Path) -> None:
    split = tmp_path / "annotations" / "instances_train2017.json"
    faults = [lambda: read_folder(tmp_path), lambda: open_image(tmp_path)]
    split.parent.mkdir()
    split.write_text("[")
    faults += [lambda: read_folder(tmp_path)]
    assert [classify(error=_raised(fault)) for fault in faults] == ["bad data"] * 3
    assert kind_in(f"Traceback (most recent call last):\n  File\n{BadData.__module__}.BadData: x") == "bad data"


@pytest.mark.parametrize("number, kind", [(5, "node failure"), (116, "node failure"), (12, "out of memory")])
def test_a_disk_or_a_node_that_fails_is_no_bad_data(
    number: int, kind: FailureKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "a.jpg"
    path.touch()
    monkeypatch.setattr("compmod.pretrain.data.decode.os.open", fail)
    assert classify(error=_raised(lambda: open_image(path))) == kind


def test_memory_that_is_not_there_is_out_of_memory() -> None:
    assert classify(error=_raised(lambda: torch.empty(2**58))) == "out of memory"
    assert classify(error=MemoryError()) == "out of memory"


def test_a_loss_that_is_not_finite_diverged() -> None:
    assert classify(error=NonFiniteLoss("the loss")) == "diverged"


def test_any_other_exception_is_a_bug() -> None:
    assert classify(error=_raised(lambda: {}["a"])) == "bug"


@pytest.mark.parametrize("kind", ["out of memory", "bad data", "diverged", "disk full", "cancelled", "bug"])
def test_what_would_happen_again_is_not_tried_again(kind: FailureKind) -> None:
    assert not retried([Failure(kind=kind, error="")])


@pytest.mark.parametrize("kind", ["node failure", "time limit", "preempted"])
def test_what_is_not_the_runs_fault_is_tried_again_as_often_as_the_table_says(kind: FailureKind) -> None:
    tries = [Failure(kind=kind, error="", job_id="1") for _ in range(RETRIES[kind] + 1)]
    assert (retried(tries[:-1]), retried(tries)) == (True, False)


@pytest.mark.parametrize("other", [{"updates": 9}, {"job_id": "2"}, {"kind": "preempted"}])
def test_progress_a_new_job_and_another_kind_each_begin_a_new_count(other: dict[str, object]) -> None:
    stuck = [Failure(kind="time limit", error="", job_id="1") for _ in range(RETRIES["time limit"])]
    moved = Failure(**{"kind": "time limit", "error": "", "job_id": "1"} | other)  # type: ignore[arg-type]
    assert retried([*stuck, moved, stuck[0]])


def test_nothing_that_failed_is_nothing_to_try_again() -> None:
    assert not retried([])


def test_failures_are_read_as_they_were_noted_the_oldest_first(tmp_path: Path) -> None:
    second = Failure(kind="bug", error="ValueError: é", job_id="7_1", node="n1", updates=3, when=2.0)
    first = Failure(kind="preempted", error="", job_id="5", when=1.0)
    note(tmp_path, "abc", second)
    note(tmp_path, "abc", first)
    note(tmp_path, "def", first)
    assert histories(tmp_path, ["abc"]) == {"abc": (first, second)}
    assert set(histories(tmp_path)) == {"abc", "def"}


def test_a_note_cut_short_is_passed_over(tmp_path: Path) -> None:
    failure = Failure(kind="bug", error="x", job_id="7", when=1.0)
    note(tmp_path, "abc", failure)
    with open(tmp_path / FOLDER / "abc-7.jsonl", "a") as file:
        file.write('{"kind": "bug", "err')
    assert histories(tmp_path)["abc"] == (failure,)


def test_a_runs_folder_without_failures_has_none(tmp_path: Path) -> None:
    assert histories(tmp_path / "absent") == {}


@pytest.mark.parametrize(
    "log, line",
    [
        ("a\n  ValueError:   no\n\nsrun: error: n1: task 0: Exited with exit code 1\n", "ValueError: no"),
        ("ValueError: no\nsubmitit ERROR (2024-05-01 10:00:00,1) - Submitted job triggered", "ValueError: no"),
        ("srun: error: n1: task 0: Killed\n", "srun: error: n1: task 0: Killed"),
        ("", ""),
    ],
)
def test_the_last_line_is_the_one_that_tells(log: str, line: str) -> None:
    assert last_line(log) == line
