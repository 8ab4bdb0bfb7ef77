"""What a plan becomes: arrays of like steps, in order, each measurement after its own pretraining."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from compmod.pretrain.specs.run import Run
from compmod.slurm.clusters.cluster import CLUSTERS, Cluster
from compmod.slurm.submission.arrays import (
    MARGIN,
    Arranged,
    Resources,
    Wish,
    arrange,
    limit_minutes,
    resources,
    within,
)
from compmod.tables.build import build_table
from compmod.tables.plan.measured_rates import Rates
from compmod.tables.plan.plan import Plan, lacking, plan
from compmod.tables.plan.progress import Progress
from one_cell_tables import tiny_run, tiny_table

BIG = Cluster(name="big", gpus_per_node=8, nodes=2, hours=48)


def _plan(*numbers: int, **found: str) -> Plan:
    standings = {digest: Progress(state) for digest, state in found.items()}  # type: ignore[arg-type]
    return lacking([build_table(number) for number in numbers], standings, Rates())


def _digests(arranged: Arranged) -> list[str]:
    return [spec.digest for job in arranged.jobs for spec in job.specs]


@pytest.fixture
def tiny(tmp_path: Path) -> Plan:
    """Three runs and their probes, nothing done."""
    return plan([tiny_table(range(3))], tmp_path, Rates())


def test_every_step_of_every_table_is_in_exactly_one_array() -> None:
    found = _plan(1, 2, 3, 4, 5, 6, 7)
    digests = _digests(arrange(found, BIG))
    assert sorted(digests) == sorted(step.spec.digest for step in found.steps)
    assert len(set(digests)) == len(digests)


def test_all_tables_are_few_arrays() -> None:
    arranged = arrange(_plan(1, 2, 3, 4, 5, 6, 7), BIG)
    assert sum(len(job.steps) for job in arranged.jobs) > 200
    assert len(arranged.jobs) < 50


def test_a_measurement_stands_where_its_pretraining_stands_in_the_array_it_follows() -> None:
    jobs = arrange(_plan(1, 2, 3, 4, 5, 6, 7), BIG).jobs
    followers = [job for job in jobs if job.corresponds is not None]
    assert followers
    for job in followers:
        before = jobs[job.corresponds or 0]
        assert before.kind == "pretraining"
        assert [step.run.digest for step in job.steps] == [step.spec.digest for step in before.steps]


def test_no_measurement_starts_before_its_pretraining() -> None:
    for job in arrange(_plan(1, 2, 3, 4, 5, 6, 7), BIG).jobs:
        for step in job.steps:
            assert bool(step.needs) == (job.corresponds is not None)


def test_steps_of_an_array_ask_for_the_same() -> None:
    for job in arrange(_plan(2, 4), BIG).jobs:
        assert {step.spec.kind for step in job.steps} == {job.kind}
        assert {resources(step, BIG, Wish()) for step in job.steps} == {job.resources}


def test_pretraining_on_large_images_takes_the_whole_of_what_the_cluster_gives() -> None:
    jobs = arrange(_plan(2), BIG).jobs
    large = {(job.resources.nodes, job.resources.gpus_per_node) for job in jobs if job.kind == "pretraining"}
    assert (2, 8) in large


def test_everything_on_small_images_takes_one_gpu() -> None:
    jobs = arrange(_plan(1), BIG).jobs
    assert {(job.resources.nodes, job.resources.gpus_per_node) for job in jobs} == {(1, 1)}


def test_a_batch_is_shared_by_as_many_processes_as_divide_it() -> None:
    odd = replace(BIG, gpus_per_node=7, nodes=1)
    for job in arrange(_plan(2), odd).jobs:
        for spec in job.specs:
            if isinstance(spec, Run):
                assert spec.batch_size % job.resources.processes == 0


def test_digits_need_no_gpu_and_one_core(tiny: Plan) -> None:
    assert {(job.resources.gpus_per_node, job.resources.cpus) for job in arrange(tiny, BIG).jobs} == {(0, 1)}


def test_a_wish_holds_for_pretrainings_alone(tiny: Plan) -> None:
    nodes = {job.kind: job.resources.nodes for job in arrange(tiny, BIG, wish=Wish(nodes=2)).jobs}
    assert nodes == {"pretraining": 2, "probes": 1}


def test_a_batch_that_cannot_be_shared_as_wished_is_an_error(tiny: Plan) -> None:
    with pytest.raises(ValueError, match="batch_size 32 of SimCLR cannot be shared equally by 3 nodes"):
        arrange(tiny, BIG, wish=Wish(nodes=3))


def test_what_is_queued_is_not_submitted_again_and_can_be_waited_for(tiny: Plan) -> None:
    first = arrange(tiny, BIG)
    pretrainings = {spec.digest: f"7_{place}" for place, spec in enumerate(first.jobs[0].specs)}
    second = arrange(tiny, BIG, pretrainings)
    assert [job.kind for job in second.jobs] == ["probes"]
    assert second.jobs[0].after == ("7_0", "7_1", "7_2")
    assert {step.spec.digest for step in second.under_way} == set(pretrainings)


def test_nothing_is_left_when_everything_is_queued(tiny: Plan) -> None:
    queued = {step.spec.digest: "7" for step in tiny.steps}
    assert arrange(tiny, BIG, queued).jobs == ()


def test_measurements_of_a_run_that_no_queue_holds_wait_for_another_submission(tmp_path: Path) -> None:
    run = tiny_run(0)
    found = lacking([tiny_table([0])], {run.digest: Progress("running")}, Rates())
    arranged = arrange(found, BIG)
    assert arranged.jobs == ()
    assert [step.run.digest for step in arranged.waiting] == [run.digest]


def test_a_job_of_another_cluster_is_not_waited_for_by_number(tiny: Plan) -> None:
    elsewhere = {step.spec.digest: "" for step in tiny.steps if isinstance(step.spec, Run)}
    arranged = arrange(tiny, BIG, elsewhere)
    assert arranged.jobs == ()
    assert len(arranged.waiting) == 3


def test_measurements_of_finished_runs_need_no_dependency() -> None:
    found = lacking([tiny_table(range(2))], {tiny_run(seed).digest: Progress("done") for seed in range(2)}, Rates())
    (job,) = arrange(found, BIG).jobs
    assert (job.kind, job.corresponds, job.after) == ("probes", None, ())


def test_a_failed_run_is_submitted_again() -> None:
    found = lacking([tiny_table([0])], {tiny_run(0).digest: Progress("failed")}, Rates())
    assert [job.kind for job in arrange(found, BIG).jobs] == ["pretraining", "probes"]


def test_an_array_has_no_more_tasks_than_the_cluster_takes(tiny: Plan) -> None:
    jobs = arrange(tiny, replace(BIG, max_array=2)).jobs
    assert [len(job.steps) for job in jobs] == [2, 2, 1, 1]
    assert [job.corresponds for job in jobs] == [None, 0, None, 2]


def _shape(arranged: Arranged) -> list[tuple[str, int, int | None]]:
    return [(job.kind, len(job.steps), job.corresponds) for job in arranged.jobs]


@pytest.mark.parametrize(
    "room, shape",
    [
        (7, [("pretraining", 3, None), ("probes", 3, 0)]),
        (6, [("pretraining", 3, None), ("probes", 3, 0)]),
        (5, [("pretraining", 2, None), ("probes", 2, 0)]),
        (2, [("pretraining", 1, None), ("probes", 1, 0)]),
        (1, [("pretraining", 1, None)]),
        (0, []),
        (-3, []),
    ],
)
def test_no_more_is_submitted_than_the_cluster_takes_and_the_rest_remains(
    tiny: Plan, room: int, shape: list[tuple[str, int, int | None]]
) -> None:
    every = arrange(tiny, BIG)
    cut = within(every, room, {})
    assert _shape(cut) == shape
    remaining = [step.spec.digest for step in cut.remaining]
    assert sorted(_digests(cut) + remaining) == sorted(_digests(every))
    for job in cut.jobs[1:]:
        assert [step.run.digest for step in job.steps] == [step.spec.digest for step in cut.jobs[0].steps]


def test_what_follows_an_array_that_was_cut_remains(tiny: Plan) -> None:
    in_twos = arrange(tiny, replace(BIG, max_array=2))
    assert _shape(within(in_twos, 6, {})) == _shape(in_twos)
    assert _shape(within(in_twos, 5, {})) == [("pretraining", 2, None), ("probes", 2, 0)]
    assert _shape(within(in_twos, 3, {})) == [("pretraining", 1, None), ("probes", 1, 0)]


@pytest.mark.parametrize("most", [1, 2, 3, 4, 100])
def test_submitting_again_and_again_within_a_limit_sends_each_task_once(most: int) -> None:
    """Whatever is queued ends well before the next submission."""
    tables = [build_table(number, "demo") for number in (2, 4)]
    wanted = {step.spec.digest for step in lacking(tables, {}, Rates()).steps}
    ended: set[str] = set()
    while ended != wanted:
        arranged = arrange(lacking(tables, dict.fromkeys(ended, Progress("done")), Rates()), BIG)
        sent = _digests(within(arranged, most, {}))
        assert 0 < len(sent) <= most
        assert not ended & set(sent)
        ended |= set(sent)


def test_measurements_whose_pretraining_went_alone_wait_for_its_job_and_for_no_other(tiny: Plan) -> None:
    queued = {spec.digest: f"7_{place}" for place, spec in enumerate(arrange(tiny, BIG).jobs[0].specs)}
    (job,) = within(arrange(tiny, BIG, queued), 2, queued).jobs
    assert (len(job.steps), job.after) == (2, ("7_0", "7_1"))


@pytest.mark.parametrize(
    "hours, minutes",
    [(0.0, 10), (0.05, 10), (0.5, 60), (1.0, 120), (10.0, 1_440), (31.0, 2_880), (500.0, 2_880)],
)
def test_a_limit_is_the_prediction_with_a_margin_within_the_clusters(hours: float, minutes: int) -> None:
    assert limit_minutes(hours, BIG) == minutes
    assert minutes == 60 * BIG.hours or minutes >= MARGIN * 60 * hours


def test_even_the_shortest_job_asks_for_the_clusters_least() -> None:
    assert limit_minutes(0.0, replace(BIG, least_minutes=25)) == 30
    assert limit_minutes(0.0, replace(BIG, least_minutes=1, hours=0.02)) == 1


def test_more_gpus_make_a_limit_shorter() -> None:
    one, many = (
        max(job.resources.minutes for job in arrange(_plan(2), replace(BIG, hours=1_000, nodes=nodes)).jobs)
        for nodes in (1, 2)
    )
    assert many < one


def test_a_cpu_cluster_is_asked_for_no_gpu() -> None:
    assert {job.resources.gpus_per_node for job in arrange(_plan(1), replace(BIG, gpus_per_node=0)).jobs} == {0}


def test_processes_are_one_a_gpu_or_one_a_node() -> None:
    assert Resources(nodes=2, gpus_per_node=4, cpus=8, minutes=10).processes == 8
    assert Resources(nodes=2, gpus_per_node=0, cpus=8, minutes=10).processes == 2


def test_the_local_cluster_takes_the_same_arrays_as_any_other(tiny: Plan) -> None:
    assert _digests(arrange(tiny, CLUSTERS["local"])) == _digests(arrange(tiny, BIG))
