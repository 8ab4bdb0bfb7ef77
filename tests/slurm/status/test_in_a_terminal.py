"""No terminal obeys what other people wrote; JSON for programs is JSON; what is offered to paste is quoted."""

from __future__ import annotations

import io
import json
import math
import shlex
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from compmod.cli import main
from compmod.pretrain.data.locate import _unpacking
from compmod.pretrain.networks.encoder import finished_backbone
from compmod.pretrain.records.pace import Pace
from compmod.pretrain.specs.run import Run
from compmod.slurm.status.status import Status, TaskStatus
from compmod.slurm.status.terminal import shown
from compmod.slurm.submission import journal
from compmod.slurm.submission.journal import JournalEntry
from one_cell_tables import tiny_run
from printing_slurm import PrintingSlurm
from rich.console import Console

ESCAPES = "\x1b]0;owned\x07\x1b[2Jx\x9b2J\x7f\u202ey"
ENTRY = JournalEntry(
    digest=tiny_run().digest,
    folder=tiny_run().folder,
    job_id="7",
    cluster=f"c{ESCAPES}",
    where=f"w{ESCAPES}",
    user=f"u{ESCAPES}",
    submitted=0.0,
    logs="/logs",
)


def _tame(text: str) -> bool:
    return all(letter.isprintable() or letter in "\n\t" for letter in text)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One submission whose log and journal somebody filled with escape sequences."""
    PrintingSlurm(tmp_path / "bin", monkeypatch).has()
    runs = tmp_path / "runs"
    entry = replace(ENTRY, logs=str(runs))
    journal.append(runs, [entry])
    entry.log.write_text(f"one\ttab\r\n50 %\r100 %\nValueError: {ESCAPES}\n", newline="")
    return runs


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("state", ["queued", "failed", "running", "lost"])
def test_status_shows_escape_sequences_instead_of_obeying_them(state: Any, width: int) -> None:
    task = TaskStatus(
        spec=tiny_run(),
        tables=(1,),
        state=state,
        reason=f"r{ESCAPES}",
        entry=ENTRY,
        elapsed=f"1{ESCAPES}",
        nodes=f"n{ESCAPES}",
    )
    file = io.StringIO()
    screen = Console(file=file, width=width, highlight=False, markup=False, color_system=None)
    screen.print(shown(Status(numbers=(1,), tasks=(task,), remarks=(f"remark {ESCAPES}",)), width))
    assert _tame(file.getvalue())
    assert "remark \\x1b]0;owned" in file.getvalue()


def test_logs_show_escape_sequences_instead_of_obeying_them(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["logs", ENTRY.digest, "--runs", str(runs)])
    said = capsys.readouterr().out
    assert said == "one\ttab\n50 %\n100 %\nValueError: \\x1b]0;owned\\x07\\x1b[2Jx\\x9b2J\\x7f\\u202ey\n"


@pytest.mark.parametrize("command", [["status", "7"], ["cancel", ENTRY.digest], ["status", "7", "--json"]])
def test_no_command_passes_on_what_a_terminal_would_obey(
    runs: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main([*command, "--runs", str(runs)])
    said = capsys.readouterr()
    assert _tame(said.out)
    assert _tame(said.err)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_status_for_programs_is_json_whatever_was_measured(number: float) -> None:
    pace = Pace(epoch=number, epochs=3, images_per_second=number, seconds_left=number)
    task = TaskStatus(spec=tiny_run(), tables=(1,), state="running", reason=ESCAPES, entry=ENTRY, pace=pace)
    text = Status(numbers=(1,), tasks=(task,)).to_json()
    (found,) = json.loads(text, parse_constant=_refuse)["tasks"]
    assert (found["epoch"], found["images_per_second"], found["seconds_left"]) == (None, None, None)
    assert (found["reason"], found["user"]) == (ESCAPES, ENTRY.user)
    assert _tame(text)


ODD = "a folder; touch $(echo pwned)'s"


def test_the_command_that_finishes_a_run_can_be_pasted(tmp_path: Path) -> None:
    run: Run = tiny_run()
    with pytest.raises(ValueError, match="finish it first") as caught:
        finished_backbone(tmp_path / ODD, run)
    command = str(caught.value).partition("finish it first: ")[2].partition(", and the other")[0]
    assert shlex.split(command)[-2:] == ["--runs", str(tmp_path / ODD)]


def test_the_command_that_unpacks_an_archive_can_be_pasted(tmp_path: Path) -> None:
    root = tmp_path / ODD
    root.mkdir()
    archive = root / "imagenet.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("train/n00000001/a.JPEG", b"")
    assert shlex.split(_unpacking(archive, root, "")) == ["unzip", str(archive), "-d", str(root)]
