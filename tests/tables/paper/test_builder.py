"""The builder that the tables share: what a table gets without saying it."""

from __future__ import annotations

import pytest
from compmod.pretrain.recipes.scales import Scale
from compmod.pretrain.specs.run import Run
from compmod.tables.paper.builder import PrintedColumn, TableBuilder, dataset_of
from compmod.tables.paper.printed import paper_table
from compmod.tables.paper.table import ALL_PARTS, BESIDE


class Smallest(TableBuilder):
    """Says no more than a table must; the printed cells are those of Table 6."""

    number = 6
    title = "Smallest, {backbone}"
    costs = {"paper": "an hour", "short": "minutes", "demo": "seconds"}  # noqa: RUF012
    errata = ("An erratum.",)
    datasets = ("cifar10",)

    def heading(self, column: PrintedColumn) -> str:
        return "CIFAR-10"

    def run(self, row: str, column: PrintedColumn) -> Run | None:
        return None if row.endswith("=0.001") else self.ablated("simclr+")

    def method(self, row: str) -> str:
        return "simclr+"


class WithSettings(Smallest):
    """Table 4 prints settings, and this does not say ours."""

    number = 4


@pytest.mark.parametrize("scale, parts", [("paper", ALL_PARTS), ("short", ALL_PARTS), ("demo", BESIDE)])
def test_the_smallest_table_has_every_printed_cell_its_cost_and_its_errata(scale: Scale, parts: object) -> None:
    table = Smallest.build(scale, seeds=2)
    numbers = [cell.paper for row in table.rows for cell in row.cells]
    assert numbers == list(paper_table(6).values())
    assert {column.parts for column in table.columns} == {parts}
    assert (table.cost, table.notes[-1]) == (Smallest.costs[scale], "An erratum.")
    assert table.title.startswith("Smallest, ResNet-")


def test_by_default_a_cell_asks_for_the_linear_probe_of_each_seed() -> None:
    cell = Smallest.build("short", seeds=3).rows[-1].cells[0]
    assert cell.metric == "linear/top1"
    assert [(spec.kind, spec.run.seed) for spec in cell.specs] == [("probes", seed) for seed in range(3)]


def test_a_cell_without_a_run_asks_for_nothing() -> None:
    first, *_ = Smallest.build("short").rows
    assert all(cell.specs == () and cell.paper for cell in first.cells)


def test_a_copy_reaches_the_runs_and_the_notes() -> None:
    table = Smallest.build("paper", copies={"cifar10": "again"})
    assert {spec.run.copy for spec in table.specs} == {"again"}
    assert "Not the paper's data" in table.notes[0]


def test_a_column_of_settings_must_say_ours() -> None:
    with pytest.raises(NotImplementedError, match=r"table 4 prints a setting in .* and does not define `fact`"):
        WithSettings.build("short")


def test_a_printed_data_set_is_known_by_its_label() -> None:
    assert dataset_of("Tiny ImageNet") == "tiny_imagenet"
