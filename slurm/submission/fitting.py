"""Fitting: whether runs fit the memory of a cluster's GPUs, and what would make the others fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...tables.plan.memory import CONTEXT_BYTES, GIBIBYTE, NCCL_BYTES, Demand, peaks, with_memory
from ...tables.plan.plan import Plan, Step
from ..clusters.cluster import Cluster
from .arrays import Wish, resources

FIXED_GIB = (CONTEXT_BYTES + NCCL_BYTES) / GIBIBYTE + 1.0  # what more processes do not make less; weights, about a GiB
MOST_PROCESSES = 1_024
WAYS_OUT = (
    "--too-large skip submits the others, --too-large submit all of them; --nodes, --gpus and --recompute change what "
    "a run needs"
)


def fitting(plan: Plan, cluster: Cluster, wish: Wish, remarks: list[str], *, dry_run: bool = False) -> Plan:
    """The plan with the memory of its pretrainings, and without those that do not fit where `wish` skips them.

    `remarks` receives a sentence for each method and data set that does not fit. Raises ValueError, with all of these,
    where they are to be refused. Nothing is compared where the cluster's entry does not tell the memory of a GPU.
    """
    if not cluster.gpu_memory_gb:
        return plan
    plan = with_memory(plan, lambda step: _processes(step, cluster, wish), recompute=wish.recompute)
    large = [step for step in plan.steps if step.memory_gib > cluster.gpu_memory_gb]
    sentences = list(too_large(replace(plan, steps=tuple(large)), cluster, wish))
    if sentences and wish.too_large == "refuse":
        refusal = "; ".join([*sentences, WAYS_OUT])
        if not dry_run:
            raise ValueError(refusal)
        sentences = [f"would be refused: {refusal}"]
    remarks += sentences
    if wish.too_large == "skip":
        without = {step.run.digest for step in large}
        plan = replace(plan, steps=tuple(step for step in plan.steps if step.run.digest not in without))
    return plan


def too_large(plan: Plan, cluster: Cluster, wish: Wish) -> Iterator[str]:
    """For each method and data set of a plan of what does not fit: what it needs, and what would fit."""
    for (method, data), steps in plan.by_method_and_data().items():
        largest = max(steps, key=lambda step: step.memory_gib)
        shared = f", a GPU of {largest.processes}" if largest.processes > 1 else ""
        needs = f"{method} on {data} needs {largest.memory_gib:.0f} GiB{shared}"
        ways = " or ".join(_ways(largest, cluster, wish)) or "neither more GPUs nor --recompute"
        yield f"{needs}, and {cluster.name} has {cluster.gpu_memory_gb:g}: {ways} would fit"


def _ways(step: Step, cluster: Cluster, wish: Wish) -> Sequence[str]:
    """What would make a run fit, with the memory that it then needs."""
    again = Demand(step.run, step.processes, recompute=True)
    more = Demand(step.run, _enough(step, cluster), wish.recompute)
    demands = [demand for demand in (again, more) if demand != Demand(step.run, step.processes, wish.recompute)]
    words = {again: "--recompute", more: f"{more.processes} GPUs"}
    return [
        f"{words[demand]} ({gib:.0f} GiB)" for demand, gib in peaks(demands).items() if gib <= cluster.gpu_memory_gb
    ]


def _enough(step: Step, cluster: Cluster) -> int:
    """How many processes make a run fit, by what its share of the batch takes; as many as now where none do."""
    shared, room = step.memory_gib - FIXED_GIB, cluster.gpu_memory_gb - FIXED_GIB
    least = step.processes * shared / room if room > 0 else MOST_PROCESSES
    batch = step.run.batch_size
    if step.run.norm_groups > 1:
        return step.processes
    counts = (count for count in range(step.processes + 1, MOST_PROCESSES) if batch % count == 0 and count >= least)
    return next(counts, step.processes)


def _processes(step: Step, cluster: Cluster, wish: Wish) -> int:
    """Processes that share a pretraining on GPUs; 0 = it takes none."""
    given = resources(step, cluster, wish)
    return given.processes if given.gpus_per_node or cluster.local else 0
