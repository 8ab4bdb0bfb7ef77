"""Runs that train side by side, as a terminal shows them."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.measurement import Evaluation
from compmod.tables.commands import demo
from compmod.tables.commands.demo import demo_table, introduction
from compmod.tables.display import displayed, under_way
from compmod.tables.plan.default_rates import method_key, trunk_key
from compmod.tables.plan.measured_rates import Rates, alike
from one_cell_tables import tiny_run
from rich.console import Console
from terminal import terminal

RUN, OTHER = tiny_run(0), tiny_run(1)
GROUPS = [[Evaluation(run=RUN)], [Evaluation(run=OTHER)]]


def _lines(runs: Path, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    Console(width=100).print(under_way(GROUPS, runs, {RUN.digest: "M(z)"}))
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_a_run_shows_its_epoch_rate_time_left_and_loss(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    states = {RUN.digest: "running", OTHER.digest: "absent"}
    monkeypatch.setattr(Record, "status", property(lambda record: states.get(record.spec.digest, "absent")))
    assert _lines(tmp_path, capsys)[1:] == [
        ["SimCLR", "M(z)", "on", "Digits,", "96", "images", "0", RUN.digest, "starts"]
    ]
    folder = tmp_path / RUN.folder
    folder.mkdir()
    line = {"kind": "train", "step": 9, "epoch": RUN.epochs / 2, "images_per_second": 1234.5, "loss": 4.5678}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    (shown,) = _lines(tmp_path, capsys)[1:]
    assert shown[8:10] == [f"{RUN.epochs / 2:.1f}/{RUN.epochs}", "1,234"]
    assert shown[-1] == "4.568"
    states |= {RUN.digest: "done", GROUPS[0][0].digest: "running", OTHER.digest: "running"}
    assert [words[-3:] for words in _lines(tmp_path, capsys)[1:]] == [
        ["probes", "0", RUN.digest],
        ["1", OTHER.digest, "starts"],
    ]


def test_nothing_is_displayed_where_there_is_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with displayed(GROUPS, set(), tmp_path, {}):
        print("[1/2] a line", file=sys.stderr)
    assert capsys.readouterr() == ("", "[1/2] a line\n")


def test_a_terminal_keeps_the_lines_above_the_display_and_loses_the_display(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from compmod.tables.display import displayed\n"
        "with displayed([], set(), Path('runs'), {}):\n"
        "    print('[1/2] a line', file=sys.stderr, flush=True)\n"
        "    time.sleep(0.1)\n"
    )
    with terminal(script) as shell:
        assert shell.ends() == 0
    assert "[1/2] a line\r\n" in shell.said
    assert "starting" in shell.said
    assert shell.said.rindex("\x1b[2K") > shell.said.rindex("starting")  # it is wiped


def test_the_demo_says_in_a_few_lines_what_it_is_about_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "usable_cores", lambda: 2)
    said = introduction(demo_table(), tmp_path)
    assert len(said.splitlines()) <= 7
    assert max(map(len, said.replace(os.fspath(tmp_path), "runs").splitlines())) <= 85
    assert "8 runs on the embedded digits; nothing is downloaded" in said
    assert "SimCLR, BYOL, BarlowTwins" in said
    assert "to do: 8 runs and 8 measurements\ntime: about 3.4 min to 8.5 min, by the processor, on 2 cores" in said


def test_the_demo_says_one_time_where_this_machine_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [spec.run for spec in demo_table().specs]
    per_second = {(trunk_key(run), method_key(run)): 1000.0 for run in runs}
    hours = {alike(spec): 0.001 for spec in demo_table().specs}
    monkeypatch.setattr(demo, "measured_rates", lambda _: Rates(images_per_second=per_second, hours=hours))
    monkeypatch.setattr(demo, "usable_cores", lambda: 1)
    (line,) = [line for line in introduction(demo_table(), tmp_path).splitlines() if line.startswith("time: ")]
    assert re.fullmatch(r"time: about [0-9.]+ min on 1 core, an estimate", line)
