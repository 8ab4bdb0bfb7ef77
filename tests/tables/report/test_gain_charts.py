"""Gain charts: an interval only where seeds give one, and the paper's difference marked where it is of other data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from compmod.pretrain.recipes.scales import Scale
from compmod.tables.build import build_table
from compmod.tables.report import wording
from compmod.tables.report.contents import Report, report_on
from compmod.tables.report.figures import BLUE, VERMILION

PLAIN = (0.90, 0.92, 0.91)
PLUS = (0.93, 0.94, 0.945)


def _report(runs: Path, finish: Any, scale: Scale, seeds: int) -> Report:
    table = build_table(1, scale, seeds)
    for spec in table.specs:
        if spec.run.dataset in ("cifar10", "digits") and spec.run.method in ("byol", "byol+") and spec.run.epochs:
            finish(spec, linear=(PLUS if spec.run.plus else PLAIN)[spec.run.seed])
    return report_on([table], runs)


def test_several_seeds_give_an_interval_beside_the_papers_difference(tmp_path: Path, finish: Any) -> None:
    report = _report(tmp_path / "runs", finish, "paper", seeds=3)
    linear, knn = report.gain_pictures
    # differences 3, 2 and 3.5: mean 2.83, deviation 0.764, t of 2 degrees of freedom 4.303
    assert linear.alternative == (
        "What “+” changes: Table 1, linear, CIFAR-10, in points: "
        "BYOL, CIFAR-10 +2.83 ± 1.90 over 3 seeds (paper +2.23)."
    )
    assert knn.title == "What “+” changes: Table 1, 5-nn, CIFAR-10"
    assert b"95 % interval" in linear.content
    assert b"no interval" in knn.content  # three equal differences
    assert wording.gains_sentence(report) == (
        "2 comparisons of ours: the interval lies above zero in 1, below it in 0; 1 inconclusive."
    )


@pytest.mark.parametrize("scale, where", [("paper", "paper"), ("demo", "paper on other data")])
def test_one_seed_has_no_interval_and_other_data_are_named(
    scale: Scale, where: str, tmp_path: Path, finish: Any
) -> None:
    report = _report(tmp_path / "runs", finish, scale, seeds=1)
    picture = report.gain_pictures[0]
    assert picture.alternative.endswith(f" +3.00 of one seed ({where} +2.23).")
    assert b"ours, no interval" in picture.content
    assert (b"on other data" in picture.content) is (scale == "demo")
    assert wording.gains_sentence(report) == (
        "2 comparisons of ours, of one seed only. One seed gives no interval, so nothing is decided."
    )


def test_only_lines_with_a_difference_of_ours_are_drawn(tmp_path: Path, finish: Any) -> None:
    picture = _report(tmp_path / "runs", finish, "paper", seeds=1).gain_pictures[0]
    assert (b"BYOL<" in picture.content, b"SimCLR" in picture.content) == (True, False)
    assert picture.content.count(f"stroke: {VERMILION}".encode()) > 0
    assert picture.content.count(f"fill: {BLUE}".encode()) > 0
    assert report_on([build_table(1)], tmp_path / "nowhere").gain_pictures == ()


def test_lines_of_several_data_sets_name_each(tmp_path: Path, finish: Any) -> None:
    table = build_table(1, "paper")
    for spec in table.specs:
        if spec.run.dataset.startswith("cifar") and spec.run.method in ("byol", "byol+"):
            finish(spec)
    picture = report_on([table], tmp_path / "runs").gain_pictures[0]
    assert picture.title == "What “+” changes: Table 1, linear"
    assert b"BYOL, CIFAR-10<" in picture.content
    assert b"BYOL, CIFAR-100<" in picture.content


def test_the_widest_legend_stands_within_the_picture(tmp_path: Path, finish: Any) -> None:
    linear, _ = _report(tmp_path / "runs", finish, "demo", seeds=3).gain_pictures
    _, legend = linear.content.decode().split('<g id="legend_1">')
    assert "95 % interval" in legend
    assert "paper, on other data" in legend
    assert min(map(float, re.findall(r'd="M (-?[\d.]+)', legend))) > 0  # centred: what begins inside also ends there
