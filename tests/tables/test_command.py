"""The per-table script: its options, its one-line errors, and how soon it answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import compmod.tables.reproduce
import pytest
from compmod.tables.command import script, table_command


def test_the_script_prints_what_table_command_prints(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    script(1, ["--scale", "demo", "--format", "csv", "--runs", str(tmp_path)])
    by_script = capsys.readouterr().out
    table_command(1, "demo", format="csv", runs=tmp_path)
    assert by_script == capsys.readouterr().out
    assert by_script.startswith("table,row,group,column,metric,scale,data,paper,ours_mean")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--scale", "tiny"], ["--scale", "paper", "short", "demo"]),
        (["--format", "pdf"], ["--format", "md", "csv"]),
        (["--seeds", "many"], ["--seeds", "many"]),
        (["--seeds", "0"], ["seeds must be at least 1"]),
        (["--sede", "3"], ["--sede", "--seeds"]),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_status_2(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leave:
        script(1, arguments)
    said = capsys.readouterr()
    assert leave.value.code == 2
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert all(word in said.err for word in words), said.err


def test_help_names_every_option_and_leaves_with_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        script(1, ["--help"])
    assert leave.value.code == 0
    text = capsys.readouterr().out
    assert all(option in text for option in ("--scale", "--run", "--format", "--seeds", "--runs", "--data", "--device"))


def test_the_table_is_printed_even_when_a_run_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("1 of table 1's runs failed")

    monkeypatch.setattr(compmod.tables.reproduce, "run_table", fail)
    with pytest.raises(ValueError, match="1 of table 1's runs failed"):
        table_command(1, "demo", run=True, runs=tmp_path)
    assert "| SimCLR " in capsys.readouterr().out


def test_python_m_prints_the_table_without_importing_torch_or_matplotlib(tmp_path: Path) -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv = ['table1', '--scale', 'short']\n"
        "runpy.run_module('compmod.tables.table1', run_name='__main__')\n"
        "heavy = {'torch', 'torchvision', 'matplotlib', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "### Table 1, scale short" in done.stdout
