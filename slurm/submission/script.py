"""Script: what sbatch is given for an array: what its tasks ask for, and the command of each. Pure functions."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from submitit.slurm.slurm import _make_sbatch_string

from ..clusters.cluster import Cluster
from ..task.signals import ASK
from ..task.task import PROGRAM
from .arrays import Job

AGAIN = (  # what a task does itself where it reaches scontrol; signals.fate has the same rule
    f'if [ -e "${ASK}" ]; then',
    f'    rm "${ASK}"',
    '    case "$(scontrol show job --oneliner NUMBER)" in',
    '        *" JobState=RUNNING "* | *" Reason=TimeLimit "*) scontrol requeue NUMBER ;;',
    "    esac",
    "fi",
    "exit $status",
    "",
)


def sbatch_text(
    job: Job,
    cluster: Cluster,
    folder: Path,
    dependency: str = "",
    file: Path | None = None,
    *,
    arguments: str = "",
) -> str:
    """The script of an array for sbatch, as submitit writes it; `file` holds the tasks, logs go to `folder`.

    Each task runs Python with `arguments`, text of the shell, where they are given.
    """
    task = f"{PROGRAM} {shlex.quote(str(file or folder / 'tasks-SHA256.json'))} ${{SLURM_ARRAY_TASK_ID:-0}}"
    given = parameters(job, cluster, dependency) | ({"map_count": len(job.steps)} if len(job.steps) > 1 else {})
    number = "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" if len(job.steps) > 1 else "$SLURM_JOB_ID"
    ask = f"export {ASK}={shlex.quote(str(folder))}/ask-$SLURM_JOB_ID-$RANDOM$RANDOM$RANDOM"
    given["setup"] = [ask, *cluster.setup, "trap : TERM"]  # the shell gets SIGTERM, too; it is to wait for srun
    given["teardown"] = [line.replace("NUMBER", number) for line in AGAIN]
    command = f"{cluster.command} {arguments or task} && status=0 || status=$?"
    return _make_sbatch_string(command=command, folder=folder, **given)


def warning_s(minutes: int, cluster: Cluster) -> int:
    """When a job gets its warning, before its limit: as the cluster says, but at most a quarter of a short job."""
    return min(cluster.warning_s, 15 * minutes)


def dependency(job: Job, jobs: Sequence[Job], numbers: Sequence[str]) -> str:
    """The dependency of a job as sbatch takes it; `numbers` are the ids of the jobs submitted so far."""
    if job.corresponds is not None:
        kind = "aftercorr" if len(jobs[job.corresponds].steps) > 1 else "afterok"
        return f"{kind}:{numbers[job.corresponds]}"
    return ":".join(["afterok", *job.after]) if job.after else ""


def parameters(job: Job, cluster: Cluster, dependency: str) -> dict[str, Any]:
    """The parameters of submitit's executor."""
    given = job.resources
    processes = max(1, given.gpus_per_node)
    asked: dict[str, Any] = {
        "job_name": f"compmod-{job.kind}",
        "time": given.minutes,
        "nodes": given.nodes,
        "ntasks_per_node": processes,
        "cpus_per_task": given.cpus,
        "signal_delay_s": warning_s(given.minutes, cluster),
        "array_parallelism": cluster.max_parallel or len(job.steps),
        "stderr_to_stdout": True,
        # srun does not take the cores from sbatch (since 22.05); where one process dies, others would wait for hours
        "srun_args": [
            f"--cpus-per-task={given.cpus}",
            *["--kill-on-bad-exit=1"][: given.processes > 1],
            *cluster.srun_args,
        ],
        "additional_parameters": {
            "requeue" if cluster.requeue else "no-requeue": True,
            "kill-on-invalid-dep": "yes",
            **{name: value for name, value in cluster.sbatch if value is not False},
        },
    }
    if given.gpus_per_node:
        count = str(given.gpus_per_node)
        asked["gpus_per_node"] = f"{cluster.gpu_type}:{count}" if cluster.gpu_type else count
    if cluster.mem_gb:
        asked["mem"] = f"{cluster.mem_gb * processes * 1024:.0f}M"
    for name in ("partition", "account", "qos", "constraint"):
        if getattr(cluster, name):
            asked[name] = getattr(cluster, name)
    if dependency:
        asked["dependency"] = dependency
    return asked
