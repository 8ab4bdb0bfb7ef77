"""Check: whether SLURM accepts what a cluster's entry asks for, before a hundred arrays are submitted."""

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

from ...tables.build import TABLES, build_table
from ...tables.plan.measured_rates import Rates
from ...tables.plan.plan import lacking
from ..clusters.cluster import Cluster
from ..clusters.squeue import SlurmError, cluster_name, queued
from .arrays import Job, Resources, Wish
from .fitting import fitting
from .journal import user
from .submit import clean_environment, sbatch_text

ANSWER_S = 60.0
RUN_S = 600.0  # the longest that a job of a minute may wait and run
PROGRAM = (  # it prints the versions, and how many GPUs can be used
    "import compmod, torch; print('compmod', compmod.__version__, 'torch', torch.__version__, "
    "'GPUs', torch.cuda.device_count())"
)


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one check."""

    passed: bool
    name: str
    message: str


def check_cluster(cluster: Cluster, *, run: bool = False) -> Iterator[CheckResult]:
    """Run one check after another, until a later one cannot pass; with `run`, also run a small job."""
    if cluster.local:
        yield CheckResult(True, "local", "jobs are processes of this machine")
        return
    missing = [command for command in ("sbatch", "squeue", "scontrol", "scancel") if shutil.which(command) is None]
    yield CheckResult(not missing, "commands", f"not on PATH: {', '.join(missing)}" if missing else "on PATH")
    if missing:
        return
    try:
        yield CheckResult(True, "cluster", cluster_name())
    except SlurmError as error:
        yield CheckResult(False, "cluster", str(error))
        return
    yield _partition(cluster)
    if cluster.account or cluster.qos:
        yield _account(cluster)
    for name, resources in _sizes(cluster):
        yield _test(name, resources, cluster)
    if cluster.gpus_per_node:
        yield _memory(cluster)
    if run:
        yield _run(cluster)


def _sizes(cluster: Cluster) -> Iterator[tuple[str, Resources]]:
    """The smallest and the largest job that a submission asks for."""
    minutes = int(60 * cluster.hours)
    yield "small job", Resources(1, min(1, cluster.gpus_per_node), cluster.cpus_per_gpu, cluster.least_minutes)
    yield "largest job", Resources(cluster.nodes, cluster.gpus_per_node, cluster.cpus_per_gpu, minutes)


def _memory(cluster: Cluster) -> CheckResult:
    """Which runs of the tables do not fit a GPU; no fault of the entry, and what would make them fit."""
    if not cluster.gpu_memory_gb:
        return CheckResult(True, "memory", "gpu_memory_gb is not set, so that submit cannot tell what does not fit")
    remarks: list[str] = []
    fitting(
        lacking([build_table(number) for number in TABLES], {}, Rates()), cluster, Wish(too_large="submit"), remarks
    )
    return CheckResult(True, "memory", "; ".join(remarks) or "every run of the tables fits a GPU")


def _partition(cluster: Cluster) -> CheckResult:
    status, output = _ask("sinfo", "--noheader", "--format=%R")
    names = list(dict.fromkeys(output.split()))
    wanted = [name for name in cluster.partition.split(",") if name]
    unknown = [name for name in wanted if name not in names]
    if status or unknown:
        return CheckResult(
            False, "partition", f"unknown {', '.join(unknown)}; known: {', '.join(names)}" if names else output
        )
    return CheckResult(True, "partition", ", ".join(wanted) or "the default one")


def _account(cluster: Cluster) -> CheckResult:
    """Account and quality of service, where SLURM keeps accounts; sbatch --test-only then decides."""
    options = ["--noheader", "--parsable2", "format=account,qos", "where", f"user={user()}"]
    status, output = _ask("sacctmgr", "show", "associations", *options)
    known = [line.split("|") for line in output.split() if "|" in line]
    if status or not known:
        return CheckResult(True, "account", "SLURM keeps no accounts; sbatch decides")
    accounts = list(dict.fromkeys(line[0] for line in known))
    qualities = list(dict.fromkeys(quality for line in known for quality in line[1].split(",")))
    if cluster.account and cluster.account not in accounts:
        return CheckResult(False, "account", f"{cluster.account} is not yours; yours: {', '.join(accounts)}")
    if cluster.qos and cluster.qos not in qualities:
        return CheckResult(False, "account", f"qos {cluster.qos} is not yours; yours: {', '.join(qualities)}")
    return CheckResult(True, "account", " ".join(filter(None, (cluster.account, cluster.qos))))


def _test(name: str, resources: Resources, cluster: Cluster) -> CheckResult:
    with tempfile.TemporaryDirectory() as folder:
        text = sbatch_text(Job(kind="probes", steps=(), resources=resources), cluster, Path(folder))
        status, output = _ask("sbatch", "--test-only", given=text)
    return CheckResult(not status, name, output.replace("sbatch: ", "") or "accepted")


def _run(cluster: Cluster) -> CheckResult:
    """Run a job like those of a submission that imports what tasks import."""
    _, resources = next(_sizes(cluster))
    folder = Path(tempfile.mkdtemp(prefix="compmod-check-", dir="."))  # a folder that the nodes see, unlike /tmp
    log = (folder / "log").resolve()
    python = cluster.python or shlex.quote(sys.executable)
    text = sbatch_text(Job(kind="probes", steps=(), resources=resources), cluster, folder.resolve())
    head = text.partition("# command")[0]
    script = f'{head}\nsrun --output {shlex.quote(str(log))} {python} -P -c "{PROGRAM}"\n'
    try:
        status, output = _ask("sbatch", "--parsable", given=script)
        if status:
            return CheckResult(False, "run", output)
        number, until = output.partition(";")[0], time.monotonic() + RUN_S
        while (job := queued([number]).get(number)) and job.live:
            if time.monotonic() > until:
                _ask("scancel", number)
                return CheckResult(
                    False, "run", f"job {number} has not ended in {RUN_S / 60:.0f} minutes: {job.reason}"
                )
            time.sleep(1)
        words = log.read_text(errors="replace").split() if log.is_file() else []
        return CheckResult("torch" in words, "run", " ".join(words[-12:]) or f"job {number} wrote no log")
    finally:
        shutil.rmtree(folder)


def _ask(*command: str, given: str = "") -> tuple[int, str]:
    """Exit status and output of a command, in one line. It reads a script from `given`: others may write to folders."""
    try:
        with clean_environment():
            done = subprocess.run(
                command, input=given, capture_output=True, text=True, errors="replace", timeout=ANSWER_S, check=False
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, " ".join((done.stdout + done.stderr).split())
