"""reproduce turns a spec into results once; run_table fills a table and survives failures."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from compmod.pretrain.record import Record
from compmod.pretrain.run import Evaluation, Run
from compmod.tables.demo import demo_table
from compmod.tables.render import render
from compmod.tables.reproduce import reproduce, run_table
from compmod.tables.table import Table


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

    def evaluate(self, runs: Path, spec: Evaluation, root: Path, device: str, workers: int) -> Record:
        self.calls.append(("evaluate", spec.folder))
        record = Record(runs, spec)
        record.start()
        record.finish({"linear/top1": 0.5, "knn/top1": 0.5}, {})
        return record


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work()
    trainer, probe = ModuleType("trainer"), ModuleType("probe")
    trainer.train = work.train  # type: ignore[attr-defined]
    probe.evaluate = work.evaluate  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "compmod.pretrain.trainer", trainer)
    monkeypatch.setitem(sys.modules, "compmod.pretrain.evaluate.probe", probe)
    return work


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


@pytest.mark.parametrize("workers", [1, 2])
def test_a_table_is_filled_by_real_training(workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = demo_table()
    tiny = {
        spec.digest: replace(
            spec,
            linear_epochs=1,
            run=replace(spec.run, epochs=min(spec.run.epochs, 1), batch_size=32, train_images=64, views=spec.run.views),
        )
        for spec in whole.specs
    }
    rows = tuple(
        replace(row, cells=tuple(replace(cell, specs=tuple(tiny[s.digest] for s in cell.specs)) for cell in row.cells))
        for row in whole.rows
    )
    table = replace(whole, rows=rows)
    run_table(table, tmp_path / "runs", tmp_path, workers=workers)
    assert capsys.readouterr().err.count(": done in ") == len(table.specs) == 8
    text = render(table, tmp_path / "runs")
    for row in table.rows:
        if row.cells[0].specs:
            line = next(line for line in text.splitlines() if line.startswith(f"| {row.label} "))
            assert line.count("(n=1)") == 2, line
