"""Whether runs fit a cluster's GPUs: what is refused, skipped or submitted, and what would fit instead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from compmod.slurm.clusters.cluster import Cluster
from compmod.slurm.submission.arrays import Wish, arrange
from compmod.slurm.submission.check import _memory
from compmod.slurm.submission.fitting import WAYS_OUT, fitting
from compmod.slurm.submission.submit import submit
from compmod.slurm.task.task import Task
from compmod.tables.build import build_table
from compmod.tables.plan.measured_rates import Rates
from compmod.tables.plan.memory import GIBIBYTE, Demand, total_gib
from compmod.tables.plan.plan import Plan, lacking
from counted_memory import count_by
from one_cell_tables import tiny_run
from printing_slurm import PrintingSlurm

BIG = Cluster(name="big", gpus_per_node=8, gpu_memory_gb=80)


@pytest.fixture(autouse=True)
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Demand]:
    """No figure is known, and a sample of any batch takes an eighth of a GiB, recomputed a sixteenth."""

    def count(demand: Demand) -> int:
        return demand.run.batch_size // demand.processes * GIBIBYTE // (16 if demand.recompute else 8)

    return count_by(count, tmp_path, monkeypatch)


@pytest.fixture
def plan() -> Plan:
    """Runs on ImageNet alone and with others: 4,096 images on 8 GPUs take 64 GiB and more."""
    return lacking([build_table(2)], {}, Rates())


def _digests(plan: Plan) -> set[str]:
    return {step.run.digest for step in plan.steps}


def test_without_the_memory_of_a_gpu_nothing_is_compared(plan: Plan, counted: list[Demand]) -> None:
    remarks: list[str] = []
    assert fitting(plan, replace(BIG, gpu_memory_gb=0), Wish(), remarks) is plan
    assert (remarks, counted) == ([], [])


def test_what_fits_is_left_as_it_is(plan: Plan) -> None:
    remarks: list[str] = []
    found = fitting(plan, BIG, Wish(), remarks)
    assert _digests(found) == _digests(plan)
    assert remarks == []
    assert max(step.memory_gib for step in found.steps) == total_gib(64 * GIBIBYTE, 8)


def test_what_does_not_fit_is_refused_in_one_line_with_every_way_out(plan: Plan) -> None:
    with pytest.raises(ValueError, match="SimCLR on ImageNet needs") as refused:
        fitting(plan, replace(BIG, gpu_memory_gb=40), Wish(), [])
    said = str(refused.value)
    assert "\n" not in said
    need, again, more = (f"{total_gib(share * GIBIBYTE, 8):.0f} GiB" for share in (64, 32, 32))
    first = f"SimCLR on ImageNet needs {need}, a GPU of 8, and big has 40: --recompute ({again}) or 16 GPUs ({more})"
    assert first in said
    assert said.endswith(WAYS_OUT)


def test_where_nothing_helps_the_line_says_so(plan: Plan) -> None:
    remarks: list[str] = []
    fitting(plan, replace(BIG, gpu_memory_gb=1), Wish(too_large="submit"), remarks)
    assert all(remark.endswith("neither more GPUs nor --recompute would fit") for remark in remarks)


def test_what_does_not_fit_is_skipped_with_its_measurements(plan: Plan) -> None:
    remarks: list[str] = []
    found = fitting(plan, replace(BIG, gpu_memory_gb=40), Wish(too_large="skip"), remarks)
    kept = {step.run.batch_size for step in found.steps}
    assert kept == {step.run.batch_size for step in plan.steps} - {4096}
    assert any("SimCLR on ImageNet" in remark for remark in remarks)


def test_it_is_submitted_where_that_is_asked_for(plan: Plan) -> None:
    remarks: list[str] = []
    assert _digests(fitting(plan, replace(BIG, gpu_memory_gb=40), Wish(too_large="submit"), remarks)) == _digests(plan)
    assert remarks


def test_a_dry_run_shows_what_would_be_refused(plan: Plan) -> None:
    remarks: list[str] = []
    fitting(plan, replace(BIG, gpu_memory_gb=40), Wish(), remarks, dry_run=True)
    assert remarks[0].startswith("would be refused: SimCLR on ImageNet needs ")


def test_recomputation_is_what_is_compared_where_it_is_asked_for(plan: Plan) -> None:
    remarks: list[str] = []
    found = fitting(plan, replace(BIG, gpu_memory_gb=40), Wish(recompute=True), remarks)
    assert remarks == []
    assert max(step.memory_gib for step in found.steps) == total_gib(32 * GIBIBYTE, 8)


def test_loggers_reach_every_task(plan: Plan) -> None:
    jobs = arrange(plan, BIG, wish=Wish(logger=("none",))).jobs
    assert len({job.kind for job in jobs}) > 1
    assert {job.logger for job in jobs} == {("none",)}


def test_recomputation_reaches_the_tasks_of_pretrainings_and_their_time_limits(plan: Plan) -> None:
    plain, again = (arrange(plan, BIG, wish=Wish(recompute=recompute)).jobs for recompute in (False, True))
    assert {job.recompute for job in plain} == {False}
    assert {(job.kind == "pretraining", job.recompute) for job in again} == {(True, True), (False, False)}
    assert sum(job.resources.minutes for job in again) > sum(job.resources.minutes for job in plain)


def test_a_submission_refuses_before_anything_is_sent(slurm: PrintingSlurm, tmp_path: Path) -> None:
    small = replace(BIG, gpu_memory_gb=40)
    with pytest.raises(ValueError, match="SimCLR on ImageNet needs"):
        submit([build_table(2)], tmp_path / "runs", tmp_path, small)
    assert slurm.arguments("sbatch") == []
    sent = submit([build_table(2)], tmp_path / "runs", tmp_path, small, Wish(too_large="skip"))
    assert sent.numbers
    assert all(step.run.batch_size < 4096 for job in sent.arranged.jobs for step in job.steps)


def test_the_check_of_an_entry_tells_what_its_gpus_are_too_small_for() -> None:
    small = _memory(replace(BIG, gpu_memory_gb=40))
    assert small.passed
    assert "SimCLR on ImageNet needs 70 GiB, a GPU of 8, and big has 40: --recompute (36 GiB)" in small.message
    assert _memory(replace(BIG, gpu_memory_gb=140)).message == "every run of the tables fits a GPU"
    assert "gpu_memory_gb is not set" in _memory(replace(BIG, gpu_memory_gb=0)).message


def test_a_task_from_before_recomputation_and_loggers_still_starts(tmp_path: Path) -> None:
    task = Task.of(tiny_run(), tmp_path, tmp_path)
    fields = {name: value for name, value in vars(task).items() if name not in ("recompute", "logger")}
    assert Task.from_fields(fields, "here") == task


def test_a_task_trains_with_what_its_submission_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("compmod.slurm.task.task.reproduce", lambda *arguments, **asks: asked.append(asks))
    task = Task.of(tiny_run(), tmp_path, tmp_path, recompute=True, logger="none")
    from compmod.pretrain.records.record import Record

    task._work(Record(tmp_path, task.decoded()), 0)
    assert asked == [{"recompute": True, "logger": ("none",)}]
