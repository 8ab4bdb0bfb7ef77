"""The report of one table: its text, and the pictures beside it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compmod.pretrain.recipes.scales import scaled
from compmod.tables.build import build_table
from compmod.tables.paper.table import Table
from compmod.tables.report.contents import VIEWED, sample_views
from compmod.tables.report.report import write_report
from made_up_metrics import write_metrics


@pytest.fixture
def table() -> Table:
    return build_table(1, "demo")


def test_a_report_of_nothing_is_written_and_says_not_run(table: Table, tmp_path: Path) -> None:
    text = write_report(table, tmp_path / "runs", tmp_path / "deep" / "report.md").read_text()
    assert "not run" in text
    assert "0 finished measurements of 0 runs, together 0 s of wall time" in text


def test_every_picture_named_in_the_report_lies_beside_it(table: Table, tmp_path: Path) -> None:
    run = next(spec.run for spec in table.specs if spec.run.method == "simclr" and spec.run.epochs)
    write_metrics(tmp_path / "runs" / run.folder)
    text = write_report(table, tmp_path / "runs", tmp_path / "report.md").read_text()
    named = set(re.findall(r"!\[[^]]+\]\(([^)]+)\)", text))
    assert named == {path.name for path in tmp_path.iterdir() if path.suffix in (".svg", ".png")}
    assert named == {"curves-simclr-digits.svg", "views.svg"}


def test_the_report_holds_the_table_and_a_line_for_every_built_row(table: Table, tmp_path: Path, finish: Any) -> None:
    finish(table.specs[0], linear=0.321)
    text = write_report(table, tmp_path / "runs", tmp_path / "report.md").read_text()
    assert "**32.10** (n=1)" in text
    for row in table.rows:
        if row.cells[0].specs:
            assert f"- **{row.label}**: " in text


def test_the_report_gives_wall_times_machine_and_commit(table: Table, tmp_path: Path, finish: Any) -> None:
    finish(table.specs[0])
    text = write_report(table, tmp_path / "runs", tmp_path / "report.md").read_text()
    line = next(line for line in text.splitlines() if table.specs[0].run.folder in line)
    words = [word.strip() for word in line.strip("|").split("|")]
    assert words[1:8] == ["raw pixels", "Digits", "probes", "1", "0", "12 s", "3 s"]
    assert words[8:] == ["a processor, threads: 2", "0123456789ab (with changes)", "as now"]
    assert "1 finished measurement of 1 run, together 15 s of wall time" in text


def test_a_damaged_record_leaves_a_gap_in_the_report(table: Table, tmp_path: Path, finish: Any) -> None:
    record = finish(table.specs[0])
    (record.path / "provenance.json").write_text("{")
    (record.path / "results.json").write_text("{")
    text = write_report(table, tmp_path / "runs", tmp_path / "report.md").read_text()
    assert f"- damaged record {record.path / 'results.json'}" in text


def test_the_sample_views_are_those_of_the_runs_first_epoch(table: Table) -> None:
    run = scaled("simclr", "digits", "demo")
    sources, views = sample_views(run)
    assert sources.shape == (VIEWED, 3, 16, 16)
    assert [view.shape for view in views] == [sources.shape, sources.shape]
    assert all(view.min() > -1e-5 and view.max() < 1 + 1e-5 for view in views)
    _, again = sample_views(run)
    _, other = sample_views(replace(run, seed=1))
    np.testing.assert_array_equal(views[0], again[0])
    assert not np.array_equal(views[0], views[1])
    assert not np.array_equal(views[0], other[0])
