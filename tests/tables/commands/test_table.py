"""The per-table script: its options, its one-line errors, and how soon it answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import compmod.tables.reproduce
import pytest
from compmod.pretrain.commands.parsing import deferred
from compmod.tables.build import TABLES
from compmod.tables.commands.options import named_copies
from compmod.tables.commands.table import numbers, script, table_command


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
        (["--seeds", "0"], ["seeds must be from 1 to 1000"]),
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
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("1 of table 1's runs failed")

    monkeypatch.setattr(compmod.tables.reproduce, "run_tables", fail)
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


def test_all_prints_the_seven_tables_one_after_another(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table_command("all", "short", runs=tmp_path)
    headings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("### ")]
    assert [heading.partition(",")[0] for heading in headings] == [f"### Table {number}" for number in TABLES]


def test_all_as_csv_is_one_list_with_one_line_of_names(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table_command("all", "short", format="csv", runs=tmp_path)
    names, *lines = capsys.readouterr().out.splitlines()
    assert names.startswith("table,row,")
    assert sorted({line.partition(",")[0] for line in lines}) == [str(number) for number in TABLES]


def test_all_as_html_is_one_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table_command("all", "short", format="html", runs=tmp_path)
    text = capsys.readouterr().out
    assert (text.count("<html"), text.count("<section")) == (1, len(TABLES))


def test_sources_are_listed_when_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table_command(6, sources=True, runs=tmp_path)
    assert capsys.readouterr().out.endswith("No number of ours yet.\n")


@pytest.mark.parametrize("format", ["md", "html", "latex", "csv"])
def test_every_format_is_printed(format: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table_command(6, "paper", format=format, runs=tmp_path)
    assert "93.91" in capsys.readouterr().out


def test_all_is_filled_together_by_as_many_processes_as_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked: list[tuple[list[int], int, object]] = []

    def note(tables: Any, *_: Any, workers: int, logger: object) -> None:
        asked.append(([table.number for table in tables], workers, logger))

    monkeypatch.setattr(compmod.tables.reproduce, "run_tables", note)
    table_command("all", "demo", run=True, runs=tmp_path, workers=3, logger=("none",))
    assert asked == [(list(TABLES), 3, ("none",))]


@pytest.mark.parametrize("scale, workers", [("demo", 5), ("short", 1)])
def test_unless_asked_the_demo_trains_a_run_a_core_and_other_scales_one(
    scale: Any, workers: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(compmod.tables.reproduce, "run_tables", lambda *_, workers, logger: asked.append(workers))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(5)), raising=False)
    table_command(1, scale, run=True, runs=tmp_path)
    assert asked == [workers]


def test_a_copy_is_asked_for_by_data_set_and_can_be_repeated(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    script(1, ["--copies", "cifar10=small", "--copies", "stl10=other", "--runs", str(tmp_path)])
    text = capsys.readouterr().out
    assert "**CIFAR-10 (copy: small)**" in text
    assert "**STL-10 (copy: other)**" in text


@pytest.mark.parametrize("word", ["cifar10", "=x", "cifar10=", ""])
def test_a_copy_without_data_set_or_name_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"^copies must be DATA=COPY, such as cifar10=cifar10-jpeg, not '"):
        named_copies([word])


def test_two_copies_of_one_data_set_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^copies name 'stl10' twice, 'a' and 'b'$"):
        named_copies(["stl10=a", "stl10=b"])


@pytest.mark.parametrize("word", [0, 99, "every", "1"])
def test_a_table_that_is_no_number_of_the_papers_lists_the_valid_ones(word: int | str) -> None:
    known = ", ".join(map(str, TABLES))
    with pytest.raises(ValueError, match=f"^unknown table {word!r}; known: {known}, all$"):
        numbers(word)


def test_fewer_than_no_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="workers must be from 0 to 1024, not -1"):
        deferred(table_command)(1, runs=tmp_path, workers=-1)()
