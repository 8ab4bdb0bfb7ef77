"""Notify: how the user's own command hears that a submission has ended: a small job, or the local driver, calls it.

The command is in the script, which SLURM or the driver holds, so that no one who may write the runs folder changes it.
It gets the state by its environment and the summary by its standard input: text of runs never becomes shell.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from submitit.slurm.slurm import _make_sbatch_string

from ..clusters.cluster import Cluster
from .arrays import Job, Resources
from .script import parameters

RESOURCES = Resources(nodes=1, gpus_per_node=0, cpus=1, minutes=10)
CALLED = "notify ended with status"  # begins the last line of the log
REFUSED = "notify will not be called"  # begins the remark of a submission whose job for it was refused
MARK = "compmod-outcome:"  # before the outcome; a container may print words of its own above it
UNREAD = "'stalled\nThe submission has ended, and its outcome cannot be read: see the log of this job.'"


def call(cluster: Cluster, runs: Path, files: Sequence[Path]) -> str:
    """Lines of shell that give the user's command the outcome of the tasks in `files`; without files, a test."""
    srun = "" if cluster.local else f"{shlex.join(['srun', '--cpus-per-task=1', *cluster.srun_args])} "
    words = shlex.join([MARK, *map(str, files)])
    known = f"COMPMOD_CLUSTER={shlex.quote(cluster.name)} COMPMOD_RUNS={shlex.quote(str(runs))}"
    lines = [
        f"said=$({srun}{cluster.command} -P -m compmod.slurm.status.outcome {words}) || said=",
        f'case "$said" in *{MARK}*) said="${{said#*{MARK}}}" ;; *) said={UNREAD} ;; esac',
        f'export COMPMOD_STATE="${{said%%[!a-z]*}}" {known}',  # the first word; the summary begins on the next line
        f"""printf '%s\\n' "$said" | tail -n +2 | sh -c {shlex.quote(cluster.notify)} && status=0 || status=$?""",
        f'echo "{CALLED} $status, for COMPMOD_STATE=$COMPMOD_STATE"',
        "exit $status",
    ]
    return "\n".join(lines)


def notify_text(
    cluster: Cluster, runs: Path, folder: Path, files: Sequence[Path] = (), numbers: Sequence[str] = ()
) -> str:
    """The script for sbatch of the job that calls the user's command after all of the jobs with these numbers."""
    plain = replace(cluster, sbatch=(), mem_gb=min(1.0, cluster.mem_gb))
    minutes = min(RESOURCES.minutes, int(60 * cluster.hours))
    job = Job(kind="probes", steps=(), resources=replace(RESOURCES, minutes=minutes))
    given = parameters(job, plain, ":".join(["afterany", *numbers]) if numbers else "")
    given |= {"setup": list(cluster.setup), "job_name": "compmod-notify", "use_srun": False}
    return _make_sbatch_string(command=call(cluster, runs, files), folder=folder, **given)
