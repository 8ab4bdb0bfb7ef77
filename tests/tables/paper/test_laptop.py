"""Scale laptop: CIFAR-10 alone, one choice of settings for all methods, work for a CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from compmod.cli import main
from compmod.pretrain.recipes.scales import scaled
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import Comprehensive
from compmod.tables.build import TABLES, build_table, tables_at
from compmod.tables.claims.checked_claims import check_claims
from compmod.tables.commands.options import built, of_methods
from compmod.tables.plan.measured_rates import Rates
from compmod.tables.plan.plan import lacking
from compmod.tables.results.results import Results
from made_up_runs import make_up

HERE = tables_at("laptop")
NAMES = [name + plus for name, entry in METHODS.items() for plus in ("", "+") if entry.plus or not plus]


@pytest.mark.parametrize("name", NAMES)
def test_all_methods_share_one_choice(name: str) -> None:
    run, simclr = scaled(name, "cifar10", "laptop"), scaled("simclr", "cifar10", "laptop")
    assert set(run.views) == set(simclr.views)
    rgb = replace(run.backbone, colours="rgb")  # CMC has two trunks
    assert (
        replace(run, method="simclr", options=(), views=simclr.views, compmod=Comprehensive(), backbone=rgb) == simclr
    )


@pytest.mark.parametrize("number", HERE)
def test_its_tables_are_of_cifar10_alone_and_need_no_gpu(number: int) -> None:
    table = build_table(number, "laptop")
    assert {spec.run.dataset for spec in table.specs} == {"cifar10"}
    assert {view.size for spec in table.specs for view in spec.run.views} == {16}
    steps = lacking([table], {}, Rates())
    assert steps.cpu_hours > 0 == steps.gpu_hours


def test_tables_1_has_its_column_and_two_floors() -> None:
    table = build_table(1, "laptop")
    assert {column.group for column in table.columns} == {"CIFAR-10"}
    assert [row.label for row in table.rows[:2]] == ["raw pixels", "untrained network"]


@pytest.mark.parametrize("number", [number for number in TABLES if number not in HERE])
def test_a_table_of_other_data_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=f"^table {number} has no scale laptop; tables that have it: 1, 4, 6, 7$"):
        build_table(number, "laptop")


def test_other_data_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^scale laptop is for cifar10, not 'stl10'"):
        scaled("simclr", "stl10", "laptop")


def test_no_number_means_the_tables_that_it_has(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert [table.number for table in built((), "laptop", 1, ())] == list(HERE)
    main(["table", "all", "--scale", "laptop", "--runs", str(tmp_path)])
    text = capsys.readouterr().out
    assert [number for number in TABLES if f"### Table {number}," in text] == list(HERE)
    main(["claims", "--scale", "laptop", "--runs", str(tmp_path)])
    assert "not at scale laptop" in capsys.readouterr().out


def test_a_claim_on_other_data_is_not_decided_by_cifar10(tmp_path: Path) -> None:
    tables = [build_table(number, "laptop", seeds=2) for number in HERE]
    make_up(tables, tmp_path)
    found = {one.claim.name: one for one in check_claims(Results(tmp_path), "laptop", 2)}
    assert found["CIFAR, linear: above 2"].compared == 2
    assert "CIFAR-100" in found["CIFAR, linear: above 2"].detail.partition("missing: ")[2]
    assert [found[f"Tiny ImageNet, {name}: about 2.5"].compared for name in ("linear", "5-nn")] == [0, 0]
    assert found["lambda: minimal variation"].compared


def test_a_method_can_be_run_alone() -> None:
    (table,) = of_methods([build_table(1, "laptop", seeds=2)], ["byol+", "byol"])
    assert {(spec.run.method, spec.run.seed) for spec in table.specs} == {
        (name, seed) for name in ("byol", "byol+") for seed in (0, 1)
    }
    assert len(table.rows) == len(build_table(1, "laptop").rows)
    with pytest.raises(ValueError, match=r"^no method 'moco' in these tables; valid: byol, byol\+$"):
        of_methods([table], ["moco"])


def test_methods_are_of_what_is_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["table", "1", "--methods", "simclr", "--runs", str(tmp_path)])
    assert "--methods says which of the missing runs --run does; give both" in capsys.readouterr().err
    main(["plan", "1", "--scale", "demo", "--methods", "simclr", "simclr+", "--json", "--runs", str(tmp_path)])
    assert "byol" not in capsys.readouterr().out
