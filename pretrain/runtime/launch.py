"""Launch: how torchrun or SLURM started this process: its rank, and its cores. Imports no torch.

A count of SLURM may list the nodes, such as `2(x3),1`; an error names the variable that it cannot read.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Mapping
from typing import NamedTuple

MOVES_NO_NUMBER = "says which of several processes this is"

LAUNCHER = "SLURM_LAUNCH_NODE_IPADDR"
_PORTS = (10_000, 50_000)  # of a job's meeting point, chosen by its number


class Launch(NamedTuple):
    """The rank of this process among the processes of a run."""

    rank: int
    world: int
    local_rank: int  # on its node: which GPU it takes


def launch_of(environment: Mapping[str, str]) -> Launch:
    """This process's rank from the variables of torchrun, else of a SLURM job step; 0 of 1 without them.

    Raises ValueError on variables that contradict each other.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if "WORLD_SIZE" not in environment:
        names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
    if names[1] not in environment:
        return Launch(0, 1, 0)
    try:
        launch = Launch(*(_whole(environment[name]) for name in names))
    except (KeyError, ValueError):
        variables = {name: environment.get(name, "unset") for name in names}
        raise ValueError(f"cannot tell this process's rank from {variables}; expected three whole numbers") from None
    if not 0 <= launch.rank < launch.world:
        raise ValueError(f"{names[0]} {launch.rank} must be below {names[1]} {launch.world}")
    return launch


def count_here(environment: Mapping[str, str], name: str) -> int | None:
    """A count of SLURM's or torchrun's for this node, at least 1; None where the variable is not set, or empty.

    Raises ValueError, naming the variable, where it is no such count.
    """
    given = environment.get(name, "").strip()
    if not given:
        return None
    counts: list[int] = []
    for part in given.split(","):
        match = re.fullmatch(r"([0-9]{1,9})(?:\(x([0-9]{1,9})\))?", part.strip())
        count, nodes = (int(match[1]), int(match[2] or 1)) if match else (0, 0)
        if not count or not nodes:
            raise ValueError(f"{name} is {given!r}; expected counts of at least 1, such as 8, or 2(x3),1 by node")
        counts += [count] * min(nodes, 1_000_000)
    node = environment.get("SLURM_NODEID", "")
    here = int(node) if re.fullmatch("[0-9]{1,9}", node) else len(counts)
    return counts[here] if here < len(counts) else max(counts)


def cpus_per_task(environment: Mapping[str, str]) -> int | None:
    """Cores that SLURM gives each process of this step. Raises ValueError where the variable is no count."""
    return count_here(environment, "SLURM_CPUS_PER_TASK")


def cores_here(environment: Mapping[str, str], usable: int) -> int:
    """Cores of this process alone, of the `usable` ones it may run on (sched_getaffinity), at least 1.

    SLURM binds each task to its own cores, or says how many they are; torchrun's processes share those of one.
    Raises ValueError, naming the variable, on counts that cannot be understood.
    """
    given = cpus_per_task(environment)
    cores = min(usable, given) if given else usable
    if beside := count_here(environment, "LOCAL_WORLD_SIZE"):  # torchrun's processes share what its task has
        return max(1, cores // beside)
    if given or "SLURM_PROCID" not in environment:
        return max(1, cores)
    of_node = count_here(environment, "SLURM_CPUS_ON_NODE")
    if of_node and usable < of_node:  # bound to a part of what the job has here
        return max(1, cores)
    names = ("SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE")
    tasks = next((count for name in names if (count := count_here(environment, name))), 1)
    return max(1, (min(usable, of_node) if of_node else usable) // tasks)


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def meeting_point(environment: Mapping[str, str]) -> dict[str, str]:
    """Address and port of the first process of a SLURM job step: its first node, a port by the job's number.

    Raises ValueError, naming the variable, where SLURM's variables do not say that.
    """
    listed = environment.get("SLURM_STEP_NODELIST", "")
    shown = _scontrol("show", "hostnames", listed) if listed else ""
    first = next(iter(shown.split()), "") if shown is not None else first_node(listed)
    if not first:
        raise ValueError(f"SLURM_STEP_NODELIST is {listed!r}; expected the names of this step's nodes")
    low, high = _PORTS
    numbers = {}
    for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"):
        try:
            numbers[name] = _whole(environment.get(name) or "0")
        except ValueError:
            raise ValueError(f"{name} is {environment[name]!r}; expected a whole number") from None
    key = numbers["SLURM_JOB_ID"] * 31 + numbers["SLURM_STEP_ID"]
    return {"MASTER_ADDR": _address(first, environment), "MASTER_PORT": str(low + key % (high - low))}


def first_node(listed: str) -> str:
    """The first of the nodes that SLURM lists in its short form, such as n[01-03,7],m2; "" where there is none."""
    first = re.match(r"(?:[^,\[\]]|\[[^\]]*\])*", listed)
    assert first is not None, "it matches nothing, too"
    return re.sub(r"\[([0-9]*)[^\]]*\]", r"\1", first[0]).strip()


def _address(node: str, environment: Mapping[str, str]) -> str:
    """How to reach the first node: by its name, or where that is SLURM's alone, as SLURM itself does (NodeAddr).

    Without scontrol, as in a container, the address of the node that started the step stands in: the script of a job
    runs on the first node.
    """
    try:
        socket.getaddrinfo(node, None)
        return node
    except OSError:
        shown = _scontrol("--oneliner", "show", "node", node)
    if shown is not None:
        return next((word.partition("=")[2] for word in shown.split() if word.startswith("NodeAddr=")), node)
    if not environment.get(LAUNCHER):
        raise ValueError(f"node {node} has no address here; expected a name that is known, scontrol, or {LAUNCHER}")
    return environment[LAUNCHER]


def _whole(text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text):
        raise ValueError(text)
    return int(text)


def _scontrol(*arguments: str) -> str | None:
    """The output of scontrol; None where it cannot be started, as in a container. Raises ValueError where it fails."""
    try:
        return subprocess.run(["scontrol", *arguments], capture_output=True, text=True, check=True).stdout
    except OSError:
        return None
    except subprocess.CalledProcessError as error:
        reason = " ".join((error.stderr or str(error)).split())
        raise ValueError(f"scontrol {' '.join(arguments)} does not tell the nodes of this step: {reason}") from error
