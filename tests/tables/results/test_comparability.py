"""Mixed settings: a column whose rows come from several data sets, networks or budgets says so under its table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.measurement import Evaluation, FineTuning, Measurement
from compmod.pretrain.specs.run import Backbone
from compmod.tables.build import build_table
from compmod.tables.paper.table import Table
from compmod.tables.render.render import FORMATS, render
from compmod.tables.results.comparability import condition_warnings

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
    assert condition_warnings(build_table(1)) == []


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
        (lambda spec: FineTuning(run=spec.run, share=0.1), "measurement: probes, but linear on 10 %"),
        (lambda spec: replace(spec, split="validation"), "images scored: test set, but validation set"),
    ],
    ids=["copy", "subset", "epochs", "width", "protocol", "split"],
)
def test_a_row_of_another_setting_is_named_once_for_the_columns_it_mixes(change: Change, words: str) -> None:
    (note,) = condition_warnings(_changed(build_table(1), "BYOL", change))
    assert note.startswith(f"CIFAR-10 linear, CIFAR-10 5-nn: rows differ in {words}")
    assert note.endswith("(BYOL).")


def test_seeds_of_one_cell_that_mix_settings_are_named_too() -> None:
    table = build_table(1, seeds=2)
    mixed = _changed(
        table, "BYOL", lambda spec: replace(spec, run=replace(spec.run, epochs=7)) if spec.run.seed else spec
    )
    assert "1000 epochs, but 7 epochs (BYOL)" in condition_warnings(mixed)[0]


def test_a_change_of_every_row_is_none_within_the_column() -> None:
    table = build_table(1)
    for row in table.rows:
        table = _changed(table, row.label, _of_run(copy="jpeg"))
    assert condition_warnings(table) == []


def test_columns_may_differ_from_each_other() -> None:
    table = build_table(1, copies={"cifar10": "jpeg"})
    assert condition_warnings(table) == []


def test_rows_without_training_are_compared_in_their_data_alone() -> None:
    table = build_table(1, "demo")
    assert not any("pixels" in note for note in condition_warnings(table))
    mixed = _changed(table, "raw pixels", _of_run(train_images=999))
    assert any("999 images (raw pixels)" in note for note in condition_warnings(mixed))


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "csv"])
def test_a_rendered_table_says_that_a_column_is_mixed(form: str, tmp_path: Path) -> None:
    mixed = _changed(build_table(1), "BYOL", _of_run(copy="jpeg"))
    assert "rows differ in data: CIFAR-10, but CIFAR-10 (copy: jpeg) (BYOL)." in render(mixed, tmp_path, form)  # type: ignore[arg-type]


def _digests(record: Any, **splits: str) -> None:
    """Give a finished record these digests of its images."""
    file = record.path / "provenance.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"splits": splits}))


def _note(table: Table, tmp_path: Path, form: str = "md") -> list[str]:
    text = render(table, tmp_path / "runs", form)  # type: ignore[arg-type]
    return [line for line in text.splitlines() if "come from different" in line]


@pytest.fixture
def two_rows(every_case: Table, finish: Any) -> Table:
    """A table with SimCLR of content a (two seeds) and SimCLR+ of content b (one seed)."""
    for row, digest, seeds in ((0, "a" * 64, 2), (1, "b" * 64, 1)):
        for spec in every_case.rows[row].cells[1].specs[:seeds]:
            _digests(finish(spec), train="c" * 64, test=digest)
    return every_case


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "csv"])
def test_a_column_of_different_contents_under_one_name_says_so(form: str, two_rows: Table, tmp_path: Path) -> None:
    (note,) = _note(two_rows, tmp_path, form)
    for words in (
        "CIFAR-10 linear, CIFAR-10 5-nn: numbers come from different test images that are all called CIFAR-10",
        "content aaaaaaaaaaaa, but bbbbbbbbbbbb (SimCLR+ seed 0).",
    ):
        assert words in note


def test_the_cells_of_different_contents_are_told_apart_in_csv(two_rows: Table, tmp_path: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(render(two_rows, tmp_path / "runs", "csv"))))
    found = [line["data"] for line in lines if line["metric"] == "linear/top1"]
    assert found[:3] == ["CIFAR-10; content of test aaaaaaaaaaaa", "CIFAR-10; content of test bbbbbbbbbbbb", "CIFAR-10"]


def test_seeds_of_one_cell_that_differ_in_content_are_named(every_case: Table, finish: Any, tmp_path: Path) -> None:
    for seed, spec in enumerate(every_case.rows[0].cells[1].specs):
        _digests(finish(spec), test=("b" if seed == 2 else "a") * 64)
    (note,) = _note(every_case, tmp_path)
    assert "but bbbbbbbbbbbb (SimCLR seed 2)." in note


def test_the_images_of_the_pretraining_count_too(every_case: Table, finish: Any, tmp_path: Path) -> None:
    for row, digest in ((0, "a"), (1, "b")):
        spec = every_case.rows[row].cells[1].specs[0]
        finish(spec)
        _digests(Record(tmp_path / "runs", spec.run), pretrain=digest * 64, train=digest * 64)
    (note,) = _note(every_case, tmp_path)
    assert "different pretrain images" in note


def test_what_an_older_record_does_not_tell_is_not_held_against_it(
    every_case: Table, finish: Any, tmp_path: Path
) -> None:
    finish(every_case.rows[0].cells[1].specs[0])
    _digests(finish(every_case.rows[1].cells[1].specs[0]), test="b" * 64)
    assert _note(every_case, tmp_path) == []


@pytest.mark.parametrize("told", [["a"], {"test": 3}, {"test": None}, "a", {"test": ""}], ids=repr)
def test_damaged_digests_tell_nothing(told: Any, two_rows: Table, tmp_path: Path) -> None:
    for spec in two_rows.rows[1].cells[1].specs[:1]:
        file = Record(tmp_path / "runs", spec).path / "provenance.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"splits": told}))
    assert _note(two_rows, tmp_path) == []


def test_the_digests_of_older_records_are_compared_where_they_are_of_whole_splits(
    every_case: Table, finish: Any, tmp_path: Path
) -> None:
    for row, digest in ((0, "a"), (1, "b")):
        finish(every_case.rows[row].cells[1].specs[0], data_digest=digest * 64)
    (note,) = _note(every_case, tmp_path)
    assert "aaaaaaaaaaaa, but bbbbbbbbbbbb (SimCLR+ seed 0)" in note


def test_seeds_that_draw_other_subsets_of_the_same_images_do_not_differ(tmp_path: Path, finish: Any) -> None:
    table = _changed(build_table(1, seeds=2), "BYOL", _of_run(train_images=999))
    (row,) = [row for row in table.rows if row.label == "BYOL"]
    for spec, digest in zip(row.cells[0].specs, "ab", strict=True):
        record = finish(spec)
        _digests(record, train="c" * 64, test="d" * 64)
        file = Record(tmp_path / "runs", spec.run).path / "provenance.json"
        file.write_text(json.dumps({"data_digest": digest * 64}))
    assert _note(table, tmp_path) == []
