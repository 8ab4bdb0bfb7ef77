"""What a report gathers: its counts, its claims and costs, and what each line of its list of origins says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from compmod.tables.build import TABLES, build_table
from compmod.tables.paper.table import Table
from compmod.tables.render.amounts import amount, duration
from compmod.tables.report import wording
from compmod.tables.report.contents import Tally, full_report, report_on
from compmod.tables.results.cells import cell_results
from compmod.tables.results.results import Results
from made_up_runs import make_up


def _tally(table: Table, runs: Path) -> Tally:
    return Tally.of(cell_results(table, Results(runs)))


def _specs(table: Table, row: int, column: int) -> Any:
    return table.rows[row].cells[column].specs


def test_settings_and_the_papers_own_columns_are_no_cells_to_fill(tmp_path: Path) -> None:
    assert _tally(build_table(4), tmp_path).wanted == 24  # of 64, for 40 are switches
    assert _tally(build_table(1, "demo"), tmp_path).wanted == 26  # 13 rows by two probes


def test_cells_that_nothing_of_ours_can_fill_are_counted_apart(tmp_path: Path) -> None:
    tally = _tally(build_table(5), tmp_path)
    assert (tally.wanted, tally.cited) == (48, 6)


def test_a_cell_with_one_of_two_seeds_is_filled_and_not_complete(tmp_path: Path, finish: Any) -> None:
    table = build_table(1, seeds=2)
    finish(_specs(table, 0, 0)[0])
    for spec in _specs(table, 1, 0):
        finish(spec)
    tally = _tally(table, tmp_path / "runs")
    assert (tally.filled, tally.complete) == (4, 2)  # each record has both probes


def test_verdicts_are_counted_of_filled_cells_alone(tmp_path: Path, finish: Any) -> None:
    table = build_table(1, seeds=2)
    for spec, value in zip(_specs(table, 0, 0), (0.9180, 0.9181), strict=True):
        finish(spec, linear=value, knn=value)  # printed: 91.80 and 88.42
    assert dict(_tally(table, tmp_path / "runs").verdicts) == {"reproduced": 1, "higher": 1}


def test_a_cell_made_by_other_code_is_counted_as_stale(tmp_path: Path, finish: Any) -> None:
    table = build_table(1)
    finish(_specs(table, 0, 0)[0], source={"Views": "another"})
    assert _tally(table, tmp_path / "runs").stale == 2


def test_the_headline_counts_cells_seeds_and_verdicts(tmp_path: Path, finish: Any) -> None:
    table = build_table(1, seeds=2)
    for spec in _specs(table, 0, 0):
        finish(spec, linear=0.918, knn=0.8842)
    assert report_on([table], tmp_path / "runs").headline == (
        "2 of 88 cells have a number of ours, 2 of them over all 2 seeds: 2 reproduced."
    )


def test_a_pretraining_that_two_measurements_share_is_counted_once(tmp_path: Path) -> None:
    tables = [build_table(number, "demo") for number in (2, 3)]
    make_up(tables, tmp_path, logged=0)
    report = report_on(tables, tmp_path)
    runs = {each.spec.run.digest for each in report.measurements}
    assert len(runs) < len(report.measurements)
    seconds = len(runs) * 14_400.0 + len(report.measurements) * 600.0  # as the made-up records say
    assert f"{len(report.measurements)} finished measurements of {len(runs)} runs" in wording.finished_sentence(report)
    assert f"together {duration(seconds)}" in wording.finished_sentence(report)


@pytest.mark.parametrize(
    "number, name",
    [(1, "SimCLR"), (4, "SimCLR+, row 1"), (6, "SimCLR+, lambda1=0.001, lambda2=0.001"), (7, "BYOL+, Acc., alpha=0.1")],
)
def test_an_origin_is_named_by_its_row_and_by_what_it_varies(number: int, name: str, tmp_path: Path) -> None:
    table = build_table(number)
    make_up([table], tmp_path, logged=0)
    assert report_on([table], tmp_path).measurements[0].name == name


def test_a_floor_is_named_by_its_label_and_not_by_a_method(tmp_path: Path, finish: Any) -> None:
    table = build_table(1, "demo")
    finish(_specs(table, 0, 0)[0])
    assert [each.name for each in report_on([table], tmp_path / "runs").measurements] == [table.rows[0].label]


def test_all_tables_claims_and_what_is_missing_are_gathered(tmp_path: Path) -> None:
    report = full_report(tmp_path)
    assert [section.table.number for section in report.sections] == list(TABLES)
    assert {ours.verdict for _, ours in report.claims} == {"inconclusive"}
    assert report.missing is not None
    wanted = {spec.digest for section in report.sections for spec in section.table.specs}
    assert {step.spec.digest for step in report.missing.steps} > wanted


def test_the_lines_of_what_is_missing_add_up_to_the_plan(tmp_path: Path) -> None:
    plan = full_report(tmp_path, "demo").missing
    assert plan is not None
    lines = wording.missing(plan)
    counted = [sum(int(texts[place]) for _, texts in lines.lines) for place in (0, 1)]
    assert counted == [int(text) for text in lines.total[:2]]
    assert sum(counted) == len(plan.steps)


def test_nothing_missing_is_said(tmp_path: Path) -> None:
    tables = [build_table(7, "demo")]
    make_up(tables, tmp_path, logged=0)
    plan = full_report(tmp_path, "demo").missing
    assert plan is not None
    assert wording.missing_sentence(replace(plan, steps=())) == "Nothing is missing."


@pytest.mark.parametrize(
    "seconds, text", [(None, "–"), (0.0, "0 s"), (59.6, "60 s"), (90.0, "1.5 min"), (36_000.0, "10 h")]
)
def test_a_duration_is_given_in_the_unit_that_suits(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    "number, text", [(0, "0"), (0.034, "0.034"), (3.14, "3.1"), (12.3, "12"), (25_012.0, "25,012")]
)
def test_an_amount_has_no_more_figures_than_a_prediction_deserves(number: float, text: str) -> None:
    assert amount(number) == text
