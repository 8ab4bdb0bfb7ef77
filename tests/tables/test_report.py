"""The report: its text, its figures, and what they are drawn from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compmod.tables.figures import draw_losses, draw_views, read_metrics, running_mean
from compmod.tables.report import SHOWN, sample_views, write_report
from compmod.tables.scales import scaled
from compmod.tables.table import Table, build_table

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def table() -> Table:
    return build_table(1, "demo")


def _write_metrics(folder: Path, *, plus: bool = False, steps: int = 60) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "metrics.jsonl", "w") as handle:
        for step in range(steps):
            line: dict[str, Any] = {"kind": "train", "step": step, "epoch": step / 10, "loss": 5 - step / 20}
            if plus:
                line["loss_ssl"] = line["loss"] - 1
            print(json.dumps(line), file=handle)
            if step % 20 == 19:
                print(json.dumps({"kind": "online", "epoch": step / 10, "knn/top1": step / 100}), file=handle)


def test_a_report_of_nothing_is_written_and_says_not_run(table: Table, tmp_path: Path) -> None:
    text = write_report(table, tmp_path / "runs", tmp_path / "deep" / "report.md").read_text()
    assert "not run" in text
    assert "Together 0 s of wall time" in text


def test_every_picture_named_in_the_report_lies_beside_it(table: Table, tmp_path: Path) -> None:
    report = write_report(table, tmp_path / "runs", tmp_path / "report.md")
    text = report.read_text()
    for picture in ("losses.png", "views.png"):
        assert f"]({picture})" in text
        assert (tmp_path / picture).read_bytes().startswith(PNG)


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
    assert words[:5] == ["raw pixels", "0", "0", "12.0", "3.0"]
    assert words[5:7] == ["a processor, threads: 2", "0123456789ab (with changes)"]
    assert "Together 15 s of wall time" in text


def test_a_damaged_record_leaves_a_gap_in_the_report(table: Table, tmp_path: Path, finish: Any) -> None:
    record = finish(table.specs[0])
    (record.path / "provenance.json").write_text("{")
    (record.path / "results.json").write_text("{")
    text = write_report(table, tmp_path / "runs", tmp_path / "report.md").read_text()
    assert f"- damaged record {record.path / 'results.json'}" in text


def test_the_loss_figure_is_drawn_from_metrics_and_differs_without_them(table: Table, tmp_path: Path) -> None:
    runs = [spec.run for spec in table.specs if spec.run.epochs]
    empty = draw_losses(tmp_path, runs, tmp_path / "empty.png").read_bytes()
    for run in runs:
        _write_metrics(tmp_path / run.folder, plus=run.plus)
    full = draw_losses(tmp_path, runs, tmp_path / "full.png").read_bytes()
    assert full.startswith(PNG)
    assert full != empty


def test_a_metrics_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    _write_metrics(tmp_path, steps=5)
    with open(tmp_path / "metrics.jsonl", "a") as handle:
        handle.write('{"kind": "train", "step": 5, "lo')
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl", "train")] == [0, 1, 2, 3, 4]


def test_of_a_step_logged_twice_after_a_resume_the_last_counts(tmp_path: Path) -> None:
    lines = [{"kind": "train", "step": 1, "loss": 2.0}, {"kind": "train", "step": 1, "loss": 3.0}]
    (tmp_path / "metrics.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    assert [line["loss"] for line in read_metrics(tmp_path / "metrics.jsonl", "train")] == [3.0]


def test_a_run_without_metrics_has_no_lines(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl", "train") == []


def test_the_running_mean_equals_a_plain_loop_and_keeps_the_length() -> None:
    values = np.random.default_rng(0).normal(size=23)
    expected = [values[max(0, i - 2) : i + 3].mean() for i in range(23)]
    np.testing.assert_allclose(running_mean(values, 5), expected, rtol=1e-12)


@pytest.mark.parametrize("window", [0, 1])
def test_a_window_of_one_changes_nothing(window: int) -> None:
    values = np.array([3.0, 1.0, 2.0])
    np.testing.assert_allclose(running_mean(values, window), values)


def test_the_sample_views_are_those_of_the_runs_first_epoch(table: Table) -> None:
    run = scaled("simclr", "digits", "demo")
    sources, views = sample_views(run)
    assert sources.shape == (SHOWN, 3, 16, 16)
    assert [view.shape for view in views] == [sources.shape, sources.shape]
    assert all(view.min() > -1e-5 and view.max() < 1 + 1e-5 for view in views)
    _, again = sample_views(run)
    _, other = sample_views(replace(run, seed=1))
    np.testing.assert_array_equal(views[0], again[0])
    assert not np.array_equal(views[0], views[1])
    assert not np.array_equal(views[0], other[0])


def test_a_picture_of_views_is_written(tmp_path: Path) -> None:
    sources = np.zeros((4, 3, 8, 8), dtype=np.uint8)
    path = draw_views(sources, [np.ones((4, 3, 8, 8)), np.ones((4, 3, 8, 8))], tmp_path / "views.png")
    assert path.read_bytes().startswith(PNG)
