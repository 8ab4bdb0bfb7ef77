"""reproduce turns a spec into results once; run_table fills a table and survives failures."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from compmod.pretrain.data import identity as data_identity
from compmod.pretrain.records.provenance import provenance
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.measurement import Evaluation, FineTuning, Measurement
from compmod.pretrain.specs.run import Run
from compmod.tables.build import build_table
from compmod.tables.commands.demo import demo_table
from compmod.tables.paper.table import Table
from compmod.tables.render.render import render
from compmod.tables.reproduce import reproduce, run_table, run_tables
from one_cell_tables import tiny_run


class Work:
    """Stands in for the trainer and the probes: notes every call and writes records at once."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.broken: set[str] = set()

    def train(self, spec: Run, runs: Path, data: Path, session: Any) -> Record:
        self.calls.append(("train", spec.folder))
        record = Record(runs, spec)
        record.start()
        if spec.folder in self.broken:
            record.fail("loss is nan")
            raise ValueError("loss is nan at\nstep 3")
        record.finish({}, {})
        return record

    def evaluate(self, runs: Path, spec: Evaluation, data: Path, session: Any) -> Record:
        self.calls.append(("evaluate", spec.folder))
        record = Record(runs, spec)
        record.start()
        record.finish({"linear/top1": 0.5, "knn/top1": 0.5}, {})
        return record

    def fine_tune(self, runs: Path, spec: FineTuning, data: Path, session: Any) -> Record:
        self.calls.append(("fine-tune", spec.folder))
        if spec.folder in self.broken:
            raise RuntimeError("no list of 1 %")
        record = Record(runs, spec)
        record.start()
        record.finish({"top1": 0.5, "top5": 0.9}, {})
        return record


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work()
    trainer, probe, finetune = ModuleType("trainer"), ModuleType("probe"), ModuleType("finetune")
    trainer.train = work.train  # type: ignore[attr-defined]
    probe.evaluate = work.evaluate  # type: ignore[attr-defined]
    finetune.fine_tune = work.fine_tune  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "compmod.pretrain.trainer", trainer)
    monkeypatch.setitem(sys.modules, "compmod.pretrain.evaluate.probe", probe)
    monkeypatch.setitem(sys.modules, "compmod.pretrain.evaluate.finetune", finetune)
    return work


def _finish_on(spec: Any, runs: Path, digest: str) -> None:
    for each in (spec.run, spec):
        record = Record(runs, each)
        record.start()
        record.finish({"linear/top1": 0.5, "knn/top1": 0.5}, {"splits": {"train": digest}})


@pytest.fixture
def cifar(monkeypatch: pytest.MonkeyPatch) -> tuple[Table, list[str]]:
    """Table 1 on a copy of CIFAR-10 that is there, and the splits of it that were read."""
    reads: list[str] = []

    def there(entry: Any, root: Path, copy: str = "") -> bool:
        return entry.name == "cifar10"

    def read(entry: Any, split: str, root: Path, *, copy: str = "") -> Any:
        reads.append(f"{entry.name} {copy} {split}")
        return SimpleNamespace(digest="a" * 64)

    monkeypatch.setattr(data_identity, "is_there", there)
    monkeypatch.setattr(data_identity, "read", read)
    return build_table(1, copies={"cifar10": "mine"}), reads


def test_the_data_of_finished_cells_are_compared_once_for_all(
    work: Work, cifar: tuple[Table, list[str]], tmp_path: Path
) -> None:
    table, reads = cifar
    for spec in table.specs:
        _finish_on(spec, tmp_path, "a" * 64)
    run_table(table, tmp_path, tmp_path)
    assert reads == ["cifar10 mine train"]
    assert work.calls == []


def test_nothing_runs_on_data_that_are_others_than_those_of_finished_cells(
    work: Work, cifar: tuple[Table, list[str]], tmp_path: Path
) -> None:
    table, _ = cifar
    mine = [spec for spec in table.specs if spec.run.dataset == "cifar10"]
    for spec in mine[:3]:
        _finish_on(spec, tmp_path, "b" * 64)
    with pytest.raises(ValueError, match=r"1 of .* is of other data: .*bbbbbbbbbbbb and now have aaaaaaaaaaaa"):
        run_table(table, tmp_path, tmp_path)
    assert work.calls
    assert not [folder for _, folder in work.calls if "-cifar10-" in folder]


@pytest.fixture
def table() -> Table:
    return demo_table()


def test_a_spec_is_trained_then_evaluated(work: Work, table: Table, tmp_path: Path) -> None:
    spec = table.specs[0]
    record = reproduce(spec, tmp_path, tmp_path, "cpu")
    assert work.calls == [("train", spec.run.folder), ("evaluate", spec.folder)]
    assert record.status == "done"


def test_a_finished_spec_is_not_touched_again(work: Work, table: Table, tmp_path: Path) -> None:
    reproduce(table.specs[0], tmp_path, tmp_path, "cpu")
    work.calls.clear()
    reproduce(table.specs[0], tmp_path, tmp_path, "cpu")
    assert work.calls == []


def test_a_finished_pretraining_is_only_evaluated(work: Work, table: Table, tmp_path: Path) -> None:
    spec = table.specs[0]
    work.train(spec.run, tmp_path, tmp_path, session={})
    work.calls.clear()
    reproduce(spec, tmp_path, tmp_path, "cpu")
    assert work.calls == [("evaluate", spec.folder)]


def test_a_damaged_evaluation_is_made_again(work: Work, table: Table, tmp_path: Path) -> None:
    spec = table.specs[0]
    (reproduce(spec, tmp_path, tmp_path, "cpu").path / "results.json").write_text("{")
    work.calls.clear()
    assert reproduce(spec, tmp_path, tmp_path, "cpu").status == "done"
    assert work.calls == [("evaluate", spec.folder)]


def test_a_table_trains_each_run_once_though_two_columns_need_it(work: Work, table: Table, tmp_path: Path) -> None:
    run_table(table, tmp_path, tmp_path, "cpu")
    trained = [folder for kind, folder in work.calls if kind == "train"]
    assert trained == list(dict.fromkeys(spec.run.folder for spec in table.specs))


def test_only_what_is_missing_is_run_and_counted(
    work: Work, table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for spec in table.specs[:-1]:
        reproduce(spec, tmp_path, tmp_path, "cpu")
    run_table(table, tmp_path, tmp_path, "cpu")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("[1/1] BarlowTwins+, seed 0")


def test_a_failed_run_stops_no_other_and_is_named_in_one_error_at_the_end(
    work: Work, table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = table.specs[2].run.folder
    work.broken.add(broken)
    with pytest.raises(ValueError, match=r"^1 of table 1's runs failed: ") as error:
        run_table(table, tmp_path, tmp_path, "cpu")
    assert f"{broken}: loss is nan at step 3" in str(error.value)
    assert "\n" not in str(error.value)
    done = [spec for spec in table.specs if Record(tmp_path, spec).status == "done"]
    assert len(done) == len(table.specs) - 1
    assert "failed: loss is nan at step 3" in capsys.readouterr().err


def test_an_interrupt_stops_the_table(work: Work, table: Table, tmp_path: Path, monkeypatch: Any) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["compmod.pretrain.trainer"], "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_table(table, tmp_path, tmp_path, "cpu")


@pytest.fixture
def three_tables() -> list[Table]:
    return [build_table(number, "demo") for number in (1, 2, 3)]


def test_a_fine_tuning_is_pretrained_then_fine_tuned(work: Work, tmp_path: Path) -> None:
    spec = build_table(3, "demo").specs[0]
    record = reproduce(spec, tmp_path, tmp_path, "cpu")
    assert work.calls == [("train", spec.run.folder), ("fine-tune", spec.folder)]
    assert record.status == "done"


def test_a_run_alone_is_only_pretrained(work: Work, table: Table, tmp_path: Path) -> None:
    run = table.specs[0].run
    record = reproduce(run, tmp_path, tmp_path, "cpu")
    assert work.calls == [("train", run.folder)]
    assert record.status == "done"


def test_tables_train_a_run_that_they_share_once_and_measure_it_by_all_their_protocols(
    work: Work, three_tables: list[Table], tmp_path: Path
) -> None:
    run_tables(three_tables, tmp_path, tmp_path, "cpu")
    runs = {spec.run.folder for table in three_tables for spec in table.specs}
    trained = [folder for kind, folder in work.calls if kind == "train"]
    measured = [folder for kind, folder in work.calls if kind != "train"]
    assert sorted(trained) == sorted(runs)
    assert sorted(measured) == sorted({spec.folder for table in three_tables for spec in table.specs})


def test_a_run_is_measured_right_after_its_training_by_the_same_process(
    work: Work, three_tables: list[Table], tmp_path: Path
) -> None:
    run_tables(three_tables, tmp_path, tmp_path, "cpu")
    order = list(dict.fromkeys(folder.partition("/")[0] for _, folder in work.calls))
    changes = [folder.partition("/")[0] for _, folder in work.calls]
    assert sum(a != b for a, b in itertools.pairwise(changes)) == len(order) - 1


def test_a_measurement_that_fails_stops_no_other_of_its_run(
    work: Work, three_tables: list[Table], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, *others = _measurements_of_first_run(three_tables)
    work.broken.add(broken.folder)
    with pytest.raises(ValueError, match=r"^1 of the runs of tables 1, 2, 3 failed: ") as error:
        run_tables(three_tables, tmp_path, tmp_path, "cpu")
    assert f"{broken.folder}: no list of 1 %" in str(error.value)
    assert others
    assert [Record(tmp_path, spec).status for spec in others] == ["done"] * len(others)


def test_a_run_that_fails_fails_its_measurements_for_one_reason_named_once(
    work: Work, three_tables: list[Table], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measurements = _measurements_of_first_run(three_tables)
    work.broken.add(measurements[0].run.folder)
    with pytest.raises(ValueError, match=r"^1 of the runs of tables 1, 2, 3 failed: ") as error:
        run_tables(three_tables, tmp_path, tmp_path, "cpu")
    assert str(error.value).count("loss is nan") == 1
    assert capsys.readouterr().err.count("failed: loss is nan at step 3") == len(measurements) == 4
    assert sum(folder == measurements[0].run.folder for _, folder in work.calls) == 1


def test_progress_counts_every_measurement_of_all_tables(
    work: Work, three_tables: list[Table], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_tables(three_tables, tmp_path, tmp_path, "cpu")
    wanted = len({spec.digest for table in three_tables for spec in table.specs})
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" ")[0] for line in lines] == [f"[{count}/{wanted}]" for count in range(1, wanted + 1)]


def _measurements_of_first_run(tables: list[Table]) -> list[Measurement]:
    """Of Table 3's first run, its own first: what the three tables measure of it."""
    run = tables[-1].specs[0].run
    return [spec for table in reversed(tables) for spec in table.specs if spec.run == run]


@pytest.mark.slow
def test_two_processes_fill_tables_that_share_a_run_by_real_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = [_tiny(build_table(number, "demo"), ("SimCLR", "BarlowTwins+", "Barlow Twins+")) for number in (1, 2, 3)]
    run_tables(tables, tmp_path / "runs", tmp_path, workers=2)
    specs = {spec.digest: spec for table in tables for spec in table.specs}.values()
    assert (len(specs), len({spec.run.digest for spec in specs})) == (8, 2)
    assert {Record(tmp_path / "runs", spec).status for spec in specs} == {"done"}
    assert capsys.readouterr().err.count(": done in ") == 8
    here = provenance(next(iter(specs)), seconds=1, device="cpu")["command"]
    assert {(Record(tmp_path / "runs", spec).provenance or {})["command"] for spec in specs} == {here}


def _tiny(table: Table, labels: tuple[str, ...]) -> Table:
    """These rows alone, with runs and measurements of a second."""
    rows = []
    for row in table.rows:
        if row.label in labels:
            cells = tuple(replace(cell, specs=tuple(map(_tiny_spec, cell.specs))) for cell in row.cells)
            rows.append(replace(row, cells=cells))
    return replace(table, rows=tuple(rows))


def _tiny_spec(spec: Measurement) -> Measurement:
    run = replace(spec.run, epochs=min(spec.run.epochs, 1), batch_size=32, train_images=64)
    if isinstance(spec, FineTuning):
        return replace(spec, run=run, epochs=1, share=min(1.0, 0.5 + spec.share), batch_size=16)
    return replace(spec, run=run, linear_epochs=1)


def test_a_table_is_filled_by_real_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = ("raw pixels", "untrained network", "SimCLR", "SimCLR+")
    table = _tiny(demo_table(), labels)
    run_table(table, tmp_path / "runs", tmp_path)
    assert capsys.readouterr().err.count(": done in ") == len(table.specs) == 4
    text = render(table, tmp_path / "runs")
    for row in table.rows:
        if row.cells[0].specs:
            line = next(line for line in text.splitlines() if line.startswith(f"| {row.label} "))
            assert line.count("(n=1)") == 2, line


@pytest.mark.slow
def test_two_processes_that_pretrain_and_then_measure_meet_once(tmp_path: Path) -> None:
    spec = Evaluation(run=tiny_run(0), linear_epochs=1)
    program = tmp_path / "program.py"
    program.write_text(
        "from pathlib import Path\n"
        "import torch.distributed as dist\n"
        "from compmod.pretrain.specs.measurement import Evaluation\n"
        "from compmod.tables.reproduce import reproduce\n"
        "from one_cell_tables import tiny_run\n"
        "meet, met = dist.init_process_group, []\n"
        "dist.init_process_group = lambda *given, **named: (met.append(1), meet(*given, **named))\n"
        "reproduce(Evaluation(run=tiny_run(0), linear_epochs=1), Path('runs'), Path('data'), 'cpu', quiet=True)\n"
        "assert len(met) == 1, f'met {len(met)} times'\n"
    )
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launcher, str(program)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert [Record(tmp_path / "runs", part).status for part in (spec.run, spec)] == ["done", "done"]
    assert (Record(tmp_path / "runs", spec).provenance or {})["processes"] == 2
