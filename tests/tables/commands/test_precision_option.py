"""--precision: the precision of pretraining that a table asks for, and runs finished in another one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from compmod.cli import main
from compmod.pretrain.recipes.scales import PRECISIONS, SCALES, Scale, scaled
from compmod.pretrain.specs.measurement import Measurement
from compmod.tables.build import build_table, tables_at
from compmod.tables.commands.options import built
from compmod.tables.paper.table import Table
from compmod.tables.results.other_precision import unused_runs
from made_up_runs import make_up

NOTE = "Ours are pretrained in mixed precision, bfloat16 and float32; the paper does not state its precision."


def specs(table: Table) -> Iterator[Measurement]:
    yield from (spec for row in table.rows for cell in row.cells for spec in cell.specs)


@pytest.mark.parametrize("number, scale", [(number, scale) for scale in SCALES for number in tables_at(scale)])
def test_every_run_of_a_table_has_the_precision_asked_for_and_nothing_else_changes(number: int, scale: Scale) -> None:
    usual, other = build_table(number, scale), build_table(number, scale, precision="bfloat16")
    for one, two in zip(specs(usual), specs(other), strict=True):
        assert one.run.precision == PRECISIONS[scale]
        assert two == replace(one, run=replace(one.run, precision="bfloat16"))
    assert NOTE in other.notes
    assert (NOTE in usual.notes) is (PRECISIONS[scale] == "bfloat16")


@pytest.mark.parametrize("scale", SCALES)
def test_auto_is_the_precision_of_the_scale(scale: Scale) -> None:
    assert built([1], scale, 1, (), "auto") == [build_table(1, scale)]
    assert built([1], scale, 1, (), PRECISIONS[scale]) == [build_table(1, scale)]
    assert scaled("simclr", "cifar10", scale).precision == PRECISIONS[scale]


@pytest.mark.parametrize("command", ["table", "plan"])
def test_finished_runs_in_another_precision_are_named_with_the_option_that_uses_them(
    command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    make_up([build_table(6, "demo", precision="bfloat16")], tmp_path)
    words = [command, "6", "--scale", "demo", "--runs", str(tmp_path)]
    main(words)
    note = capsys.readouterr().err
    count = len({spec.run for spec in specs(build_table(6, "demo"))})
    assert note == (
        f"note: {count} of these tables' pretrainings finished in bfloat16 and not in the precision asked for; "
        "to use them: --precision bfloat16\n"
    )
    main([*words, "--precision", "bfloat16"])
    assert capsys.readouterr().err == ""


def test_runs_that_finished_in_both_precisions_are_not_named(tmp_path: Path) -> None:
    tables = [build_table(6, "demo"), build_table(6, "demo", precision="tf32")]
    make_up(tables, tmp_path)
    assert unused_runs(tables, tmp_path) == ""
