"""Mixed settings: a column whose rows come from several data sets, networks or budgets says so under its table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from compmod.pretrain.run import Backbone, Evaluation, FineTuning
from compmod.tables.render import FORMATS, render
from compmod.tables.settings import mixed_settings
from compmod.tables.table import Measurement, Table, build_table

Change = Callable[[Evaluation], Measurement]


def _of_run(**changes: Any) -> Change:
    return lambda spec: replace(spec, run=replace(spec.run, **changes))


def _changed(table: Table, label: str, change: Change, columns: range = range(2)) -> Table:
    """The table with the specs of one row changed in some columns."""
    rows = []
    for row in table.rows:
        cells = list(row.cells)
        for position in columns if row.label == label else ():
            specs = tuple(change(spec) for spec in cells[position].specs if isinstance(spec, Evaluation))
            cells[position] = replace(cells[position], specs=specs)
        rows.append(replace(row, cells=tuple(cells)))
    return replace(table, rows=tuple(rows))


def test_a_table_of_one_setting_a_column_has_no_such_note() -> None:
    assert mixed_settings(build_table(1)) == []


@pytest.mark.parametrize(
    "change, words",
    [
        (_of_run(copy="jpeg"), "data: CIFAR-10, but CIFAR-10 (copy: jpeg)"),
        (
            _of_run(train_images=999),
            "data: CIFAR-10, but CIFAR-10, 999 images",
        ),
        (
            _of_run(epochs=7),
            "length of pretraining: 1000 epochs, but 7 epochs",
        ),
        (
            _of_run(backbone=Backbone(width=9)),
            "backbone: resnet18 of width 64 on rgb, but resnet18 of width 9 on rgb",
        ),
        (lambda spec: FineTuning(run=spec.run, share=0.1), "measurement: Evaluation, but frozen backbone on 10 %"),
        (lambda spec: replace(spec, split="validation"), "images scored: test set, but validation set"),
    ],
    ids=["copy", "subset", "epochs", "width", "protocol", "split"],
)
def test_a_row_of_another_setting_is_named_once_for_the_columns_it_mixes(change: Change, words: str) -> None:
    (note,) = mixed_settings(_changed(build_table(1), "BYOL", change))
    assert note.startswith(f"CIFAR-10 linear, CIFAR-10 5-nn: rows differ in {words}")
    assert note.endswith("(BYOL).")


def test_seeds_of_one_cell_that_mix_settings_are_named_too() -> None:
    table = build_table(1, seeds=2)
    mixed = _changed(
        table, "BYOL", lambda spec: replace(spec, run=replace(spec.run, epochs=7)) if spec.run.seed else spec
    )
    assert "1000 epochs, but 7 epochs (BYOL)" in mixed_settings(mixed)[0]


def test_a_change_of_every_row_is_none_within_the_column() -> None:
    table = build_table(1)
    for row in table.rows:
        table = _changed(table, row.label, _of_run(copy="jpeg"))
    assert mixed_settings(table) == []


def test_columns_may_differ_from_each_other() -> None:
    table = build_table(1, copies={"cifar10": "jpeg"})
    assert mixed_settings(table) == []


def test_rows_without_training_are_compared_in_their_data_alone() -> None:
    table = build_table(1, "demo")
    assert not any("pixels" in note for note in mixed_settings(table))
    mixed = _changed(table, "raw pixels", _of_run(train_images=999))
    assert any("999 images (raw pixels)" in note for note in mixed_settings(mixed))


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "csv"])
def test_a_rendered_table_says_that_a_column_is_mixed(form: str, tmp_path: Path) -> None:
    mixed = _changed(build_table(1), "BYOL", _of_run(copy="jpeg"))
    assert "rows differ in data: CIFAR-10, but CIFAR-10 (copy: jpeg) (BYOL)." in render(mixed, tmp_path, form)  # type: ignore[arg-type]
