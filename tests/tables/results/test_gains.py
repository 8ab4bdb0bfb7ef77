"""Gains: "+" less its plain row, seed by seed, and what of it a table prints beside the paper's difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from compmod.pretrain.records.fingerprint import fingerprint
from compmod.tables.build import TABLES, build_table
from compmod.tables.paper.table import Table
from compmod.tables.results.cells import STALE, UNKNOWN, cell_results
from compmod.tables.results.gains import NOTE, Gain, Pair, gain_lines, gains, pairs
from compmod.tables.results.notes import table_notes
from compmod.tables.results.results import Results


def finished(
    table: Table, finish: Any, plain: tuple[float | None, ...], plus: tuple[float | None, ...], **entries: Any
) -> None:
    """Finish BYOL and BYOL+ on the first column's data, an accuracy a seed; None leaves a seed out."""
    for label, accuracies in (("BYOL", plain), ("BYOL+", plus)):
        row = next(row for row in table.rows if row.label == label)
        for spec, accuracy in zip(row.cells[0].specs, accuracies, strict=True):
            if accuracy is not None:
                finish(spec, linear=accuracy, knn=accuracy, **entries)


def byol(table: Table, runs: Path) -> Pair:
    return gain_lines(cell_results(table, Results(runs)), table.headings[0])["BYOL"][0]


@pytest.mark.parametrize(
    "plain, plus, verdict",
    [
        ((50.0, 50.2, 49.9), (60.0, 60.1, 59.8), "higher"),
        ((60.0, 60.1, 59.8), (50.0, 50.2, 49.9), "lower"),
        ((50.0, 60.0, 40.0), (52.0, 62.0, 43.0), "higher"),  # of every seed, though the seeds differ by more
        ((50.0, 50.2, 49.9), (52.0, 51.0, 49.0), "inconclusive"),
        ((50.0,), (60.0,), "inconclusive"),
        ((50.0, 50.0), (60.0, 60.0), "inconclusive"),  # equal seeds: no spread to judge by
        ((50.2, 50.1), (60.2, 60.1), "inconclusive"),  # nor equal differences, whatever their last bits
    ],
)
def test_several_seeds_are_judged_by_their_spread(
    plain: tuple[float, ...], plus: tuple[float, ...], verdict: str
) -> None:
    assert Gain("BYOL", "5-nn", plain, plus).state == verdict


def test_the_interval_is_students_of_the_differences_seed_by_seed() -> None:
    gain = Gain("BYOL", "linear", (50.0, 60.0, 40.0), (52.0, 62.0, 43.0))
    assert gain.difference == pytest.approx(7 / 3)
    assert gain.half_width == pytest.approx(4.302653 / 3)  # t of 2 degrees of freedom; deviation 1 / sqrt(3)


def test_only_seeds_that_both_rows_have_are_compared(tmp_path: Path, finish: Any) -> None:
    table = build_table(1, seeds=3)
    finished(table, finish, (0.90, 0.91, None), (None, 0.93, 0.94))
    for gain in gains(cell_results(table, Results(tmp_path / "runs"))):
        assert (gain.plain, gain.plus, gain.half_width) == ((91.0,), (93.0,), None)


def test_the_papers_difference_stands_beside_ours_and_says_whether_it_compares(tmp_path: Path, finish: Any) -> None:
    for scale, compared in (("paper", True), ("demo", False)):
        table = build_table(1, scale)
        for spec in table.specs:
            if spec.run.method in ("byol", "byol+"):
                finish(spec)
        first, *_ = gains(cell_results(table, Results(tmp_path / "runs")))
        assert (first.label, first.paper, first.compared) == ("BYOL", pytest.approx(93.96 - 91.73), compared)


def test_a_line_of_gains_prints_the_interval_over_the_common_seeds_and_where_it_lies(
    tmp_path: Path, finish: Any
) -> None:
    table = build_table(1, seeds=3)
    finished(table, finish, (0.50, 0.60, 0.40), (0.52, 0.62, 0.43))
    pair = byol(table, tmp_path / "runs")
    assert (pair.label, pair.paper_text, pair.shown_parts) == ("BYOL", "+2.23", ("paper", "ours"))
    ours = pair.our_text
    assert (ours.number, ours.deviation, ours.count) == ("+2.33", "1.43", "n=3, higher")


def test_one_common_seed_is_a_number_without_interval_or_word(tmp_path: Path, finish: Any) -> None:
    table = build_table(1, seeds=3)
    finished(table, finish, (0.90, 0.91, None), (None, 0.93, 0.94))
    ours = byol(table, tmp_path / "runs").our_text
    assert (ours.number, ours.deviation, ours.count) == ("+2.00", "", "n=1")


def test_a_pair_without_a_common_seed_says_why(tmp_path: Path, finish: Any) -> None:
    table = build_table(1, seeds=2)
    assert byol(table, tmp_path / "runs").our_text.state == "not run"
    finished(table, finish, (0.90, None), (None, 0.93))
    pair = byol(table, tmp_path / "runs")
    assert (pair.gain, pair.our_text.number, pair.our_text.state) == (None, "", "not run")


def test_pairs_of_other_images_are_no_pair(tmp_path: Path, finish: Any) -> None:
    table = build_table(1)
    finished(table, finish, (0.90,), (None,), splits={"train": "a" * 64, "test": "b" * 64})
    finished(table, finish, (None,), (0.93,), splits={"train": "c" * 64, "test": "b" * 64})
    assert byol(table, tmp_path / "runs").our_text.state == "no pair"


def test_a_gain_of_stale_numbers_bears_their_marks(tmp_path: Path, finish: Any) -> None:
    table = build_table(1)
    finished(table, finish, (0.90,), (None,), source=None)
    plus = next(row for row in table.rows if row.label == "BYOL+").cells[0].specs[0]
    finished(table, finish, (None,), (0.93,), source=fingerprint(plus) | {"knn_accuracy": "0" * 12})
    assert byol(table, tmp_path / "runs").our_text.marks == STALE + UNKNOWN


@pytest.mark.parametrize("number", TABLES)
def test_tables_with_plus_rows_beside_their_plain_rows_have_pairs(number: int, tmp_path: Path) -> None:
    table = build_table(number)
    results = Results(tmp_path)
    cells = cell_results(table, results)
    labels = list(dict.fromkeys(pair.label.replace(" ", "") for pair in pairs(cells)))
    assert labels == (["SimCLR", "BYOL", "BarlowTwins"] if number in (1, 2, 3, 5) else [])
    assert (NOTE in table_notes(table, cells, results)) == bool(labels)
    assert gains(cells) == []


@pytest.mark.parametrize("scale", ["paper", "demo"])
def test_the_papers_gains_are_printed_with_its_decimals(scale: Any, tmp_path: Path) -> None:
    lines = gain_lines(cell_results(build_table(5, scale), Results(tmp_path)), "Instance Seg.")
    assert [pair.paper_text for pair in lines["SimCLR"]] == ["+0.5", "+0.0", "-0.2"]


def test_at_scale_demo_the_printed_gains_stand_in_the_columns_of_the_printed_numbers(tmp_path: Path) -> None:
    table = build_table(1, "demo")
    (line, *_) = gain_lines(cell_results(table, Results(tmp_path)), table.headings[0]).values()
    shown = [(pair.shown_parts, pair.paper_text) for pair in line]
    assert shown == [(("ours",), ""), (("ours",), ""), (("paper",), "+2.11"), (("paper",), "+2.79")]
