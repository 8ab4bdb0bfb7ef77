"""Gains: the demo's words about "+" are computed from its numbers, and one seed decides nothing."""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from typing import Any

import pytest
from compmod.pretrain.specs.datasets import DATASETS
from compmod.tables.build import build_table
from compmod.tables.claims.gains import Gain, gain_sentences, gains
from compmod.tables.commands.demo import demo_table, run_demo
from compmod.tables.results.cells import cell_results
from compmod.tables.results.results import Results
from paths import ROOT

ONE = {"simclr": 0.4979, "simclr+": 0.5599, "byol": 0.2981, "byol+": 0.3649}
OTHER = {"simclr": 0.538, "simclr+": 0.524, "byol": 0.1, "byol+": 0.8}


def words(runs: Path) -> list[str]:
    return list(gain_sentences(cell_results(demo_table(), Results(runs))))


def filled(finish: Any, accuracies: dict[str, float]) -> None:
    for spec in demo_table().specs:
        if spec.run.method in accuracies and spec.run.epochs:
            finish(spec, linear=accuracies[spec.run.method], knn=0.4)


@pytest.mark.parametrize(
    "accuracies, simclr, byol",
    [(ONE, ("+6.20", "within"), ("+6.68", "within")), (OTHER, ("-1.40", "within"), ("+70.00", "beyond"))],
)
def test_the_demo_s_words_about_plus_follow_from_its_numbers(
    accuracies: dict[str, float],
    simclr: tuple[str, str],
    byol: tuple[str, str],
    tmp_path: Path,
    finish: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled(finish, accuracies)
    monkeypatch.setattr("compmod.tables.reproduce.run_table", lambda *_, **__: None)
    monkeypatch.setattr("compmod.tables.report.report.write_report", lambda *_: "report.md")
    run_demo(tmp_path / "runs")
    lines = capsys.readouterr().out.splitlines()
    for name, (difference, among) in (("SimCLR", simclr), ("BYOL", byol)):
        (line,) = [line for line in lines if line.startswith(f"- {name}+ less {name}, linear: ")]
        assert f"{difference} points, inconclusive (one seed; {among} ±" in line
    assert "4 of 4 comparisons are inconclusive. One seed tells nothing of the spread over seeds." in lines


def test_no_numbers_give_no_words(tmp_path: Path, finish: Any) -> None:
    assert words(tmp_path / "runs") == []
    filled(finish, {"simclr+": 0.5, "byol": 0.5})  # a "+" row without its plain row, and the other way round
    assert words(tmp_path / "runs") == []


def test_chance_is_that_of_two_shares_of_so_many_glyphs() -> None:
    shares = (0.5 * 359 + 1) / 361, (0.6 * 359 + 1) / 361  # Agresti and Caffo: a success and a failure more
    expected = 196 * sqrt(sum(p * (1 - p) for p in shares) / 361)
    assert Gain("SimCLR", "linear", (50.0,), (60.0,)).chance == pytest.approx(expected)
    assert Gain("SimCLR", "linear", (0.0,), (100.0,)).chance > 0


def test_the_words_of_the_page_are_those_of_the_table_in_it() -> None:
    text = (ROOT / "docs" / "tables.md").read_text()
    cells = [[cell.strip(" *|") for cell in line.split("|")[1:4]] for line in text.splitlines() if "(n=1)" in line]
    printed = {label: [float(cell.strip("* ").split(" ")[0].strip("*")) for cell in rest] for label, *rest in cells}
    images = DATASETS["digits"].test_images  # the shares that two decimals stand for are whole counts of them
    ours = {
        label: [(100 * round(value / 100 * images) / images,) for value in values] for label, values in printed.items()
    }
    expected = [
        "    - " + Gain(name, column, plain, plus).text
        for name in ("SimCLR", "BYOL", "BarlowTwins")
        for column, plain, plus in zip(("linear", "5-nn"), ours[name], ours[f"{name}+"], strict=True)
    ]
    assert [line for line in text.splitlines() if line.startswith("    - ") and "+ less " in line] == expected


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
    assert Gain("BYOL", "5-nn", plain, plus).verdict.startswith(verdict)


def test_gains_are_of_our_columns_alone(tmp_path: Path, finish: Any) -> None:
    filled(finish, ONE)
    found = gains(cell_results(demo_table(), Results(tmp_path / "runs")))
    assert [(gain.label, gain.column) for gain in found] == [
        (label, column) for label in ("SimCLR", "BYOL") for column in ("linear", "5-nn")
    ]


def test_the_interval_is_students_of_the_differences_seed_by_seed() -> None:
    gain = Gain("BYOL", "linear", (50.0, 60.0, 40.0), (52.0, 62.0, 43.0))
    assert gain.difference == pytest.approx(7 / 3)
    assert gain.half_width == pytest.approx(4.302653 / 3)  # t of 2 degrees of freedom; deviation 1 / sqrt(3)


def test_only_seeds_that_both_rows_have_are_compared(tmp_path: Path, finish: Any) -> None:
    table = build_table(1, seeds=3)
    plain, plus = (next(row for row in table.rows if row.label == label) for label in ("BYOL", "BYOL+"))
    for row, accuracies in ((plain, (0.90, 0.91, None)), (plus, (None, 0.93, 0.94))):
        for spec, accuracy in zip(row.cells[0].specs, accuracies, strict=True):
            if accuracy:
                finish(spec, linear=accuracy, knn=accuracy)
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
