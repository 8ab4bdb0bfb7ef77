"""Records with made-up results, so that tables can be rendered without training anything, and a table of every case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compmod.pretrain.records.fingerprint import fingerprint
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.measurement import Evaluation
from compmod.pretrain.specs.run import Run
from compmod.tables.paper.printed import Printed
from compmod.tables.paper.table import BESIDE, Cell, Column, Row, Table

Finish = Callable[..., Record]


@pytest.fixture
def finish(tmp_path: Path) -> Finish:
    """Write a finished evaluation and its run below tmp_path/runs; accuracies are shares from 0 to 1.

    `entries` replace those of both provenances.
    """

    def write(spec: Evaluation, linear: float = 0.5, knn: float = 0.4, **entries: Any) -> Record:
        run = Record(tmp_path / "runs", spec.run)
        record = Record(tmp_path / "runs", spec)
        for each, seconds in ((run, 12.0), (record, 3.0)):
            provenance = {
                "seconds": seconds,
                "git": {"commit": "0123456789abcdef", "dirty": True},
                "hardware": {"cpu": "a processor", "threads": 2},
                "source": fingerprint(each.spec),
            } | entries
            each.start()
            each.finish({"linear/top1": linear, "knn/top1": knn}, provenance)
        return record

    return write


def _seeds(method: str, *, epochs: int = 1000) -> tuple[Evaluation, ...]:
    runs = (Run(method=method, dataset="cifar10", epochs=epochs, seed=seed) for seed in range(3))
    return tuple(Evaluation(run=run) for run in runs)


def _row(label: str, method: str, epochs: str, linear: Printed | None, knn: str, why_empty: str = "") -> Row:
    specs = () if why_empty else _seeds(method, epochs=int(epochs))
    cells = (
        Cell(metric="epochs", paper=Printed("1000"), fact=epochs),
        Cell(metric="linear/top1", paper=linear, specs=specs, why_empty=why_empty),
        Cell(metric="knn/top1", paper=Printed(knn), specs=specs, why_empty=why_empty),
        Cell(metric="AP", paper=Printed("38.2"), why_empty=why_empty or "waits for the detector"),
    )
    return Row(label=label, method=method, cells=cells)


@pytest.fixture
def every_case() -> Table:
    """A table with a column of settings, two judged columns of one data set, one of another unit, and a cited row."""
    columns = (
        Column(group="", name="Epochs", heading="Pretraining", parts=BESIDE, unit="fact"),
        Column(group="CIFAR-10", name="linear", heading="CIFAR-10"),
        Column(group="CIFAR-10", name="5-nn", heading="CIFAR-10"),
        Column(group="COCO", name="AP", heading="Object detection", unit="AP"),
    )
    rows = (
        _row("SimCLR", "simclr", "1000", Printed("90.1"), "85.0"),
        _row("SimCLR+", "simclr+", "1000", Printed("90.2", bold=True), "86.0"),
        _row("BYOL", "byol", "500", None, "87.0"),
        _row("MoCo & Co_1", "moco", "1000", Printed("90.3"), "88.0", "cited, 100 % theirs"),
    )
    notes = ("A note with `code --here`, 5 % & more: <b>, α_1 = {±15°}.",)
    return Table(number=9, title="Top-1 (%)", scale="short", columns=columns, rows=rows, cost="an hour", notes=notes)
