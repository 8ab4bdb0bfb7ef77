"""Gaps: what has not run is counted, and the command named fills the very table that was asked for."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from compmod.tables.build import build_table
from compmod.tables.commands.options import built
from compmod.tables.paper.table import Table
from compmod.tables.results.cells import cell_results
from compmod.tables.results.gaps import filling_command, gap_sentence, hides_numbers, rows_with_results
from compmod.tables.results.results import Results


@pytest.mark.parametrize(
    "table, options",
    [
        (build_table(1), ""),
        (build_table(1, "short", seeds=3), " --seeds 3"),
        (build_table(4, copies={"cifar10": "cifar10-jpeg"}), " --copies cifar10=cifar10-jpeg"),
        (build_table(5, copies={"coco": "coco-small"}, precision="tf32"), " --copies coco=coco-small --precision tf32"),
    ],
)
def test_the_command_fills_the_table_that_was_asked_for(table: Table, options: str) -> None:
    command = filling_command(table)
    assert command == f"compmod table {table.number} --scale {table.scale}{options} --run"
    words = shlex.split(command)
    given = dict(zip(words[3:-1:2], words[4::2], strict=True))
    (again,) = built(
        [table.number],
        table.scale,
        int(given.get("--seeds", "1")),
        [given["--copies"]] if "--copies" in given else [],
        given.get("--precision", "auto"),
    )
    assert again.specs == table.specs


def test_cells_and_whole_rows_without_a_number_are_counted(tmp_path: Path, finish: Any) -> None:
    table = build_table(1)
    assert gap_sentence(table, cell_results(table, Results(tmp_path))).startswith("None of its 88 cells has a number")
    finish(table.rows[0].cells[0].specs[0])  # both probes of one data set
    sentence = gap_sentence(table, cell_results(table, Results(tmp_path / "runs")))
    assert sentence.startswith("86 of 88 cells have no number of ours, 10 whole rows among them. To fill it: ")


def test_rows_with_something_of_ours_are_kept_and_hidden_numbers_are_known(tmp_path: Path, finish: Any) -> None:
    table = build_table(1)
    finish(table.rows[1].cells[0].specs[0])
    cells = cell_results(table, Results(tmp_path / "runs"))
    kept, of_kept = rows_with_results(table, cells, "CIFAR-10")
    assert ([row.label for row in kept.rows], len(of_kept)) == (["BarlowTwins"], 8)
    assert rows_with_results(table, cells, "STL-10")[0].rows == ()
    assert hides_numbers(table, kept.rows, "CIFAR-10")
    assert not hides_numbers(table, table.rows, "CIFAR-10")
