"""The paper's numbers are read from the CSV, whole and as printed."""

from __future__ import annotations

import pytest
from compmod.tables.build import TABLES
from compmod.tables.paper.printed import paper_table, printed, printed_columns, printed_rows, printed_tables


@pytest.mark.parametrize("number, cells", [(1, 88), (2, 52), (3, 35), (4, 64), (5, 54), (6, 16), (7, 8)])
def test_every_table_has_the_cells_that_were_counted_in_the_paper(number: int, cells: int) -> None:
    assert len(paper_table(number)) == cells


def test_a_number_keeps_its_printed_decimals_and_its_bold_mark() -> None:
    number = printed(1, "SimCLR", "CIFAR-10", "linear", "top1")
    best = printed(1, "BYOL+", "CIFAR-10", "linear", "top1")
    assert number is not None
    assert best is not None
    assert (number.text, number.value, number.bold, best.bold) == ("91.80", 91.8, False, True)


def test_a_dash_is_none_and_not_zero() -> None:
    assert printed(2, "RELIC", "ImageNet-100", "linear", "top1") is None


def test_table_1_rows_and_columns_come_in_printed_order() -> None:
    assert printed_rows(1)[0] == "SimCLR"
    assert printed_rows(1)[-1] == "BarlowTwins+"
    assert printed_columns(1)[:3] == (
        ("CIFAR-10", "linear", "top1"),
        ("CIFAR-10", "5-nn", "top1"),
        ("CIFAR-100", "linear", "top1"),
    )


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_every_bold_number_is_the_largest_of_its_column_and_every_largest_is_bold(number: int) -> None:
    for column in printed_columns(number):
        cells = [cell for (_, *key), cell in paper_table(number).items() if tuple(key) == column and cell]
        if column[2] in ("switch", "epochs"):  # settings, not results
            continue
        largest = max(cell.value for cell in cells)
        assert [cell.bold for cell in cells] == [cell.value == largest for cell in cells], column


def test_an_unknown_table_lists_those_of_the_paper() -> None:
    with pytest.raises(ValueError, match="no table 8 in the paper; it has 1, 2, 3, 4, 5, 6, 7"):
        paper_table(8)


def test_an_unknown_cell_lists_the_rows_of_its_table() -> None:
    with pytest.raises(ValueError, match=r"table 1 has no cell .*; its rows: SimCLR, BarlowTwins"):
        printed(1, "MoCo", "CIFAR-10", "linear", "top1")


def test_every_table_of_the_paper_has_its_line_in_tables() -> None:
    assert printed_tables() == (1, 2, 3, 4, 5, 6, 7)
    assert set(printed_tables()) <= set(TABLES)
