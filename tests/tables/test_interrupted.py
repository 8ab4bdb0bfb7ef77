"""Filling tables is interrupted as a person or a system does it, and two commands fill the same table at once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from compmod.pretrain.records.record import Record
from one_cell_tables import tiny_table
from terminal import CTRL_C, Terminal, terminal

ENDED_S = 15.0  # until all is over; workers that do not save are killed after ten
HOW_TO_GO_ON = "run the same command again"
EPOCHS = 30
SCRIPT = """
import os
import sys
from compmod import cli
from compmod.tables.commands import demo
from compmod.tables.report import report
from one_cell_tables import tiny_table

made = tiny_table(range(int(sys.argv[1])), epochs=int(sys.argv[2]))
demo.demo_table = lambda: made
report.write_report = lambda table, runs, path: path
os.sched_getaffinity = lambda process: range(int(sys.argv[3]))
if __name__ == "__main__":
    cli.main(["demo", "--runs", "runs"])
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def _begun(script: Path) -> list[Path]:
    """Folders of the runs whose training writes its log."""
    return list((script.parent / "runs").glob("simclr-*/metrics.jsonl"))


def _folders(script: Path) -> list[Path]:
    return list((script.parent / "runs").glob("simclr-*"))


def _ended(shell: Terminal, script: Path) -> None:
    """It says once how to go on, leaves no process and starts nothing more."""
    assert shell.ends(ENDED_S) == 130, shell.said
    folders = _folders(script)
    shell.until_gone(5.0)
    assert shell.said.count(HOW_TO_GO_ON) == 1, shell.said
    assert "Traceback" not in shell.said
    time.sleep(0.5)
    assert _folders(script) == folders


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_every_process_and_the_same_command_goes_on(script: Path, workers: int) -> None:
    with terminal(script, "4", str(EPOCHS), str(workers)) as shell:
        shell.until(lambda: len(_begun(script)) == workers)
        shell.press()
        _ended(shell, script)
        assert len(_folders(script)) == workers
    assert len(list((script.parent / "runs").glob("simclr-*/checkpoints/step-*.pt"))) == workers
    with terminal(script, "4", str(EPOCHS), str(workers)) as shell:
        assert shell.ends(180.0) == 0, shell.said
    assert {Record(script.parent / "runs", spec).status for spec in tiny_table(range(4), epochs=EPOCHS).specs} == {
        "done"
    }


@pytest.mark.parametrize("seconds", [0.3, 1.5])
def test_ctrl_c_ends_workers_that_are_still_starting(script: Path, seconds: float) -> None:
    with terminal(script, "4", "5000", "2") as shell:
        shell.until(lambda: "runs on the embedded digits" in shell.said)
        time.sleep(seconds)
        shell.press()
        _ended(shell, script)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_to_the_command_alone_ends_its_workers_too(script: Path, number: int, workers: int) -> None:
    with terminal(script, "4", "5000", str(workers)) as shell:
        shell.until(lambda: len(_begun(script)) == workers)
        os.kill(shell.process, number)
        _ended(shell, script)


def test_a_second_ctrl_c_does_not_wait_for_the_workers(script: Path) -> None:
    script.write_text(script.read_text().replace("import sys", "import sys, signal, time, threading", 1) + STUCK)
    with terminal(script, "4", "5000", "2") as shell:
        shell.until(lambda: len(list(script.parent.glob("stuck-*"))) == 2)
        shell.press()
        shell.until(lambda: "stopping" in shell.said, 5.0)
        shell.press(CTRL_C)
        assert shell.ends(3.0) == 130
        shell.until_gone(3.0)


STUCK = """
else:
    import os
    from compmod.tables import reproduce

    def stuck(*given, **named):
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        open(f"stuck-{os.getpid()}", "w").close()
        while True:
            time.sleep(60)

    reproduce.reproduce = stuck
"""


def test_two_commands_at_once_share_the_work_and_both_end_well(script: Path) -> None:
    with terminal(script, "3", "1", "2") as one, terminal(script, "3", "1", "1") as two:
        assert (one.ends(180.0), two.ends(180.0)) == (0, 0), one.said + two.said
    specs = tiny_table(range(3), epochs=1).specs
    assert {Record(script.parent / "runs", spec).status for spec in specs} == {"done"}
    for shell in (one, two):
        assert "failed" not in shell.said
        assert "(n=3)" in shell.said


def test_what_a_killed_command_was_doing_is_taken_over(script: Path) -> None:
    with terminal(script, "1", str(EPOCHS), "1") as one:
        one.until(lambda: len(_begun(script)) == 1)
        with terminal(script, "1", str(EPOCHS), "1") as two:
            two.until(lambda: "another process works on" in two.said)
            os.kill(one.process, signal.SIGKILL)
            assert two.ends(180.0) == 0, two.said
            assert two.said.count("another process works on") == 1
