"""Check: whether SLURM accepts what a cluster's entry asks for, before a hundred arrays find out."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..clusters.cluster import Cluster
from ..clusters.squeue import SlurmError, cluster_name, queued
from .arrays import Job, Resources
from .journal import user
from .submit import clean_environment, sbatch_text

ANSWER_S = 60.0
RUN_S = 600.0  # that a job of a minute may wait and run
PROGRAM = (  # what the job says: the versions, and whether a GPU can be used
    "import compmod, torch; print('compmod', compmod.__version__, 'torch', torch.__version__, "
    "'GPUs', torch.cuda.device_count())"
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    ok: bool
    what: str
    said: str


def check_cluster(cluster: Cluster, *, run: bool = False) -> Iterator[Finding]:
    """Look at one thing after another, and stop where the rest would be in vain; with `run`, also run a tiny job."""
    if cluster.local:
        yield Finding(True, "local", "jobs are processes of this machine")
        return
    missing = [command for command in ("sbatch", "squeue", "scontrol", "scancel") if shutil.which(command) is None]
    yield Finding(not missing, "commands", f"not on PATH: {', '.join(missing)}" if missing else "on PATH")
    if missing:
        return
    try:
        yield Finding(True, "cluster", cluster_name())
    except SlurmError as error:
        yield Finding(False, "cluster", str(error))
        return
    yield _partition(cluster)
    if cluster.account or cluster.qos:
        yield _account(cluster)
    for name, resources in _sizes(cluster):
        yield _test(name, resources, cluster)
    if run:
        yield _run(cluster)


def _sizes(cluster: Cluster) -> Iterator[tuple[str, Resources]]:
    """The smallest and the largest job that will be asked for."""
    minutes = int(60 * cluster.hours)
    yield "small job", Resources(1, min(1, cluster.gpus_per_node), cluster.cpus_per_gpu, cluster.least_minutes)
    yield "largest job", Resources(cluster.nodes, cluster.gpus_per_node, cluster.cpus_per_gpu, minutes)


def _partition(cluster: Cluster) -> Finding:
    status, said = _ask("sinfo", "--noheader", "--format=%R")
    names = list(dict.fromkeys(said.split()))
    wanted = [name for name in cluster.partition.split(",") if name]
    unknown = [name for name in wanted if name not in names]
    if status or unknown:
        return Finding(
            False, "partition", f"unknown {', '.join(unknown)}; known: {', '.join(names)}" if names else said
        )
    return Finding(True, "partition", ", ".join(wanted) or "the default one")


def _account(cluster: Cluster) -> Finding:
    """By accounting, where there is any; sbatch --test-only has the last word."""
    options = ["--noheader", "--parsable2", "format=account,qos", "where", f"user={user()}"]
    status, said = _ask("sacctmgr", "show", "associations", *options)
    known = [line.split("|") for line in said.split() if "|" in line]
    if status or not known:
        return Finding(True, "account", "accounting does not tell; sbatch will")
    accounts = list(dict.fromkeys(line[0] for line in known))
    qualities = list(dict.fromkeys(quality for line in known for quality in line[1].split(",")))
    if cluster.account and cluster.account not in accounts:
        return Finding(False, "account", f"{cluster.account} is not yours; yours: {', '.join(accounts)}")
    if cluster.qos and cluster.qos not in qualities:
        return Finding(False, "account", f"qos {cluster.qos} is not yours; yours: {', '.join(qualities)}")
    return Finding(True, "account", " ".join(filter(None, (cluster.account, cluster.qos))))


def _test(name: str, resources: Resources, cluster: Cluster) -> Finding:
    with tempfile.TemporaryDirectory() as folder:
        text = sbatch_text(Job(kind="probes", steps=(), resources=resources), cluster, Path(folder))
        status, said = _ask("sbatch", "--test-only", given=text)
    return Finding(not status, name, said.replace("sbatch: ", "") or "accepted")


def _run(cluster: Cluster) -> Finding:
    """A job of our own shape that imports what tasks import."""
    _, resources = next(_sizes(cluster))
    folder = Path(tempfile.mkdtemp(prefix="compmod-check-", dir="."))  # a folder that the nodes see, unlike /tmp
    log = (folder / "log").resolve()
    python = cluster.python or shlex.quote(sys.executable)
    text = sbatch_text(Job(kind="probes", steps=(), resources=resources), cluster, folder.resolve())
    head = text.partition("# command")[0]
    script = f'{head}\nsrun --output {shlex.quote(str(log))} {python} -P -c "{PROGRAM}"\n'
    try:
        status, said = _ask("sbatch", "--parsable", given=script)
        if status:
            return Finding(False, "run", said)
        number, until = said.partition(";")[0], time.monotonic() + RUN_S
        while (job := queued([number]).get(number)) and job.live:
            if time.monotonic() > until:
                _ask("scancel", number)
                return Finding(False, "run", f"job {number} has not ended in {RUN_S / 60:.0f} minutes: {job.reason}")
            time.sleep(1)
        words = log.read_text(errors="replace").split() if log.is_file() else []
        return Finding("torch" in words, "run", " ".join(words[-12:]) or f"job {number} wrote no log")
    finally:
        shutil.rmtree(folder)


def _ask(*command: str, given: str = "") -> tuple[int, str]:
    """Exit status and what a command says, in one line; scripts are `given`, for others may write where files lie."""
    try:
        with clean_environment():
            done = subprocess.run(
                command, input=given, capture_output=True, text=True, errors="replace", timeout=ANSWER_S, check=False
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, " ".join((done.stdout + done.stderr).split())
