"""Arrays: what a plan becomes on a cluster: arrays of similar steps, in order of dependence. Pure functions.

Runs with similar measurements share an array, and so do their measurements, in the same order. Each measurement then
follows its own pretraining, task by task (`aftercorr`, man sbatch), and a run that fails delays no other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ...pretrain.loggers.names import DEFAULT, LoggerName
from ...pretrain.specs.measurement import FineTuning, Work
from ...pretrain.specs.run import KINDS, Kind, Run
from ...tables.plan.plan import Plan, Step
from ..clusters.cluster import Cluster

MARGIN = 1.5  # of a limit over the prediction: a job that needs longer is saved, stopped and queued again
RECOMPUTED = 4 / 3  # time of a step that computes activations again: four passes in place of three
START_MINUTES = 5.0  # reading data over a busy network, importing torch
LIMITS_MIN = (10, 15, 30, 60, 120, 240, 480, 720, 1_440)  # then days; few, so that similar steps share arrays


@dataclass(frozen=True)
class Resources:
    """What one task of an array asks for."""

    nodes: int
    gpus_per_node: int  # also the number of processes on a node; where it is 0, one process
    cpus: int  # of one process
    minutes: int  # its time limit

    @property
    def processes(self) -> int:
        """Processes of one task, one a GPU."""
        return self.nodes * max(1, self.gpus_per_node)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One array, with one spec a task. With `corresponds`, task i starts after task i of that job of the list."""

    kind: Kind
    steps: tuple[Step, ...]
    resources: Resources
    corresponds: int | None = None
    after: tuple[str, ...] = ()  # numbers of jobs submitted earlier, all of which must succeed first
    recompute: bool = False  # whether its tasks compute activations again, for want of memory
    logger: tuple[LoggerName, ...] = DEFAULT

    @property
    def specs(self) -> tuple[Work, ...]:
        """One a task, in order."""
        return tuple(step.spec for step in self.steps)


@dataclass(frozen=True, kw_only=True)
class Arranged:
    """What is to be submitted, and what is not because it is under way."""

    jobs: tuple[Job, ...]
    under_way: tuple[Step, ...] = ()  # queued or running already
    waiting: tuple[Step, ...] = ()  # measurements of a run that a process outside every queue trains now
    remaining: tuple[Step, ...] = ()  # for a later submission: the cluster takes no more tasks now


@dataclass(frozen=True)
class Wish:
    """What the user asks for every pretraining, on any data; 0 = as the cluster says."""

    nodes: int = 0
    gpus_per_node: int = -1  # -1 = as the cluster says
    recompute: bool = False  # less memory, more time
    too_large: Literal["refuse", "skip", "submit"] = "refuse"  # what becomes of what does not fit a GPU
    logger: tuple[LoggerName, ...] = DEFAULT  # of every job, measurements too

    def __post_init__(self) -> None:
        if self.nodes < 0 or self.gpus_per_node < -1:
            given = f"{self.nodes} and {self.gpus_per_node}"
            raise ValueError(f"nodes must be at least 0 and gpus at least -1, not {given}")


def arrange(
    plan: Plan, cluster: Cluster, queued: Mapping[str, str] | None = None, wish: Wish | None = None
) -> Arranged:
    """The arrays that a plan needs beside what is `queued`: digests of what waits or runs, with the number of its job.

    The number is empty for a job of another cluster: no job here can wait for it. Raises ValueError where the number of
    processes that `wish` asks for does not divide a batch.
    """
    queued, wish = queued or {}, wish or Wish()
    under_way = tuple(step for step in plan.steps if step.spec.digest in queued or step.state == "running")
    busy = {step.spec.digest for step in under_way}
    left = [step for step in plan.steps if step.spec.digest not in busy]
    pretrainings = [step for step in left if step.spec.kind == "pretraining"]
    measurements: dict[str, list[Step]] = {}
    for step in left:
        if step.spec.kind != "pretraining":
            measurements.setdefault(step.run.digest, []).append(step)
    jobs: list[Job] = []
    waiting: list[Step] = []
    for array in _alike(pretrainings, measurements, cluster, wish):
        limits = resources(array[0], cluster, wish)
        jobs.append(Job(kind="pretraining", steps=array, resources=limits, recompute=wish.recompute))
        pretraining = len(jobs) - 1
        columns = [measurements.pop(step.spec.digest, []) for step in array]
        for steps in zip(*[sorted(column, key=_order) for column in columns], strict=True):
            limits = resources(steps[0], cluster, wish)
            jobs.append(Job(kind=steps[0].spec.kind, steps=steps, resources=limits, corresponds=pretraining))
    for steps in _by_pretraining(measurements, queued, cluster, wish):
        after = _after(steps, queued)
        if not after and steps[0].run.digest in busy:
            waiting += steps
            continue
        limits = resources(steps[0], cluster, wish)
        jobs.append(Job(kind=steps[0].spec.kind, steps=steps, resources=limits, after=after))
    jobs = [replace(job, logger=wish.logger) for job in jobs]
    return Arranged(jobs=tuple(jobs), under_way=under_way, waiting=tuple(waiting))


def within(arranged: Arranged, room: int, queued: Mapping[str, str]) -> Arranged:
    """Of the arrays what fits in `room` more tasks, in their order; the rest remains for a later submission.

    A pretraining goes with its measurements. Where there is no room for one with all of its own, pretrainings go alone,
    so that every room brings the work forward; a later submission lets the measurements follow. `queued` is that of
    `arrange`.
    """
    jobs: list[Job] = []
    remaining: list[Step] = []
    room = max(0, room)
    for bundle in _bundles(arranged.jobs):
        count, together = room // len(bundle), len(bundle)
        if not count and not jobs:
            count, together = room, 1
        count, place = min(count, len(bundle[0].steps)), len(jobs)
        for index, job in enumerate(bundle):
            taken = count if index < together else 0
            if taken:
                steps, corresponds = job.steps[:taken], None if job.corresponds is None else place
                jobs.append(replace(job, steps=steps, corresponds=corresponds, after=_after(steps, queued)))
            remaining += job.steps[taken:]
        room = 0 if remaining else room - count * together
    return replace(arranged, jobs=tuple(jobs), remaining=tuple(remaining))


def resources(step: Step, cluster: Cluster, wish: Wish) -> Resources:
    """Of one step: training in batches on large images takes all that the cluster gives, other work one GPU."""
    spec = step.spec
    if spec.device == "cpu" or not cluster.gpus_per_node:
        nodes, gpus = 1, 0
    elif step.run.data.large and spec.batch_size:
        nodes, gpus = _shared(spec, cluster)
    else:
        nodes, gpus = 1, 1
    if isinstance(spec, Run):
        nodes, gpus = wish.nodes or nodes, gpus if wish.gpus_per_node < 0 else wish.gpus_per_node
        if spec.batch_size % (nodes * max(1, gpus)):
            raise ValueError(
                f"batch_size {spec.batch_size} of {spec.label} cannot be shared equally by {nodes} nodes of "
                f"{max(1, gpus)} processes each; choose other --nodes and --gpus"
            )
    cpus = 1 if spec.device == "cpu" else cluster.cpus_per_gpu  # a small network gains nothing from threads
    without_limit = Resources(nodes=nodes, gpus_per_node=gpus, cpus=cpus, minutes=0)
    hours = (step.gpu_hours or step.cpu_hours) / without_limit.processes
    if wish.recompute and isinstance(spec, Run):
        hours *= RECOMPUTED
    return replace(without_limit, minutes=limit_minutes(hours, cluster))


def limit_minutes(hours: float, cluster: Cluster) -> int:
    """The limit to ask for when so many hours are predicted: with a margin, one of few values, within the cluster's."""
    wanted = max(cluster.least_minutes, MARGIN * 60 * hours + START_MINUTES)
    most = math.floor(60 * cluster.hours)
    days = math.ceil(wanted / LIMITS_MIN[-1]) * LIMITS_MIN[-1]
    return min(most, next((limit for limit in LIMITS_MIN if limit >= wanted), days))


def _shared(spec: Work, cluster: Cluster) -> tuple[int, int]:
    """The nodes and GPUs that can share the batch equally: all, or as many as divide it; `norm_groups` fixes them."""
    nodes = cluster.nodes if isinstance(spec, Run) else 1
    if isinstance(spec, Run) and spec.norm_groups > 1:
        gpus = min(spec.norm_groups, cluster.gpus_per_node)
        return max(1, spec.norm_groups // gpus), gpus
    whole = (gpus for gpus in range(cluster.gpus_per_node, 0, -1) if spec.batch_size % (nodes * gpus) == 0)
    return nodes, next(whole, 1)


def _alike(
    pretrainings: Sequence[Step], measurements: Mapping[str, Sequence[Step]], cluster: Cluster, wish: Wish
) -> Iterator[tuple[Step, ...]]:
    """Pretrainings of equal resources whose measurements correspond one by one."""
    groups: dict[object, list[Step]] = {}
    for step in pretrainings:
        columns = sorted(measurements.get(step.spec.digest, ()), key=_order)
        shape = tuple((other.spec.kind, resources(other, cluster, wish)) for other in columns)
        groups.setdefault((resources(step, cluster, wish), shape), []).append(step)
    for steps in groups.values():
        yield from _chunks(steps, cluster)


def _by_pretraining(
    measurements: Mapping[str, Sequence[Step]], queued: Mapping[str, str], cluster: Cluster, wish: Wish
) -> Iterator[tuple[Step, ...]]:
    """Measurements of runs that are done or in a job submitted earlier; one array waits for tasks of one job."""
    groups: dict[object, list[Step]] = {}
    for digest, steps in measurements.items():
        for step in steps:
            before = queued.get(digest, "").partition("_")[0] or bool(step.needs)
            groups.setdefault((before, step.spec.kind, resources(step, cluster, wish)), []).append(step)
    for group in groups.values():
        yield from _chunks(group, cluster)


def _bundles(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Each array with those that correspond to it, which follow it."""
    bundle: list[Job] = []
    for job in jobs:
        if bundle and job.corresponds is None:
            yield bundle
            bundle = []
        bundle.append(job)
    if bundle:
        yield bundle


def _after(steps: Sequence[Step], queued: Mapping[str, str]) -> tuple[str, ...]:
    """Numbers of the jobs that train what these steps measure."""
    return tuple(dict.fromkeys(queued[step.run.digest] for step in steps if queued.get(step.run.digest)))


def _chunks(steps: Sequence[Step], cluster: Cluster) -> Iterator[tuple[Step, ...]]:
    for first in range(0, len(steps), cluster.max_array):
        yield tuple(steps[first : first + cluster.max_array])


def _order(step: Step) -> tuple[int, str]:
    """Sorts the measurements of one run as those of every other run: by what is measured, not by digest."""
    spec = step.spec
    share = f"{spec.share:.6f} {spec.epochs}" if isinstance(spec, FineTuning) else ""
    return KINDS.index(spec.kind), share
