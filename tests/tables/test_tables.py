"""What holds of every table: all that the paper printed, its errata, its cost, and specs that tables share."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from compmod.pretrain.recipes.scales import SCALES, Scale
from compmod.pretrain.specs.methods import METHODS
from compmod.tables.build import TABLES, build_table, tables_at
from compmod.tables.commands.table import table_command
from compmod.tables.paper.printed import FACTS, paper_table, printed_columns, printed_rows, printed_tables
from compmod.tables.paper.table import Cell, Table
from paths import GOLDEN as GOLDEN_FOLDER

GOLDEN = GOLDEN_FOLDER / "tables" / "digests.json"
ABLATIONS = (4, 6, 7)
TWICE_IN_TABLE_6 = "92.77"

# Of the specification's lists "errors in print", "claims" and "transcription differences": what touches a table, as
# words that its notes must hold.
ERRATA: dict[int, tuple[tuple[str, ...], ...]] = {
    1: (
        ("W-MES",),
        ("MoCo and CMC", "has neither"),
        ("2-layer projector", "3 layers"),
        ("5-nn on CIFAR-100",),
        ("W-MSE 4", "four crops"),
        ("48.84", "49.20"),
    ),
    2: (
        ("caption", "ResNet-18", "5-nn", "ResNet-50", "top-5"),
        ("MoCo and CMC are added", "Table 1"),
        ("DCL", "neither a reference nor a definition"),
        ("BarlowTwins+ not in top-5",),
        ("SSL-HSIC", "74.8"),
        ("72.80",),
        ("89.0", "no published source"),
        ("reconstruction",),
    ),
    3: (
        ("caption", "linear evaluation", "fine-tuned"),
        ("two pre-trained models", "three rows"),
        ("1000 epochs for SwAV", "800"),
        ("tied", "SwAV and Barlow Twins+"),
    ),
    4: (
        ("Row 8", "Table 1", "rotation", "blur"),
        ("angle", "not given"),
        ("no significant difference", "implausibly"),
    ),
    5: (
        ("Mask P-CNN", "Mask R-CNN"),
        ("semantic segmentation", "instance segmentation"),
        ("mask AP75", "mask AP50", "box AP"),
        ("33.3 for SimCLR", "33.1 for SwAV", "33.2 for BYOL", "33.2 for SimSiam", "34.3 for Barlow Twins"),
        ("box AP75 40.3 for SwAV",),
        ("200 epochs", "mixes"),
    ),
    6: (("no number of this table in bold",), ("minimal", "3.83", "6 of 16"), (TWICE_IN_TABLE_6, "twice")),
    7: (
        ("alpha from U(0, 1)", "fixes it", "width of g_xi"),
        ("No bi-level", "last column", "not stated"),
        ("Four of the five Mixup", "plain BYOL"),
    ),
}


def _cells(table: Table) -> list[Cell]:
    return [cell for row in table.rows for cell in row.cells]


def _documentation(number: int) -> str:
    return " ".join((importlib.import_module(f"compmod.tables.{TABLES[number]}").__doc__ or "").split())


@pytest.fixture(scope="module")
def tables() -> dict[tuple[int, Scale], Table]:
    return {(number, scale): build_table(number, scale) for scale in SCALES for number in tables_at(scale)}


@pytest.mark.parametrize("scale", ["paper", "short"])
@pytest.mark.parametrize("number", printed_tables())
def test_every_number_that_the_paper_printed_is_in_one_cell_of_its_row(
    number: int, scale: Scale, tables: dict[tuple[int, Scale], Table]
) -> None:
    shown = [(row.label, id(cell.paper)) for row in tables[number, scale].rows for cell in row.cells if cell.paper]
    expected = [(key[0], id(value)) for key, value in paper_table(number).items() if value]
    assert sorted(shown) == sorted(expected)


@pytest.mark.parametrize("number", printed_tables())
def test_rows_stand_in_printed_order(number: int, tables: dict[tuple[int, Scale], Table]) -> None:
    assert tuple(row.label for row in tables[number, "paper"].rows) == printed_rows(number)


@pytest.mark.parametrize("number", printed_tables())
def test_a_printed_dash_is_an_empty_cell_and_not_a_lost_one(
    number: int, tables: dict[tuple[int, Scale], Table]
) -> None:
    table = tables[number, "paper"]
    for row in table.rows:
        dashes = sum(key[0] == row.label and value is None for key, value in paper_table(number).items())
        unprinted = sum(cell.paper is None and not cell.blank for cell in row.cells)
        assert unprinted == dashes, row.label


@pytest.mark.parametrize("number, words", [(number, words) for number in ERRATA for words in ERRATA[number]])
@pytest.mark.parametrize("scale", ["paper", "demo"])
def test_an_erratum_stands_under_the_table_that_it_touches(
    number: int, words: tuple[str, ...], scale: Scale, tables: dict[tuple[int, Scale], Table]
) -> None:
    assert any(all(word in note for word in words) for note in tables[number, scale].notes), words


def test_the_number_that_table_6_is_said_to_print_twice_is_printed_twice_in_a_column() -> None:
    columns = Counter((key[2], value.text) for key, value in paper_table(6).items() if value)
    assert columns["lambda2=0.1", TWICE_IN_TABLE_6] == 2


@pytest.mark.parametrize("number", printed_tables())
def test_the_docstring_gives_the_range_of_every_printed_column(number: int) -> None:
    text = _documentation(number)
    if number == 6:  # a grid: one range
        values = [value.text for value in paper_table(6).values() if value]
        assert f"{min(values)} to {max(values)}" in text
        return
    for group in printed_columns(number):
        if group[2] in FACTS:
            continue
        values = [value.text for key, value in paper_table(number).items() if key[1:] == group and value]
        expected = f"{min(values)} to {max(values)}" if len(values) > 1 else values[0]
        if number != 7 or group[0] != "Mixup":
            assert expected in text, group


def test_the_docstring_of_table_7_gives_the_range_of_its_mixups() -> None:
    values = [value.text for key, value in paper_table(7).items() if value and key[1] == "Mixup"]
    assert f"{min(values)} to {max(values)}" in _documentation(7)


@pytest.mark.parametrize("number", TABLES)
def test_the_docstring_gives_the_cost_at_every_scale(number: int) -> None:
    text = _documentation(number)
    assert re.search(r"`paper` about [\d,.]+ GPU-hours", text)
    assert all((f"`{scale}`" in text) is (number in tables_at(scale)) for scale in SCALES)


@pytest.mark.parametrize("number", TABLES)
def test_the_docstring_and_the_table_name_the_same_gpu_hours(
    number: int, tables: dict[tuple[int, Scale], Table]
) -> None:
    (hours,) = re.findall(r"`paper` about ([\d,.]+) GPU-hours", _documentation(number))
    assert f"about {hours} GPU-hours" in tables[number, "paper"].cost


@pytest.mark.parametrize("number", TABLES)
def test_a_row_of_a_reconstruction_says_so_below(number: int, tables: dict[tuple[int, Scale], Table]) -> None:
    table = tables[number, "paper"]
    for row in table.rows:
        remark = METHODS[row.method.removesuffix("+")].remark if row.method else ""
        assert not remark or any(f"{row.label}: {remark}" in note for note in table.notes)


@pytest.mark.parametrize("number", TABLES)
def test_the_demo_runs_digits_only_and_compares_nothing(number: int, tables: dict[tuple[int, Scale], Table]) -> None:
    table = tables[number, "demo"]
    assert {spec.run.dataset for spec in table.specs} <= {"digits"}
    assert not any("difference" in column.parts for column in table.columns)
    assert any("No reproduction" in note for note in table.notes)


@pytest.mark.parametrize("number", TABLES)
def test_the_short_scale_says_that_it_is_not_the_papers(number: int, tables: dict[tuple[int, Scale], Table]) -> None:
    assert any("Not the paper's scale" in note for note in tables[number, "short"].notes)
    assert not any("Not the paper's scale" in note for note in tables[number, "paper"].notes)


def test_specs_of_the_scales_never_coincide(tables: dict[tuple[int, Scale], Table]) -> None:
    digests = [{spec.digest for number in tables_at(scale) for spec in tables[number, scale].specs} for scale in SCALES]
    assert not any(a & b for a, b in itertools.combinations(digests, 2))


@pytest.mark.parametrize("scale", ["paper", "short", "laptop"])
def test_tables_4_6_and_7_have_48_cells_of_which_two_are_table_1s_runs(
    scale: Scale, tables: dict[tuple[int, Scale], Table]
) -> None:
    filled = [cell for number in ABLATIONS for cell in _cells(tables[number, scale]) if cell.specs]
    runs = {spec.run.digest for cell in filled for spec in cell.specs}
    first = {spec.run.digest for spec in tables[1, scale].specs}
    assert (len(filled), len(runs), len(runs & first), len(runs - first)) == (48, 48, 2, 46)


def test_the_two_shared_cells_are_the_same_measurements_as_table_1s(tables: dict[tuple[int, Scale], Table]) -> None:
    first = {spec.digest: spec for spec in tables[1, "paper"].specs}
    shared = [spec for number in ABLATIONS for spec in tables[number, "paper"].specs if spec.digest in first]
    assert sorted((spec.run.method, spec.run.dataset) for spec in shared) == [
        ("byol+", "cifar10"),
        ("simclr+", "cifar10"),
    ]


@pytest.mark.parametrize("scale", ["paper", "short", "demo"])
def test_table_3_needs_no_pretraining_that_table_2_lacks(scale: Scale, tables: dict[tuple[int, Scale], Table]) -> None:
    second = {spec.run.digest for spec in tables[2, scale].specs}
    assert {spec.run.digest for spec in tables[3, scale].specs} <= second


def test_the_demo_has_18_long_pretrainings_for_tables_1_to_3_and_48_brief_ones(
    tables: dict[tuple[int, Scale], Table],
) -> None:
    long = {spec.run.digest for number in (1, 2, 3) for spec in tables[number, "demo"].specs}
    brief = {spec.run.digest for number in ABLATIONS for spec in tables[number, "demo"].specs}
    assert (len(long), len(brief), len(long & brief)) == (18, 48, 0)


@pytest.mark.parametrize("number", TABLES)
def test_seeds_multiply_the_specs(number: int) -> None:
    assert len(build_table(number, "short", seeds=3).specs) == 3 * len(build_table(number, "short").specs)


@pytest.mark.parametrize(
    "number, dataset",
    [
        (1, "stl10"),
        (2, "imagenet100"),
        (3, "imagenet"),
        (4, "cifar10"),
        (5, "imagenet"),
        (6, "cifar10"),
        (7, "cifar10"),
    ],
)
def test_a_copy_fills_only_its_data_set_and_is_named_in_heading_and_notes(number: int, dataset: str) -> None:
    table = build_table(number, "paper", copies={dataset: "another"})
    assert {spec.run.copy for spec in table.specs if spec.run.dataset == dataset} == {"another"}
    assert {spec.run.copy for spec in table.specs if spec.run.dataset != dataset} <= {""}
    assert any("(copy: another)" in heading for heading in table.headings)
    assert any("Not the paper's data" in note for note in table.notes)


def test_a_copy_of_coco_fills_table_5_and_is_named_too() -> None:
    table = build_table(5, "paper", copies={"coco": "coco-mini"})
    assert {spec.data_label for spec in table.specs} == {"COCO 2017 (copy: coco-mini)"}  # type: ignore[union-attr]
    assert set(table.headings) == {f"{task}, COCO 2017 (copy: coco-mini)" for task in ("Object Det.", "Instance Seg.")}
    assert "Not the paper's data" in table.notes[0]


@pytest.mark.parametrize("number", list(TABLES))
def test_a_copy_of_a_data_set_that_a_table_has_not_leaves_it_as_it_is(number: int) -> None:
    other = "imagenet" if number in (1, 4, 6, 7) else "cifar10"
    assert build_table(number, "paper", copies={other: "another"}) == build_table(number, "paper")


@pytest.mark.parametrize(
    "copies, scale, words",
    [
        ({"cifar": "x"}, "paper", "unknown data set 'cifar'; known: digits, cifar10"),
        ({"digits": "x"}, "paper", "digits is embedded and has no copies; valid: cifar10"),
        ({"cifar10": "x"}, "demo", "scale demo runs on the embedded digits, which have no copies"),
    ],
)
def test_a_copy_that_cannot_be_is_refused(copies: dict[str, str], scale: Scale, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        build_table(1, scale, copies=copies)


@pytest.mark.parametrize("number", TABLES)
def test_less_than_one_seed_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="seeds must be at least 1, not 0"):
        build_table(number, "paper", seeds=0)


@pytest.mark.parametrize("number", TABLES)
def test_an_unknown_scale_lists_the_valid_ones(number: int) -> None:
    with pytest.raises(ValueError, match="unknown scale 'tiny'; known: paper, short, laptop, demo"):
        build_table(number, "tiny")  # type: ignore[arg-type]


def test_the_experiments_behind_the_papers_cells_are_those_of_the_golden_file(
    tables: dict[tuple[int, Scale], Table],
) -> None:
    found = {
        f"{number} {row.label} / {column.group} / {column.name}": [spec.digest for spec in cell.specs]
        for number in printed_tables()
        for row in tables[number, "paper"].rows
        for column, cell in zip(tables[number, "paper"].columns, row.cells, strict=True)
        if cell.specs
    }
    if os.environ.get("COMPMOD_RENEW_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(GOLDEN.read_text()), (
        "a cell is filled by another experiment than before; if that is meant, "
        f"run COMPMOD_RENEW_GOLDEN=1 pytest {__file__}"
    )


@pytest.mark.parametrize("number", TABLES)
def test_python_m_of_a_table_prints_what_the_command_prints(
    number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", f"compmod.tables.{TABLES[number]}", "--scale", "short", "--format", "csv"]
    path = os.pathsep.join(part for part in sys.path if part)
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    table_command(number, "short", format="csv", runs=tmp_path / "runs")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == capsys.readouterr().out
    assert f"{number}," in done.stdout
