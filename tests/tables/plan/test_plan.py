"""The plan: what is missing, each once, in order, whatever state the records are in.

After a meant change, renew the golden files with `COMPMOD_RENEW_GOLDEN=1 pytest tests/tables/plan/test_plan.py`,
and read the difference before committing it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from compmod.cli import main
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.run import Run
from compmod.tables.build import TABLES, build_table
from compmod.tables.commands.plan import plan_text
from compmod.tables.paper.table import Table
from compmod.tables.plan.measured_rates import Rates
from compmod.tables.plan.memory import with_memory
from compmod.tables.plan.plan import Plan, Step, lacking, plan
from compmod.tables.plan.progress import Progress
from paths import GOLDEN as GOLDEN_FOLDER

GOLDEN = GOLDEN_FOLDER / "tables"
RATES = Rates()


@pytest.fixture
def table() -> Table:
    """Table 1's first row."""
    whole = build_table(1)
    return replace(whole, rows=whole.rows[:1])


def _run_step(found: Plan, table: Table, index: int = 0) -> Step:
    return next(step for step in found.steps if step.spec.digest == table.specs[index].run.digest)


def _checkpoint(record: Record, update: int) -> None:
    folder = record.path / "checkpoints"
    folder.mkdir(parents=True)
    for earlier in (update // 2, update):
        (folder / f"step-{earlier:09d}.pt").touch()
    (folder / "step-000999999.damaged").touch()


def test_everything_is_missing_from_an_empty_folder(table: Table, tmp_path: Path) -> None:
    found = plan([table], tmp_path, RATES)
    assert len(found.steps) == 2 * len(table.specs)
    assert {step.state for step in found.steps} == {"not run"}


def test_nothing_is_missing_from_a_filled_table(table: Table, tmp_path: Path, finish: Any) -> None:
    for spec in table.specs:
        finish(spec)
    found = plan([table], tmp_path / "runs", RATES)
    assert (found.steps, found.gpu_hours, found.disk_gb) == ((), 0, 0)
    assert plan_text(found, "paper", 1) == "Nothing is missing from table 1 at scale paper, 1 seed."


def test_every_step_comes_after_those_it_needs() -> None:
    found = lacking([build_table(number) for number in (1, 2, 3, 4, 6, 7)], {}, RATES)
    before: set[str] = set()
    for step in found.steps:
        assert set(step.needs) <= before
        before.add(step.spec.digest)
    measured = [step for step in found.steps if not isinstance(step.spec, Run)]
    assert all(step.needs == (step.run.digest,) for step in measured)


def test_what_two_tables_want_is_planned_once_and_names_both() -> None:
    tables = [build_table(1), build_table(6), build_table(7)]
    found = lacking(tables, {}, RATES)
    digests = [step.spec.digest for step in found.steps]
    assert len(digests) == len(set(digests))
    shared = {step.spec.digest for step in found.steps if step.tables == (1, 6)}
    both = {spec.digest for spec in tables[0].specs} & {spec.digest for spec in tables[1].specs}
    assert both
    assert both <= shared


def test_tables_4_6_and_7_add_46_pretrainings_to_those_of_table_1() -> None:
    ablations = [build_table(number) for number in (4, 6, 7)]
    assert sum(len(table.specs) for table in ablations) == 48
    first = build_table(1)
    runs = {spec.run.digest for table in ablations for spec in table.specs}
    assert len(runs & {spec.run.digest for spec in first.specs}) == 2
    steps = lacking([first, *ablations], {}, RATES).steps
    new = [step for step in steps if isinstance(step.spec, Run) and 1 not in step.tables]
    assert len(new) == 46


def test_totals_of_a_table_count_what_it_shares_and_the_overall_total_counts_it_once() -> None:
    found = lacking([build_table(1), build_table(6)], {}, RATES)
    shared = sum(step.gpu_hours for step in found.steps if step.tables == (1, 6))
    of_both = sum(step.gpu_hours for number in (1, 6) for step in found.of_table(number))
    assert shared > 0
    assert of_both - shared == pytest.approx(found.gpu_hours)


def test_a_finished_pretraining_is_not_listed_and_its_measurement_is(table: Table, tmp_path: Path) -> None:
    record = Record(tmp_path, table.specs[0].run)
    record.start()
    record.finish({}, {})
    found = plan([table], tmp_path, RATES)
    assert record.spec.digest not in {step.spec.digest for step in found.steps}
    step = next(step for step in found.steps if step.spec == table.specs[0])
    assert (step.needs, step.state) == ((), "not run")


def test_a_failed_pretraining_is_planned_as_failed_and_its_measurement_as_not_run(table: Table, tmp_path: Path) -> None:
    record = Record(tmp_path, table.specs[0].run)
    record.start()
    record.fail("loss is not finite")
    first, second, *_ = plan([table], tmp_path, RATES).steps
    assert (first.spec, first.state) == (record.spec, "failed")
    assert (second.spec, second.state) == (table.specs[0], "not run")


def test_a_failed_measurement_of_a_finished_run_is_planned_alone(table: Table, tmp_path: Path, finish: Any) -> None:
    record = finish(table.specs[0])
    (record.path / "results.json").unlink()
    record.fail("no disk")
    steps = plan([table], tmp_path / "runs", RATES).steps
    assert (steps[0].spec, steps[0].state) == (table.specs[0], "failed")


def test_a_run_in_progress_is_running(table: Table, tmp_path: Path) -> None:
    record = Record(tmp_path, table.specs[0].run)
    record.start()
    with record.lock():
        assert _run_step(plan([table], tmp_path, RATES), table).state == "running"


def test_an_unfinished_run_says_how_far_it_is_and_costs_what_is_left(table: Table, tmp_path: Path) -> None:
    record = Record(tmp_path, table.specs[0].run)
    whole = _run_step(plan([table], tmp_path, RATES), table).gpu_hours
    record.start()
    _checkpoint(record, record.spec.updates // 4)
    found = plan([table], tmp_path, RATES)
    step = _run_step(found, table)
    assert (step.state, step.progress) == ("unfinished", pytest.approx(0.25))
    assert step.gpu_hours == pytest.approx(0.75 * whole)
    assert "(seed 0: epoch 250 of 1000)" in plan_text(found, "paper", 1)


def test_the_plan_needs_no_folder_given_how_far_everything_is(table: Table) -> None:
    first, second, *others = table.specs
    found = lacking(
        [table],
        {
            first.digest: Progress("done"),
            second.run.digest: Progress("unfinished", second.run.updates),
            second.digest: Progress("failed"),
        },
        RATES,
    )
    assert [step.spec for step in found.steps[:2]] == [second.run, second]
    assert [step.state for step in found.steps[:2]] == ["unfinished", "failed"]
    assert found.steps[0].gpu_hours == 0
    assert len(found.steps) == 2 + 2 * len(others)


@pytest.mark.parametrize("content", ["{", "[]", "", '{"linear/top1": 2.0, "knn/top1": 0.4}', "\x00"])
def test_a_damaged_measurement_is_listed_with_its_path_and_not_planned(
    content: str, table: Table, tmp_path: Path, finish: Any
) -> None:
    file = finish(table.specs[0]).path / "results.json"
    file.write_text(content)
    found = plan([table], tmp_path / "runs", RATES)
    assert table.specs[0] not in [step.spec for step in found.steps]
    assert [str(file) in sentence for sentence in found.damaged] == [True]
    assert found.held_back == 1
    assert f"  damaged record {file}: " in plan_text(found, "paper", 1)


@pytest.mark.parametrize("metric", ["linear/top1", "knn/top1"])
def test_a_measurement_with_one_damaged_metric_is_damaged(
    metric: str, table: Table, tmp_path: Path, finish: Any
) -> None:
    finish(table.specs[0], **{metric.partition("/")[0]: None})
    assert plan([table], tmp_path / "runs", RATES).held_back == 1


def test_a_damaged_pretraining_holds_back_what_would_measure_it(table: Table, tmp_path: Path) -> None:
    record = Record(tmp_path, table.specs[0].run)
    record.start()
    (record.path / "results.json").write_text("{")
    found = plan([table], tmp_path, RATES)
    assert record.spec.digest not in {step.run.digest for step in found.steps}
    assert (found.held_back, len(found.damaged)) == (1, 1)
    assert str(record.path) in found.damaged[0]


def test_a_folder_in_place_of_the_results_is_damaged(table: Table, tmp_path: Path) -> None:
    (Record(tmp_path, table.specs[0].run).path / "results.json").mkdir(parents=True)
    assert plan([table], tmp_path, RATES).held_back == 1


def test_a_damaged_provenance_beside_a_sound_number_asks_for_nothing(table: Table, tmp_path: Path, finish: Any) -> None:
    for spec in table.specs:
        (finish(spec).path / "provenance.json").write_text("{")
    found = plan([table], tmp_path / "runs", RATES)
    assert (found.steps, found.damaged) == ((), ())


def test_the_json_has_every_step_and_the_totals() -> None:
    found = lacking([build_table(1), build_table(6)], {}, RATES)
    document = json.loads(found.to_json())
    assert [step["digest"] for step in document["steps"]] == [step.spec.digest for step in found.steps]
    assert document["steps"][1]["needs"] == [document["steps"][0]["digest"]]
    assert document["totals"]["all"]["gpu_hours"] == pytest.approx(found.gpu_hours, abs=1e-3)
    assert document["totals"]["6"]["pretrainings"] == 16
    assert "not measured" in document["hours_are"]


@pytest.mark.parametrize("scale", ["paper", "demo"])
def test_the_plan_of_two_tables_reads_as_the_golden_file_has_it(scale: Any, tmp_path: Path, finish: Any) -> None:
    tables = [build_table(number, scale, seeds=2) for number in (1, 7)]
    runs = tmp_path / "runs"
    for count, spec in enumerate(tables[0].specs):
        record = Record(runs, spec.run)
        if count % 7 == 0:
            finish(spec)
        elif count % 7 == 1:
            record.start()
            record.fail("loss is not finite")
        elif count == 2:
            record.start()
            _checkpoint(record, spec.run.updates // 3)
        elif count == 3:
            (finish(spec).path / "results.json").write_text("{")
    found = plan(tables, runs, RATES)
    lines = plan_text(found, scale, 2).replace(str(tmp_path), "TMP").splitlines()
    text = "\n".join(_masked(line).rstrip() for line in lines) + "\n"
    golden = GOLDEN / f"plan-{scale}.txt"
    if os.environ.get("COMPMOD_RENEW_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8"), (
        f"{golden.name} differs; if the change is meant, run COMPMOD_RENEW_GOLDEN=1 pytest {__file__}"
    )


@pytest.mark.parametrize("scale", ["paper", "short", "demo"])
def test_the_plan_of_everything_fits_a_terminal_of_80_columns(scale: Any, tmp_path: Path) -> None:
    copies = {} if scale == "demo" else {"cifar10": "cifar10-jpeg", "imagenet": "small-side-160", "coco": "coco-mini"}
    tables = [build_table(number, scale, seeds=3, copies=copies) for number in TABLES]
    for run in [spec.run for spec in tables[3].specs][:9]:  # some that were begun, of several seeds and settings
        Record(tmp_path, run).start()
        _checkpoint(Record(tmp_path, run), run.updates // 2)
    found = with_memory(plan(tables, tmp_path, RATES), lambda step: 8, count=False)
    text = plan_text(found, scale, 3)
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert len(re.findall(r"seed [0-2]: epoch", " ".join(text.split()))) == 9


def _masked(line: str) -> str:
    """A damaged record's path without its digests, and without Python's own words on what is wrong."""
    return "  damaged record TMP/<path>" if line.startswith("  damaged record TMP/") else line


def test_the_command_plans_all_tables_unless_told_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "--runs", str(tmp_path)])
    everything = ", ".join(map(str, TABLES))
    assert capsys.readouterr().out.startswith(f"Missing from tables {everything} at scale paper, 1 seed:\n")
    main(["plan", "7", "1", "7", "--scale", "short", "--seeds", "3", "--runs", str(tmp_path)])
    assert capsys.readouterr().out.startswith("Missing from tables 7, 1 at scale short, 3 seeds:\n")


def test_the_command_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "1", "--json", "--runs", str(tmp_path)])
    assert len(json.loads(capsys.readouterr().out)["steps"]) == 2 * len(build_table(1).specs)


def test_the_command_plans_for_copies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "5", "--copies", "coco=coco-mini", "--json", "--runs", str(tmp_path)])
    steps = {step["digest"] for step in json.loads(capsys.readouterr().out)["steps"]}
    assert {spec.digest for spec in build_table(5, copies={"coco": "coco-mini"}).specs} <= steps


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["99"], "unknown table 99; known: 1, 2, 3, 4, 5, 6, 7"),
        (["one"], "one"),
        (["--seeds", "0"], "seeds must be from 1 to 1000, not 0"),
        (["--scale", "tiny"], "paper"),
        (["--hardware", "abacus"], "no finished run on 'abacus'; measured: no GPU yet"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leave:
        main(["plan", *arguments, "--runs", str(tmp_path)])
    said = capsys.readouterr()
    assert leave.value.code == 2
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert words in said.err


def test_planning_imports_neither_torch_nor_pandas_nor_scipy(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from compmod.cli import main\n"
        "main(['plan'])\n"
        "heavy = {'torch', 'torchvision', 'matplotlib', 'sklearn', 'scipy', 'pandas', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
