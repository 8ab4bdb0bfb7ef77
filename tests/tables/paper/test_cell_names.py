"""What tells runs of one method and data apart."""

from __future__ import annotations

from collections import Counter

import pytest
from compmod.pretrain.recipes.scales import Scale
from compmod.tables.build import TABLES, build_table
from compmod.tables.paper.cell_names import cell_names, settings


@pytest.mark.parametrize("scale", ["paper", "demo"])
def test_no_two_runs_of_all_tables_are_named_alike(scale: Scale) -> None:
    tables = [build_table(number, scale, 2) for number in TABLES]
    runs = {spec.run.digest: spec.run for table in tables for spec in table.specs}
    names = cell_names(tables)
    assert names.keys() == runs.keys()
    alike = Counter((run.label, run.data_label, names[digest], run.seed) for digest, run in runs.items())
    assert [name for name, count in alike.items() if count > 1] == []


@pytest.mark.parametrize(
    "number, names",
    [
        (1, {""}),
        (4, {f"row {row} of Table 4" for row in range(1, 9)}),
        (7, {"M(h)", "M(z)", "one step", *(f"alpha=0.{tenth}" for tenth in (1, 3, 5, 7, 9))}),
    ],
)
def test_a_run_is_named_by_the_words_beside_its_cell(number: int, names: set[str]) -> None:
    assert set(cell_names([build_table(number, "paper")]).values()) == names


def test_seeds_of_one_cell_share_its_name_and_are_one_setting() -> None:
    table = build_table(6, "paper", 3)
    weights = {
        digest: f"lambda1={run.compmod.lambda1:g}, lambda2={run.compmod.lambda2:g}"
        for digest, run in {spec.run.digest: spec.run for spec in table.specs}.items()
    }
    assert cell_names([table]) == weights
    assert (len(weights), settings(spec.run for spec in table.specs)) == (48, 16)
