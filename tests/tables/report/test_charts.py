"""Charts of ours against the paper's: which there are, what their words say, and that their letters can be read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from compmod.tables.build import TABLES, build_table
from compmod.tables.paper.table import Table
from compmod.tables.report.charts import COLOURS, DARK, draw_charts, panel_title
from compmod.tables.report.figures import BLUE, GREY, GROUND, INK, VERMILION, Picture
from compmod.tables.report.figures import DARK as DARK_SCREEN
from compmod.tables.results.cells import cell_results
from compmod.tables.results.results import Results
from made_up_runs import make_up

READABLE = 4.5  # contrast of letters on their ground, as the Web Content Accessibility Guidelines ask
SEEN = 3.0  # the same of marks


def _charts(table: Table, runs: Path) -> tuple[Picture, ...]:
    return draw_charts(table, cell_results(table, Results(runs)))


def _specs(table: Table, row: int, column: int) -> Any:
    return table.rows[row].cells[column].specs


def _contrast(colour: Any, other: Any) -> float:
    def luminance(part: float) -> float:
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    from matplotlib.colors import to_rgb

    weights = (0.2126, 0.7152, 0.0722)
    first, second = (
        sum(weight * luminance(part) for weight, part in zip(weights, to_rgb(each), strict=True))
        for each in (colour, other)
    )
    return (max(first, second) + 0.05) / (min(first, second) + 0.05)


@pytest.mark.parametrize("number", TABLES)
def test_without_a_number_of_ours_nothing_is_drawn(number: int, tmp_path: Path) -> None:
    assert _charts(build_table(number), tmp_path) == ()


@pytest.mark.parametrize(
    "number, names",
    [
        (1, [f"table-1-{data}-{way}" for data in ("cifar-10", "cifar-100") for way in ("linear", "5-nn")]),
        (6, ["table-6-ours", "table-6-the-paper-s"]),
        (7, ["table-7"]),
    ],
)
def test_a_table_is_drawn_a_picture_a_column_a_grid_twice_and_few_rows_together(
    number: int, names: list[str], tmp_path: Path
) -> None:
    table = build_table(number)
    make_up([table], tmp_path, logged=0)
    assert [picture.name for picture in _charts(table, tmp_path)][: len(names)] == names


def test_columns_without_a_number_of_ours_are_left_out(tmp_path: Path, finish: Any) -> None:
    table = build_table(1)
    finish(_specs(table, 0, 0)[0])
    titles = [picture.title for picture in _charts(table, tmp_path / "runs")]
    assert titles == ["CIFAR-10, linear", "CIFAR-10, 5-nn"]  # one record has both


def test_the_words_give_count_range_and_the_largest_difference(tmp_path: Path, finish: Any) -> None:
    table = build_table(1)
    finish(_specs(table, 0, 0)[0], linear=0.92)
    finish(_specs(table, 1, 0)[0], linear=0.89)
    assert _charts(table, tmp_path / "runs")[0].alternative == (
        "CIFAR-10, linear: ours in 2 of 11 rows, from 89.00 (BarlowTwins) to 92.00 (SimCLR); the paper's from 90.17 "
        "(SwAV) to 93.96 (BYOL+); the largest difference is -1.88 (BarlowTwins)."
    )


def test_on_other_data_the_papers_numbers_are_not_drawn_beside_ours(tmp_path: Path) -> None:
    table = build_table(1, "demo")
    make_up([table], tmp_path, logged=0)
    for picture in _charts(table, tmp_path):
        assert "paper" not in picture.alternative
        assert b"paper" not in picture.content


def test_a_deviation_shows_as_a_bar(tmp_path: Path, finish: Any) -> None:
    table = build_table(1, seeds=2)
    first, second = _specs(table, 0, 0)
    finish(first, linear=0.9)
    one = _charts(table, tmp_path / "runs")[0].content
    finish(second, linear=0.9)
    assert one.count(b"LineCollection") < _charts(table, tmp_path / "runs")[0].content.count(b"LineCollection")


def test_the_words_of_a_grid_name_its_best_and_worst_cell_and_its_gaps(tmp_path: Path, finish: Any) -> None:
    table = build_table(6)
    finish(_specs(table, 1, 2)[0], linear=0.93)
    finish(_specs(table, 3, 3)[0], linear=0.9)
    ours, theirs = _charts(table, tmp_path / "runs")
    assert ours.alternative == (
        "Table 6, ours: top-1 accuracy (%), 2 of 16 cells; best 93.00 at λ1 = 0.01, λ2 = 0.1; "
        "worst 90.00 at λ1 = 1, λ2 = 1."
    )
    assert theirs.alternative.endswith(
        "16 of 16 cells; best 93.91 at λ1 = 0.01, λ2 = 0.1; worst 90.08 at λ1 = 1, λ2 = 1."
    )
    assert ours.content.count(b"not run") == 14


def test_a_grid_whose_cells_are_all_alike_is_drawn(tmp_path: Path, finish: Any) -> None:
    table = build_table(6, "demo")
    finish(_specs(table, 0, 0)[0], linear=0.5)
    assert "best 50.00" in _charts(table, tmp_path / "runs")[0].alternative


@pytest.mark.parametrize("share", [0.0, DARK - 0.001, DARK, 0.7, 1.0])
def test_the_numbers_in_a_heat_map_stand_out_from_their_cells(share: float) -> None:
    from matplotlib import colormaps

    ground = colormaps[COLOURS](share)[:3]
    assert _contrast("white" if share < DARK else "black", ground) >= READABLE


@pytest.mark.parametrize("colour, least", [(BLUE, SEEN), (VERMILION, SEEN), (GREY, SEEN), (INK, READABLE)])
def test_marks_and_letters_stand_out_from_a_light_and_from_a_dark_ground(colour: str, least: float) -> None:
    assert _contrast(colour, GROUND) >= least
    assert _contrast(DARK_SCREEN[colour], DARK_SCREEN[GROUND]) >= least


def test_every_plus_row_stands_under_its_plain_row_and_is_marked(tmp_path: Path, finish: Any) -> None:
    table = build_table(1)
    finish(next(spec for spec in table.specs if spec.run.method == "byol+"))
    text = _charts(table, tmp_path / "runs")[0].content.decode()
    labels = [label for label in re.findall(r">([^<>]+)</text>", text) if label in {row.label for row in table.rows}]
    assert labels[:6] == ["SimCLR", "SimCLR+", "BarlowTwins", "BarlowTwins+", "BYOL", "BYOL+"]
    bold = [label for style, label in re.findall(r'<text style="([^"]*)"[^>]*>([^<]+)</text>', text) if "700" in style]
    assert bold == ["SimCLR+", "BarlowTwins+", "BYOL+"]
    assert "ours, “+”" in text


def test_a_row_without_any_mark_takes_no_line(tmp_path: Path, finish: Any) -> None:
    table = build_table(1, "demo")
    finish(next(spec for spec in table.specs if spec.run.method == "byol"))
    content = _charts(table, tmp_path / "runs")[0].content
    assert (b">BYOL<" in content, b">VICReg<" in content) == (True, False)


def test_a_column_is_named_by_its_data_and_what_was_measured() -> None:
    demo, paper = build_table(1, "demo"), build_table(1)
    assert [panel_title(column) for column in paper.columns[:2]] == ["CIFAR-10, linear", "CIFAR-10, 5-nn"]
    assert panel_title(demo.columns[0]) == "Digits (demo), linear"
