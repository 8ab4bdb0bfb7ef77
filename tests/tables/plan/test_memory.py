"""The memory of runs in a plan: which figure belongs to which run, where it is kept, and that it is still true."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from compmod.cli import main
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Backbone, Run
from compmod.tables.build import TABLES, build_table
from compmod.tables.commands.plan import OLDER, plan_text
from compmod.tables.plan import memory
from compmod.tables.plan.measured_rates import Rates
from compmod.tables.plan.memory import (
    CONTEXT_BYTES,
    GIBIBYTE,
    NCCL_BYTES,
    SHIPPED,
    SPARE,
    Demand,
    default_processes,
    peaks,
    total_gib,
    with_memory,
)
from compmod.tables.plan.plan import lacking
from copied_sources import copied_sources
from counted_memory import count_by
from small_runs import small

RUN = preset("simclr+", "cifar10")
LARGE = preset("simclr", "imagenet")


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Demand]:
    """An empty cache, and what is asked of the process that counts, which says 4 GiB for one process."""
    return count_by(lambda demand: 4 * GIBIBYTE // demand.processes, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "other",
    [
        replace(RUN, seed=3),
        replace(RUN, epochs=7),
        replace(RUN, copy="mine"),
        replace(RUN, optimizer=replace(RUN.optimizer, lr=0.5, weight_decay=0.1)),
        replace(RUN, schedule=replace(RUN.schedule, warmup_steps=3)),
        replace(RUN, compmod=replace(RUN.compmod, lambda1=0.5, lambda2=3.0)),
    ],
)
def test_runs_that_take_the_same_memory_share_a_figure(other: Run) -> None:
    assert other.digest != RUN.digest
    assert Demand(other).key == Demand(RUN).key


@pytest.mark.parametrize(
    "other",
    [
        Demand(replace(RUN, batch_size=256)),
        Demand(replace(RUN, precision="float64")),
        Demand(replace(RUN, backbone=replace(RUN.backbone, width=32))),
        Demand(replace(RUN, views=RUN.views * 2)),
        Demand(replace(RUN, projector=replace(RUN.projector, hidden=7))),
        Demand(replace(RUN, optimizer=replace(RUN.optimizer, name="sgd"))),
        Demand(replace(RUN, compmod=replace(RUN.compmod, hypergradient="unrolled"))),
        Demand(preset("simclr", "cifar10")),
        Demand(RUN, 2),
        Demand(RUN, recompute=True),
    ],
)
def test_a_change_of_what_takes_memory_has_a_figure_of_its_own(other: Demand) -> None:
    assert other.key != Demand(RUN).key


def test_the_tables_ask_for_the_same_figures_at_both_scales() -> None:
    keys = [
        {
            Demand(spec.run, default_processes(spec.run)).key
            for number in TABLES
            for spec in build_table(number, scale).specs
        }
        for scale in ("paper", "short")
    ]
    assert keys[0] == keys[1]


@pytest.mark.slow  # it fails until the file is renewed, which takes minutes: once before a release
def test_the_package_has_a_figure_for_every_run_of_the_tables() -> None:
    figures = json.loads(SHIPPED.read_text())["bytes"]
    lacking = {
        str(demand)
        for number in TABLES
        for spec in build_table(number).specs
        if (demand := Demand(spec.run, default_processes(spec.run))).key not in figures
    }
    assert not lacking, "renew them by: python -m compmod.tables.plan.memory"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swav", "simclr", "byol+"])
def test_a_figure_of_the_package_is_what_is_counted_today(name: str) -> None:
    from compmod.pretrain.memory import peak_bytes

    run = build_run(name)
    figure = json.loads(SHIPPED.read_text())["bytes"][Demand(run).key]
    assert peak_bytes(run) == pytest.approx(figure, rel=0.01), "renew them by: python -m compmod.tables.plan.memory"


def build_run(name: str) -> Run:
    """The run of a method on CIFAR-10 in Table 1."""
    runs = (spec.run for spec in build_table(1).specs)
    return next(run for run in runs if run.method == name and run.dataset == "cifar10")


def test_what_is_not_known_is_counted_once_and_kept(counted: list[Demand], capsys: pytest.CaptureFixture[str]) -> None:
    alone, several = Demand(RUN), Demand(LARGE, 8)
    expected = {alone: total_gib(4 * GIBIBYTE, 1), several: total_gib(GIBIBYTE // 2, 8)}
    assert peaks([alone, several, alone]) == expected
    assert counted == [alone, several]
    assert "counting the memory of 2 runs; kept in " in capsys.readouterr().err
    assert peaks([several, Demand(replace(RUN, seed=9))]) == {
        several: expected[several],
        Demand(replace(RUN, seed=9)): expected[alone],
    }
    assert counted == [alone, several]
    assert capsys.readouterr().err == ""


def test_what_was_counted_with_other_code_is_counted_again(
    counted: list[Demand], monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks([Demand(RUN)])
    monkeypatch.setattr(memory, "_code", lambda run: "another")
    peaks([Demand(RUN)])
    assert counted == [Demand(RUN), Demand(RUN)]


def test_a_damaged_file_of_figures_is_named(counted: list[Demand]) -> None:
    peaks([Demand(RUN)])
    memory._kept().write_text('{"bytes": {"a": "many"}}')
    with pytest.raises(ValueError, match=r"memory\.json: expected whole numbers of bytes by key; remove the file"):
        peaks([Demand(RUN)])


def test_runs_that_need_no_gpu_have_no_figure(counted: list[Demand]) -> None:
    assert peaks([Demand(preset("simclr", "digits")), Demand(replace(RUN, epochs=0))]) == {}
    assert counted == []


@pytest.mark.slow
def test_another_process_counts_so_that_this_one_needs_no_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run = replace(small("simclr"), dataset="cifar10", backbone=Backbone(name="resnet10", width=24))
    good, bad = Demand(run), Demand(run, 5)
    found = peaks([good, bad])
    assert list(found) == [good]
    assert 0.7 < found[good] < 2
    assert "cannot be shared equally by 5 processes" in capsys.readouterr().err


def test_a_gpu_needs_more_than_what_is_counted() -> None:
    assert total_gib(10 * GIBIBYTE, 1) == pytest.approx(10 * (1 + SPARE) + CONTEXT_BYTES / GIBIBYTE)
    assert total_gib(10 * GIBIBYTE, 2) == pytest.approx(total_gib(10 * GIBIBYTE, 1) + NCCL_BYTES / GIBIBYTE)


def test_large_images_are_shared_by_the_gpus_of_a_node_as_far_as_they_divide_the_batch() -> None:
    assert default_processes(RUN) == 1
    assert default_processes(LARGE) == 8
    assert default_processes(replace(LARGE, batch_size=4095), 8) == 7
    assert default_processes(replace(LARGE, norm_groups=16), 8) == 16


def test_the_plan_shows_gpus_and_memory_of_the_largest_run_of_a_line(counted: list[Demand]) -> None:
    planned = with_memory(lacking([build_table(1)], {}, Rates()), lambda step: 1)
    assert {step.memory_gib for step in planned.steps if step.spec.kind == "pretraining"} == {
        total_gib(4 * GIBIBYTE, 1)
    }
    assert {step.memory_gib for step in planned.steps if step.spec.kind != "pretraining"} == {0.0}
    text = plan_text(planned, "paper", 1)
    assert [line.split()[-1] for line in text.splitlines()[2:4]] == ["GPUs", "GiB"]
    assert text.splitlines()[5].endswith("1 x 5")
    assert "Memory: of each GPU, counted without one" in text


def test_the_plan_counts_nothing_unasked_and_says_so(
    counted: list[Demand], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["plan", "1", "--runs", str(tmp_path)])
    said = capsys.readouterr().out
    runs = {spec.run.digest for spec in build_table(1).specs}
    assert counted == []
    assert f"It is not known of {len(runs)} runs: --count-memory counts it, seconds a run." in said
    assert said.splitlines()[5].endswith("–")


def test_figures_of_other_code_are_marked(counted: list[Demand], tmp_path: Path) -> None:
    planned = with_memory(lacking([build_table(1)], {}, Rates()), lambda step: 1)
    codes = memory._codes(step.run for step in planned.steps)
    (tmp_path / "none.json").write_text(json.dumps({"code": codes, "bytes": {}}))
    assert OLDER not in plan_text(planned, "paper", 1)
    (tmp_path / "none.json").write_text(json.dumps({"code": codes | {"byol cifar10": "another"}, "bytes": {}}))
    assert OLDER in plan_text(planned, "paper", 1)


def test_only_other_code_of_a_runs_own_step_makes_its_figure_old(tmp_path: Path) -> None:
    byol = preset("byol+", "cifar10")
    with copied_sources(tmp_path) as edit:
        before = memory._codes([RUN, LARGE, byol])
        edit("pretrain/networks/resnet.py", "class ResNet(", "# words\nclass ResNet(")
        (tmp_path / "pretrain" / "methods" / "new.py").write_text("class New: ...\n")
        assert memory._codes([RUN, LARGE, byol]) == before
        edit("pretrain/methods/simclr.py", "self.temperature = temperature", "self.temperature = temperature + 0")
        after = memory._codes([RUN, LARGE, byol])
        assert [name for name in before if after[name] != before[name]] == ["simclr+ cifar10", "simclr imagenet"]
        for file, old, new in (
            ("pretrain/memory.py", "BLOCK = 512", "BLOCK = 1024"),
            ("pretrain/training/session.py", "kept_share: Share = 0.8", "kept_share: Share = 0.9"),
        ):
            before = memory._codes([RUN, LARGE, byol])
            edit(file, old, new)
            after = memory._codes([RUN, LARGE, byol])
            assert all(after[name] != before[name] for name in before)


def test_the_command_shows_memory_by_gpus_and_recomputation(
    counted: list[Demand], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["plan", "2", "--gpus", "4", "--recompute", "--count-memory", "--json", "--runs", str(tmp_path)])
    steps = json.loads(capsys.readouterr().out)["steps"]
    of_runs = [step for step in steps if step["kind"] == "pretraining"]
    assert {(step["processes"], step["gpu_memory_gib"]) for step in of_runs} == {(4, round(total_gib(GIBIBYTE, 4), 2))}
    assert all(step["gpu_memory_gib"] is None for step in steps if step["kind"] != "pretraining")
    assert all(demand.recompute and demand.processes == 4 for demand in counted)
