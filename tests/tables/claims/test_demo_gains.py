"""Demo gains: the demo's words about "+" are computed from its numbers, and one seed decides nothing."""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from typing import Any

import pytest
from compmod.pretrain.specs.datasets import DATASETS
from compmod.tables.claims.demo_gains import chance, gain_sentences, sentence
from compmod.tables.commands.demo import demo_table, run_demo
from compmod.tables.results.cells import cell_results
from compmod.tables.results.gains import Gain, gains
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
    assert chance(Gain("SimCLR", "linear", (50.0,), (60.0,))) == pytest.approx(expected)
    assert chance(Gain("SimCLR", "linear", (0.0,), (100.0,))) > 0


def test_the_words_of_the_page_are_those_of_the_table_in_it() -> None:
    text = (ROOT / "docs" / "tables.md").read_text()
    lines = [[cell.strip(" *|") for cell in line.split("|")[1:4]] for line in text.splitlines() if "(n=1)" in line]
    cells, gained = lines[:-3], lines[-3:]
    printed = {label: [float(cell.strip("* ").split(" ")[0].strip("*")) for cell in rest] for label, *rest in cells}
    images = DATASETS["digits"].test_images  # the shares that two decimals stand for are whole counts of them
    ours = {
        label: [(100 * round(value / 100 * images) / images,) for value in values] for label, values in printed.items()
    }
    expected = [
        Gain(name, column, plain, plus)
        for name in ("SimCLR", "BYOL", "BarlowTwins")
        for column, plain, plus in zip(("linear", "5-nn"), ours[name], ours[f"{name}+"], strict=True)
    ]
    told = [line for line in text.splitlines() if line.startswith("    - ") and "+ less " in line]
    assert told == [f"    - {sentence(gain)}" for gain in expected]
    shown = [(label, text) for label, *texts in gained for text in texts]
    assert shown == [(gain.label, f"{gain.difference:+.2f} (n=1)") for gain in expected]


def test_gains_are_of_our_columns_alone(tmp_path: Path, finish: Any) -> None:
    filled(finish, ONE)
    found = gains(cell_results(demo_table(), Results(tmp_path / "runs")))
    assert [(gain.label, gain.column) for gain in found] == [
        (label, column) for label in ("SimCLR", "BYOL") for column in ("linear", "5-nn")
    ]
