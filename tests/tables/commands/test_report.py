"""`compmod report`: the files it writes, whole and alike, also when two write at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from compmod.cli import main
from compmod.tables.build import build_table
from made_up_runs import make_up

CURVES = ("curves-byol-cifar-10-table-7.svg",)  # of the one run with metrics


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    make_up([build_table(7, "paper")], tmp_path / "runs", logged=1)
    return tmp_path / "runs"


def test_a_page_markdown_and_pictures_are_written_and_named(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["report", "-o", str(tmp_path / "out"), "--runs", str(runs)])
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"index.html", "report.md", "table-7.svg", "table-1-cifar-10-linear.svg", *CURVES}
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / name) for name in ("index.html", "report.md")]


def test_a_report_leaves_the_runs_as_they_were(runs: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    main(["report", "-o", str(tmp_path / "out"), "--runs", str(runs)])
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before


def test_two_reports_at_once_write_what_one_writes(runs: Path, tmp_path: Path) -> None:
    main(["report", "-o", str(tmp_path / "alone"), "--runs", str(runs)])
    command = [sys.executable, "-m", "compmod", "report", "-o", str(tmp_path / "both"), "--runs", str(runs)]
    for each in [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]:
        assert each.wait(timeout=120) == 0
    alone, both = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("alone", "both"))
    assert both == alone


def test_a_report_imports_no_torch(runs: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from compmod.cli import main\n"
        f"main(['report', '-o', {str(tmp_path / 'out')!r}, '--runs', {str(runs)!r}])\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120).returncode == 0


def test_an_output_that_is_a_file_is_one_line_and_status_2(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(SystemExit) as leave:
        main(["report", "-o", str(tmp_path / "out"), "--runs", str(runs)])
    said = capsys.readouterr().err
    assert (leave.value.code, said.count("\n"), said.startswith("error: ")) == (2, 1, True)


def test_a_report_of_copies_names_them_and_takes_no_number_from_the_official_data(runs: Path, tmp_path: Path) -> None:
    main(["report", "-o", str(tmp_path / "out"), "--runs", str(runs), "--copies", "cifar10=cifar10-jpeg"])
    text = (tmp_path / "out" / "report.md").read_text()
    assert "CIFAR-10 (copy: cifar10-jpeg)" in text
    assert "\n0 of 258 cells have a number of ours" in text


def test_a_report_without_an_output_asks_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        main(["report"])
    said = capsys.readouterr().err
    assert leave.value.code == 2
    assert "--output" in said
