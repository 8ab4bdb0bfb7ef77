"""A fine-tuning of the detector on a real cluster: it starts after its pretraining, is stopped and goes on exactly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from compmod.pretrain.records.record import Record
from compmod.slurm.submission.journal import entries
from compmod.slurm.submission.submit import submit
from compmod.slurm.task.failures import histories
from compmod.tables.paper.table import Cell, Column, Row, Table
from compmod.tables.reproduce import reproduce
from compmod.transfer.spec import Detection
from private_cluster import PrivateCluster, until
from tables_of_tiny_runs import tiny
from tiny_detections import SPEC, TINY, tiny_coco

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

LONG = replace(SPEC, run=tiny("simclr", epochs=1), detector=replace(TINY, iterations=300))


def table_of(spec: Detection) -> Table:
    column = Column(group="Scenes", name="AP", heading="Scenes", parts=("ours",), unit="AP")
    row = Row(label="SimCLR", method="simclr", cells=(Cell(metric="bbox/AP", specs=(spec,)),))
    return Table(number=5, title="A tiny detection", scale="demo", columns=(column,), rows=(row,), cost="seconds")


def what_it_found(runs: Path) -> tuple[Any, Any]:
    record = Record(runs, LONG)
    return record.results, json.loads((record.path / "detections.json").read_text())


def test_a_fine_tuning_that_is_stopped_goes_on_and_finds_the_same(cluster: PrivateCluster, tmp_path: Path) -> None:
    tiny_coco(tmp_path / SPEC.copy)
    runs, straight = tmp_path / "runs", tmp_path / "straight"
    submit([table_of(LONG)], runs, tmp_path, cluster.place())
    noted = entries(runs)[LONG.digest]
    until(lambda: noted.log.exists() and "step 20 of 300" in noted.log.read_text(), "a logged step")
    cluster.run("scancel", "--signal=USR2", noted.job_id)
    cluster.wait(noted.job_id, "COMPLETED")
    assert cluster.job(noted.job_id)["Restarts"] == "1"
    (stop,) = histories(runs)[LONG.digest]
    assert 0 < stop.updates < LONG.detector.iterations
    reproduce(LONG, straight, tmp_path, "cpu", quiet=True)
    assert what_it_found(runs) == what_it_found(straight)
