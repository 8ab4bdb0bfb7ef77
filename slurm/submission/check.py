"""Check: whether SLURM accepts what a cluster's entry asks for, before a hundred arrays are submitted."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
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
from .notify import CALLED, call, notify_text
from .script import sbatch_text
from .submit import clean_environment

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
        if run and cluster.notify:
            yield _notify(cluster)
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
        if cluster.notify:
            yield _notify(cluster)


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
    job, arguments = Job(kind="probes", steps=(), resources=resources), f"-P -c {shlex.quote(PROGRAM)}"
    number, log = _log_of(lambda folder: sbatch_text(job, cluster, folder, arguments=arguments))
    words = log.split()
    return CheckResult("torch" in words, "run", " ".join(words[-12:]) or f"job {number} wrote no log")


def _notify(cluster: Cluster) -> CheckResult:
    """Let the command of `notify` be called as at the end of a submission, with the state "test"."""
    runs = Path("runs").resolve()
    if cluster.local:
        _, log = _ask("sh", "-c", "\n".join([*cluster.setup, call(cluster, runs, [])]))
    else:
        _, log = _log_of(lambda folder: notify_text(cluster, runs, folder))
    called = f"{CALLED} 0, for COMPMOD_STATE=test"
    return CheckResult(called in log, "notify", " ".join(log.split()[-20:]) or "its job wrote no log")


def _log_of(script: Callable[[Path], str]) -> tuple[str, str]:
    """Submit the script that is made for a folder of logs; the number of its job, and its log or why there is none."""
    folder = Path(tempfile.mkdtemp(prefix="compmod-check-", dir=".")).resolve()  # nodes see it, unlike /tmp
    try:
        status, output = _ask("sbatch", "--parsable", given=script(folder))
        if status:
            return "", output
        number, until = output.partition(";")[0], time.monotonic() + RUN_S
        while (job := queued([number]).get(number)) and job.live:
            if time.monotonic() > until:
                _ask("scancel", number)
                return number, f"job {number} has not ended in {RUN_S / 60:.0f} minutes: {job.reason}"
            time.sleep(1)
        log = folder / f"{number}_0_log.out"
        return number, log.read_text(errors="replace") if log.is_file() else ""
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
