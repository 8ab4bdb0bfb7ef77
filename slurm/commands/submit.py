"""The commands behind `compmod submit` and `compmod cluster`: submit what tables lack; describe a cluster."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from ...pretrain.commands.options import DataOption, LoggerOption, RunsOption
from ...pretrain.files.printable import printable
from ...pretrain.loggers.names import DEFAULT
from ...tables.commands.options import (
    CopiesOption,
    MethodsOption,
    NumbersOption,
    PrecisionOption,
    ScaleOption,
    SeedsOption,
    built,
    of_methods,
)
from ...tables.commands.plan import plan_text
from ...tables.plan.plan import Step
from ...tables.results.other_precision import unused_runs
from ..clusters.cluster import Cluster, cluster_named, clusters, clusters_file, new_entry
from .options import GpusOption, NodesOption, RecomputeOption, TooLargeOption

if TYPE_CHECKING:
    from ..submission.arrays import Job
    from ..submission.submit import Submission


def submit_command(
    numbers: NumbersOption = (),
    *,
    cluster: Annotated[str, arg(help="a cluster of yours, as compmod cluster new wrote it, or local")],
    scale: ScaleOption = "paper",
    methods: MethodsOption = (),
    seeds: SeedsOption = 1,
    copies: CopiesOption = (),
    precision: PrecisionOption = "auto",
    dry_run: Annotated[bool, arg(help="print the plan and the scripts for sbatch; submit nothing")] = False,
    nodes: NodesOption = 0,
    gpus: GpusOption = -1,
    recompute: RecomputeOption = False,
    too_large: TooLargeOption = "refuse",
    logger: LoggerOption = DEFAULT,
    hardware: Annotated[str, arg(help="GPU whose speed sets the time limits; default: the one most runs used")] = "",
    runs: RunsOption = Path("runs"),
    data: DataOption = Path("data"),
) -> None:
    """Submit what the tables lack, each spec once, and return; skip what is done, queued or running.

    Raises ValueError on a wrong argument, SlurmError where SLURM refuses or does not answer.
    """
    from ..submission.arrays import Wish
    from ..submission.submit import submit

    wish = Wish(nodes, gpus, recompute, too_large, logger)
    where = cluster_named(cluster)
    tables = of_methods(built(numbers, scale, seeds, copies, precision), methods)
    if unused := unused_runs(tables, runs):
        print(unused, file=sys.stderr, flush=True)
    sent = submit(tables, runs, data, where, wish, dry_run=dry_run, hardware=hardware)
    if dry_run:
        print(plan_text(sent.plan, scale, seeds), end="\n\n")
        for text in _texts(sent.arranged.jobs, where, runs):
            print(text, end="\n\n")
    print(submission_text(sent, where, dry_run=dry_run), flush=True)


def cluster_command(
    action: Annotated[
        Positional[Literal["new", "check", "list"]],
        arg(metavar="new|check|list", help="write an entry to edit, test one, or name all"),
    ],
    name: Annotated[Positional[str], arg(metavar="NAME", help="of the cluster, as you like to call it")] = "",
    run: Annotated[bool, arg(help="check: also run a job of a minute, and wait for it")] = False,
) -> None:
    """Write an entry for a cluster that explains every setting, or check that SLURM accepts one.

    Raises ValueError on a wrong argument, or when the check finds a fault.
    """
    from ..submission.check import check_cluster

    if action == "list":
        if name:
            raise ValueError(f"cluster list names all, and takes no NAME such as {name!r}")
        for known in clusters().values():
            partition = "" if known.local else known.partition or "default partition"
            print(f"{known.name:12} {known.executor:6} {partition}")
        print(f"file: {clusters_file()}", flush=True)
        return
    if not name:
        raise ValueError(f"cluster {action} needs a NAME; known: {', '.join(clusters())}")
    if action == "new":
        print(f"wrote [cluster.{name}] to {new_entry(name)}; edit it, then: compmod cluster check {name}", flush=True)
        return
    faults = 0
    for result in check_cluster(cluster_named(name), run=run):
        faults += not result.passed
        print(f"{'ok    ' if result.passed else 'FAULTY'} {result.name}: {result.message}", flush=True)
    if faults:
        raise ValueError(f"{faults} fault{'s'[: faults != 1]} in cluster {name} of {clusters_file()}")


def submission_text(sent: Submission, cluster: Cluster, *, dry_run: bool = False) -> str:
    """What was submitted and what was not, as text."""
    from ..submission.notify import REFUSED

    lines = []
    for index, job in enumerate(sent.arranged.jobs):
        number = f"job {sent.numbers[index]}: " if index < len(sent.numbers) else ""
        follows = ", after earlier jobs" if job.after else ""
        if job.corresponds is not None:
            follows = f", after array {job.corresponds + 1}"
        lines.append(f"  array {index + 1}: {number}{_size(job)}{follows}")
    tasks = sum(len(job.steps) for job in sent.arranged.jobs)
    if lines:
        done = "would be submitted" if dry_run else "submitted"
        lines.insert(0, f"{tasks} task{'s'[: tasks != 1]} in {len(lines)} arrays {done} to {cluster.name}:")
    else:
        lines.append("Nothing submitted." if sent.arranged.remaining else "Nothing to submit.")
    if tasks and cluster.notify and not any(remark.startswith(REFUSED) for remark in sent.remarks):
        lines.append(f"notify {'would be' if dry_run else 'is'} called when all of them have ended.")
    if sent.arranged.under_way:
        lines.append(f"{_count(sent.arranged.under_way)} queued or running already.")
    if sent.arranged.waiting:
        lines.append(
            f"{_count(sent.arranged.waiting)} left for later: their pretraining runs outside {cluster.name}; "
            "submit again when it is done."
        )
    if sent.arranged.remaining:
        lines.append(remaining_text(sent, cluster))
    lines += [f"warning: {printable(remark)}" for remark in sent.remarks]
    if sent.plan.damaged:
        lines += ["Damaged, and so not submitted; remove the folder to have it done again:", *sent.plan.damaged]
    return "\n".join(lines)


def remaining_text(sent: Submission, cluster: Cluster) -> str:
    """What the cluster takes no more of now, as text."""
    count = len(sent.arranged.remaining)
    limit = f"max_submitted {cluster.max_submitted} of {cluster.name} is reached"
    return f"{count} task{'s remain' if count != 1 else ' remains'}: {limit}; submit again goes on."


def _texts(jobs: Sequence[Job], cluster: Cluster, runs: Path) -> list[str]:
    """For each array its tasks, and the script that sbatch would get."""
    from ..submission.script import dependency, sbatch_text

    if cluster.local:
        return []
    numbers = [f"ARRAY_{index + 1}" for index in range(len(jobs))]
    folder = Path(runs).resolve() / ".slurm" / "jobs" / "SUBMISSION"
    return [
        f"--- array {index + 1}: {_size(job)}\n"
        + "\n".join(f"#   {step.spec.folder}" for step in job.steps[:SHOWN])
        + (f"\n#   and {len(job.steps) - SHOWN} more" if len(job.steps) > SHOWN else "")
        + "\n"
        + sbatch_text(job, cluster, folder, dependency(job, jobs, numbers)).rstrip()
        for index, job in enumerate(jobs)
    ]


SHOWN = 5  # tasks of an array that a dry run names


def _size(job: Job) -> str:
    given = job.resources
    nodes = f"{given.nodes} node{'s'[: given.nodes != 1]}, " if given.nodes > 1 else ""
    device = f"{given.gpus_per_node} GPU{'s'[: given.gpus_per_node != 1]}" if given.gpus_per_node else "no GPU"
    limit = f"{given.minutes / 60:g} h" if given.minutes >= 60 else f"{given.minutes} min"
    return f"{len(job.steps)} x {job.kind}, each {nodes}{device}, at most {limit}"


def _count(steps: Sequence[Step]) -> str:
    kinds = Counter(type(step.spec).__name__ for step in steps)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())
