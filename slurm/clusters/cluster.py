"""Cluster: where jobs run and what they may ask for, from a small TOML file that the user owns.

The options are those of sbatch (man sbatch); submitit's SLURM executor passes them on. The result of a run does not
depend on its cluster, so nothing here is part of a spec.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...pretrain.files.printable import printable
from ...pretrain.files.stored_toml import sections
from ...pretrain.files.whole_file import write_whole
from ..shared_files import blocked, read_regular

VARIABLE = "COMPMOD_CLUSTERS"  # names another file
HERE = "compmod.toml"
HOME = ".config/compmod/clusters.toml"
SECTION = "cluster"  # of the file: [cluster.NAME]

OptionValue = str | int | float | bool


LIMITS: Mapping[str, tuple[float, float]] = {  # of numbers, both ends included; no cluster has more
    "gpus_per_node": (0, 1_024),
    "nodes": (1, 65_535),
    "cpus_per_gpu": (1, 4_096),
    "mem_gb": (0, 1_000_000),
    "gpu_memory_gb": (0, 100_000),
    "hours": (0, 87_840),  # ten years
    "least_minutes": (1, 5_270_400),
    "warning_s": (0, 65_535),  # SLURM's own limit, man sbatch
    "max_parallel": (0, 4_000_000),
    "max_array": (1, 4_000_000),  # SLURM's own limit, man slurm.conf
    "max_submitted": (0, 4_000_000),
}
OURS = ("array", "dependency", "error", "open-mode", "output", "signal", "wrap")  # options of sbatch that we set
OURS_OF_SRUN = ("--output", "-o", "--error", "-e", "--cpus-per-task", "-c", "--kill-on-bad-exit", "-K")
LISTS: Mapping[str, str] = {"setup": "line", "srun_args": "argument", "python": "argument"}  # the word for one of each
LARGEST = 2**63  # of numbers in options


def _check(cluster: str, name: str, value: Any, default: Any) -> None:  # above Cluster, for CLUSTERS holds one
    """Raise ValueError unless `value` has the type of its default, is within its limits, and is one printable line."""
    if name in LISTS:
        right = isinstance(value, tuple) and all(isinstance(part, str) for part in value)
        expected = f"a list of {LISTS[name]}s"
        if name == "python":
            right, expected = isinstance(value, str) or (right and bool(value)), f"a string or {expected}"
    elif name == "sbatch":
        right = isinstance(value, tuple) and all(isinstance(option, OptionValue) for _, option in value)
        expected = "a table of options"
    elif isinstance(default, bool):
        right, expected = isinstance(value, bool), "true or false"
    elif isinstance(default, int | float):
        number = int if isinstance(default, int) else int | float
        right = isinstance(value, number) and not isinstance(value, bool)
        expected = "a whole number" if isinstance(default, int) else "a number"
    else:
        right, expected = isinstance(value, str), "a string"
    if not right:
        raise ValueError(f"cluster {cluster}: {name} must be {expected}, not {_short(value)}")
    if name in LIMITS:
        least, most = LIMITS[name]
        if not least <= value <= most:  # NaN is neither
            bound = f"at most {most:,}" if value > most else f"at least {least}" if value < least else "a finite number"
            raise ValueError(f"cluster {cluster}: {name} must be {bound}, not {_short(value)}")
    for word, text in _texts(name, value):
        if not text.isprintable():
            raise ValueError(f"cluster {cluster}: {word} must be one line without control characters, not {text!r}")
    if name == "sbatch":
        _check_options(cluster, value)
    if name in ("python", "notify") and isinstance(value, str):
        _check_quotes(cluster, name, value)
    if name == "srun_args" and (ours := [text for text in value if text.partition("=")[0] in OURS_OF_SRUN]):
        raise ValueError(
            f"cluster {cluster}: {ours[0]!r} of srun_args is set by compmod itself, as {', '.join(OURS_OF_SRUN)} are"
        )


def _check_quotes(cluster: str, name: str, text: str) -> None:
    """Raise ValueError on text of the shell that ends within quotes, which would swallow what follows."""
    try:
        shlex.split(text)
    except ValueError as error:
        raise ValueError(f"cluster {cluster}: {name} is no command of the shell: {error}, in {text!r}") from error


def _check_options(cluster: str, options: tuple[tuple[str, Any], ...]) -> None:
    """Raise ValueError on an option of sbatch with a wrong name or value, or that compmod sets itself."""
    for option, value in options:
        if not re.fullmatch("[a-z][a-z0-9-]*", option.replace("_", "-")):
            raise ValueError(f"cluster {cluster}: sbatch has an option {option!r}; expected a name such as mail-type")
        if option.replace("_", "-") in OURS:
            raise ValueError(f"cluster {cluster}: sbatch.{option} is set by compmod itself, as {', '.join(OURS)} are")
        if isinstance(value, int | float) and not -LARGEST < value < LARGEST:  # NaN is neither
            raise ValueError(
                f"cluster {cluster}: sbatch.{option} must be a finite number of 64 bits, not {_short(value)}"
            )


def _texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every string in a setting, with its name."""
    if isinstance(value, str):
        yield name, value
    elif name in LISTS:
        yield from ((f"{LISTS[name]} {number} of {name}", text) for number, text in enumerate(value, 1))
    elif name == "sbatch":
        yield from ((f"sbatch.{option}", text) for option, text in value if isinstance(text, str))


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # thousands of digits
        return "such a number"
    return text if len(text) < 100 else f"{text[:97]}..."


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A SLURM cluster, or this machine, that runs jobs. Raises ValueError, naming the field, on a wrong value."""

    name: str
    executor: Literal["slurm", "local"] = "slurm"  # local: processes of this machine, one job of theirs each
    partition: str = ""  # "" = the cluster's own default, here and below
    account: str = ""
    qos: str = ""
    constraint: str = ""
    gpus_per_node: int = 1  # GPUs that a pretraining on large images takes on each of its nodes; 0 = a CPU cluster
    gpu_type: str = ""  # such as a100
    gpu_memory_gb: float = 0.0  # of one GPU, as its maker counts them (GiB); 0 = not told, and then nothing is compared
    nodes: int = 1  # of a pretraining on large images; other jobs take one GPU of one node
    cpus_per_gpu: int = 8  # cores of a task; a job has one task a GPU, or one task without a GPU
    mem_gb: float = 0.0  # of a task; 0 = the cluster's default
    hours: float = 24.0  # the longest limit that a job may ask for
    least_minutes: int = 10  # the shortest limit that a job asks for
    warning_s: int = 120  # a job gets the signal to save so long before its limit
    requeue: bool = True  # whether a stopped job queues itself again
    max_parallel: int = 32  # tasks of an array that run at once; on a local one, of everything; 0 = as many as fit
    max_array: int = 1000  # tasks of an array; SLURM's MaxArraySize less one, 1000 unless the cluster says otherwise
    max_submitted: int = 0  # tasks of yours that may wait and run at once, those of other work too; 0 = no limit
    python: str | tuple[str, ...] = ""  # of the nodes: text of the shell, or a list of words; "" = the one that submits
    srun_args: tuple[str, ...] = ()  # arguments of srun for every task, such as those of pyxis
    setup: tuple[str, ...] = ()  # lines of shell before the task, such as module load cuda
    notify: str = ""  # a command of the shell that is called when a submission has ended
    sbatch: tuple[tuple[str, OptionValue], ...] = ()  # any other option of sbatch; true = without a value

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(printable(str(self.name)), field.name, getattr(self, field.name), field.default)
        if self.executor not in ("slurm", "local"):
            raise ValueError(f"cluster {self.name}: unknown executor {self.executor!r}; known: slurm, local")
        if not 60 * self.hours >= self.least_minutes:
            raise ValueError(
                f"cluster {self.name}: hours {self.hours} must be at least least_minutes {self.least_minutes}"
            )
        if self.notify and self.max_submitted == 1:
            raise ValueError(f"cluster {self.name}: with notify, whose job counts, max_submitted must be 2 or more")
        for name, alone in (("nodes", 1), ("max_submitted", 0), ("srun_args", ())):
            given = getattr(self, name)
            if self.local and given != alone:
                raise ValueError(f"cluster {self.name}: {name} must be {alone} with executor 'local', not {given}")

    @property
    def local(self) -> bool:
        """Whether jobs are processes of this machine."""
        return self.executor == "local"

    @property
    def command(self) -> str:
        """The Python of the nodes, as text of the shell."""
        if isinstance(self.python, str):
            return self.python or shlex.quote(sys.executable)
        return shlex.join(self.python)


CLUSTERS: dict[str, Cluster] = {  # those that need no file
    "local": Cluster(
        name="local",
        executor="local",
        gpus_per_node=0,  # local.py gives each job one of the machine's GPUs
        cpus_per_gpu=1,
        max_parallel=0,  # one a GPU, or one a core
        requeue=False,
    ),
}


def clusters_file(environment: Mapping[str, str] = os.environ) -> Path:
    """The file of clusters: that of $COMPMOD_CLUSTERS, else ./compmod.toml if it exists, else the one in ~/.config.

    The first and the last need not exist: `compmod cluster new` writes the file.
    """
    if environment.get(VARIABLE):
        return Path(environment[VARIABLE])
    here = Path(HERE)
    return here if here.is_file() else Path.home() / HOME


def clusters(file: Path | None = None) -> dict[str, Cluster]:
    """Every known cluster: the built-in ones and those of the file. Raises ValueError on a mistake in the file."""
    file = clusters_file() if file is None else file
    try:
        content = read_regular(file)
    except FileNotFoundError:
        return dict(CLUSTERS)
    try:
        return CLUSTERS | {name: _read(name, entry) for name, entry in sections(content, SECTION).items()}
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def cluster_named(name: str, file: Path | None = None) -> Cluster:
    """The cluster of that name. Raises ValueError, which lists the known ones, where there is none."""
    known = clusters(file)
    if name not in known:
        where = clusters_file() if file is None else file
        raise ValueError(
            f"unknown cluster {name!r}; known: {', '.join(known)} (file: {where}); `compmod cluster new {name}` adds it"
        )
    return known[name]


def new_entry(name: str, file: Path | None = None) -> Path:
    """Append an entry that explains every setting, for the user to edit. Raises ValueError where the name exists."""
    file = clusters_file() if file is None else file
    if name in clusters(file):
        raise ValueError(f"cluster {name!r} is there already, built in or in {file}; take another name or edit it")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError(f"a cluster's name has letters, digits, _ and - only, not {name!r}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        before = file.read_text(encoding="utf-8") if file.is_file() else ""
        write_whole(file, (before + "\n" * bool(before) + _TEMPLATE.format(name=name)).encode())
    except OSError as error:
        raise blocked("write", file, error) from error
    return file


_TEMPLATE = """\
[cluster.{name}]
# A commented line shows the default. `sinfo` lists partitions, `sacctmgr show associations` your accounts.
# partition = ""        # "" = the cluster's own default
# account = ""
# qos = ""
# constraint = ""       # features of nodes
# gpus_per_node = 1     # that a pretraining on large images takes on each node; all else takes one; 0 = CPUs only
# gpu_type = ""         # such as "a100"
# gpu_memory_gb = 0.0   # of one GPU, such as 80: what needs more is not submitted unasked; 0 = compare nothing
# nodes = 1             # that a pretraining on large images takes
# cpus_per_gpu = 8      # cores of a task; there is one task a GPU
# mem_gb = 0.0          # of a task; 0 = the cluster's default
# hours = 24.0          # the longest limit that a job may ask for
# least_minutes = 10    # the shortest limit that a job asks for
# warning_s = 120       # a job gets the signal to save so long before its limit
# requeue = true        # whether a stopped job queues itself again
# max_parallel = 32     # tasks of one array that run at once; 0 = as many as fit
# max_array = 1000      # tasks of one array; `scontrol show config` has the cluster's MaxArraySize, which is one more
# max_submitted = 0     # tasks of yours that may wait and run at once (MaxSubmitJobs); 0 = no limit
# python = ""           # on the compute nodes, such as ["apptainer", "exec", "--nv", "/images/compmod.sif", "python3"]
# srun_args = []        # of every task, such as ["--container-image=/images/compmod.sqsh"]
# setup = []            # lines of shell before a task, such as ["module load cuda"]
# notify = ""           # a command that is called when a submission has ended, such as "mail -s compmod me@lab.org"
# sbatch = {{}}           # any other option of sbatch, such as {{ mail-type = "FAIL", exclusive = true }}
"""


def _read(name: str, entry: dict[str, Any]) -> Cluster:
    if not name.isprintable() or not name.strip():
        raise ValueError(f"a cluster's name must be printed characters, not {name!r}")
    valid = {field.name for field in dataclasses.fields(Cluster)} - {"name"}
    if unknown := sorted(set(entry) - valid):
        named = ", ".join(map(repr, unknown))
        raise ValueError(f"cluster {name}: unknown setting {named}; known: {', '.join(sorted(valid))}")
    given = dict(entry)
    given |= {name: tuple(given[name]) for name in LISTS if isinstance(given.get(name), list)}
    if isinstance(given.get("sbatch"), dict):
        given["sbatch"] = tuple(given["sbatch"].items())
    return Cluster(name=name, **given)
