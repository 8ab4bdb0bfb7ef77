"""Place: which process of a run this is, by what torchrun or SLURM put into the environment; imports no torch."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Mapping
from typing import NamedTuple

_PORTS = (10_000, 50_000)  # of a job's meeting point, chosen by its number


class Place(NamedTuple):
    """This process among those of a run."""

    rank: int
    world: int
    local_rank: int  # on its node: which GPU it takes


def place_of(environment: Mapping[str, str]) -> Place:
    """This process's place by the variables of torchrun, else of a SLURM job step; alone without them.

    Raises ValueError on variables that contradict each other.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if "WORLD_SIZE" not in environment:
        names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
    if names[1] not in environment:
        return Place(0, 1, 0)
    try:
        place = Place(*(int(environment[name]) for name in names))
    except (KeyError, ValueError):
        found = {name: environment.get(name, "unset") for name in names}
        raise ValueError(f"cannot tell this process's place from {found}; expected three whole numbers") from None
    if not 0 <= place.rank < place.world:
        raise ValueError(f"{names[0]} {place.rank} must be below {names[1]} {place.world}")
    return place


def meeting_point(environment: Mapping[str, str]) -> dict[str, str]:
    """Address and port of the first process of a SLURM job step: its first node, a port by the job's number."""
    first = _scontrol("show", "hostnames", environment.get("SLURM_STEP_NODELIST", "")).split()[0]
    low, high = _PORTS
    key = int(environment.get("SLURM_JOB_ID", 0)) * 31 + int(environment.get("SLURM_STEP_ID", 0))
    return {"MASTER_ADDR": _address(first), "MASTER_PORT": str(low + key % (high - low))}


def _address(node: str) -> str:
    """How to reach a node: by its name, or where that is SLURM's alone, as SLURM itself does (NodeAddr)."""
    try:
        socket.getaddrinfo(node, None)
    except OSError:
        shown = _scontrol("--oneliner", "show", "node", node)
        return next((word.partition("=")[2] for word in shown.split() if word.startswith("NodeAddr=")), node)
    return node


def _scontrol(*arguments: str) -> str:
    return subprocess.run(["scontrol", *arguments], capture_output=True, text=True, check=True).stdout
