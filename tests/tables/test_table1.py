"""Table 1 declares the right rows, columns and specs at every scale."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import compmod.tables.table1 as module
import pytest
from compmod.pretrain.recipes.scales import SCALES, scaled
from compmod.tables.build import build_table
from compmod.tables.commands.demo import demo_table
from compmod.tables.paper.printed import paper_table, printed_columns, printed_rows
from compmod.tables.paper.table import Cell, Column, Row, Table
from compmod.tables.table1 import floors, method_name, table1


def test_every_printed_number_is_in_its_own_cell() -> None:
    table = table1("paper")
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            assert cell.paper is paper_table(1)[row.label, column.group, column.name, "top1"]


def test_a_cell_is_filled_by_the_method_and_data_set_of_its_row_and_column() -> None:
    table = table1("paper", seeds=2)
    row = next(row for row in table.rows if row.label == "BarlowTwins+")
    column = next(j for j, each in enumerate(table.columns) if (each.group, each.name) == ("Tiny ImageNet", "5-nn"))
    cell = row.cells[column]
    assert [spec.run for spec in cell.specs] == [
        replace(scaled("barlow_twins+", "tiny_imagenet", "paper"), seed=seed) for seed in (0, 1)
    ]
    assert cell.metric == "knn/top1"


def test_linear_and_5nn_of_a_row_share_their_runs() -> None:
    table = table1("paper", seeds=3)
    assert len(table.specs) == len(table.rows) * 4 * 3


def test_the_demo_runs_digits_only_and_compares_with_nothing() -> None:
    table = table1("demo")
    assert {spec.run.dataset for spec in table.specs} == {"digits"}
    assert {part for column in table.columns for part in column.parts} == {"ours", "paper"}
    assert len(table.headings) == 1


def test_the_demo_puts_two_floors_above_the_printed_rows() -> None:
    labels = [row.label for row in table1("demo").rows]
    assert labels == ["raw pixels", "untrained network", *printed_rows(1)]


def test_the_floors_train_nothing_and_differ_from_simclr_in_nothing_else() -> None:
    simclr = scaled("simclr", "digits", "demo")
    (_, pixels, _), (_, untrained, _) = floors(simclr)
    assert untrained == replace(simclr, epochs=0)
    assert pixels == replace(simclr, epochs=0, backbone=replace(simclr.backbone, name="pixels"))


def test_specs_of_the_scales_never_coincide() -> None:
    digests = [{spec.digest for spec in table1(scale).specs} for scale in SCALES]
    assert not any(a & b for a, b in itertools.combinations(digests, 2))


def test_a_copy_fills_only_its_data_set_and_is_named_in_heading_and_notes() -> None:
    table = table1("paper", copies={"cifar10": "cifar10-jpeg"})
    assert {spec.run.copy for spec in table.specs if spec.run.dataset == "cifar10"} == {"cifar10-jpeg"}
    assert {spec.run.copy for spec in table.specs if spec.run.dataset != "cifar10"} == {""}
    assert "CIFAR-10 (copy: cifar10-jpeg)" in table.headings
    assert any("copy" in note for note in table.notes)


def test_the_short_scale_says_that_it_is_not_the_papers() -> None:
    assert any("Not the paper's scale" in note for note in table1("short").notes)


def test_the_docstring_gives_the_range_of_every_printed_column() -> None:
    text = " ".join((module.__doc__ or "").split())
    for group, name, metric in printed_columns(1):
        values = [cell.text for key, cell in paper_table(1).items() if key[1:] == (group, name, metric) and cell]
        assert f"{min(values)} to {max(values)}" in text, (group, name)


def test_the_docstring_says_that_every_plus_row_stands_above_its_plain_row() -> None:
    assert re.search(r"each stand\s+above their plain row", module.__doc__ or "")
    cells = paper_table(1)
    for (row, *rest), cell in cells.items():
        plus = cells.get((row + "+", *rest))  # type: ignore[arg-type]
        if plus is not None and cell is not None:
            assert plus.value > cell.value


def test_a_label_the_paper_does_not_print_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no method is printed as 'Barlow'; known: SimCLR, .*, each also with '\+'"):
        method_name("Barlow")


def test_an_unknown_table_number_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="unknown table 9; known: 1"):
        build_table(9)


def test_an_unknown_scale_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="unknown scale 'tiny'; known: paper, short, laptop, demo"):
        build_table(1, "tiny")  # type: ignore[arg-type]


def test_less_than_one_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seeds must be at least 1, not 0"):
        build_table(1, "paper", seeds=0)


def test_a_row_of_the_wrong_length_is_refused() -> None:
    column = Column(group="g", name="n", heading="h")
    with pytest.raises(ValueError, match="row 'r' has 2 cells for 1 columns"):
        Table(
            number=1,
            title="",
            scale="demo",
            cost="",
            columns=(column,),
            rows=(Row(label="r", cells=(Cell(metric="m"), Cell(metric="m"))),),
        )


def test_make_demo_runs_three_methods_with_and_without_compmod_and_the_floors() -> None:
    labels = [row.label for row in demo_table().rows]
    assert labels[:2] == ["raw pixels", "untrained network"]
    assert sorted(labels[2:]) == sorted(["SimCLR", "SimCLR+", "BYOL", "BYOL+", "BarlowTwins", "BarlowTwins+"])
