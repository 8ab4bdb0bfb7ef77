"""PrivateCluster: the real SLURM of two nodes that tests/slurm/cluster.sh brings up, and what tests do to it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

from compmod.slurm.cluster import Cluster

SCRIPT = Path(__file__).parent / "slurm" / "cluster.sh"
PATIENCE_S = 120.0  # what takes longer has gone wrong
LOOK_EVERY_S = 0.1

Node = Literal["n1", "n2"]
NODES: tuple[Node, ...] = get_args(Node)


class PrivateCluster:
    """A cluster in `folder`; `environment` is what a process needs in order to speak to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        self.environment = {**inherited, "SLURM_CONF": str(folder / "slurm.conf"), "OMP_NUM_THREADS": "1"}

    def start(self, *options: str) -> None:
        """Bring it up; nothing to do when it is up."""
        self._script("start", *options)

    def stop(self) -> None:
        """End every process of it."""
        self._script("stop")

    def fail(self, node: Node) -> None:
        """Take its power away: slurmd, jobs and all, at once."""
        self._script("fail", node)

    def orphan(self, node: Node) -> None:
        """Kill its slurmd alone; what it runs goes on, and nobody watches."""
        self._script("orphan", node)

    def revive(self, node: Node) -> None:
        """Switch a node on again and wait until it takes jobs."""
        self._script("revive", node)

    def place(self, partition: str = "low", **settings: Any) -> Cluster:
        """What our own commands call this cluster: of no GPUs, a core a task."""
        short: dict[str, Any] = {
            "gpus_per_node": 0,
            "cpus_per_gpu": 1,
            "hours": 1.0,
            "warning_s": 20,
            "max_parallel": 2,
        }
        return Cluster(name="private", partition=partition, **(short | settings))

    def run(self, *command: str, timeout: float = PATIENCE_S) -> str:
        """What a command prints. Raises AssertionError with its errors when it fails."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}{done.stdout}"
        return done.stdout

    def batch(self, *command: str) -> str:
        """`sbatch` with these arguments; the number of the job."""
        return self.run("sbatch", "--parsable", *command).strip()

    def job(self, number: str) -> dict[str, str]:
        """Every field that SLURM knows of a job or of one task of an array."""
        shown = self.run("scontrol", "--oneliner", "show", "job", number).splitlines()[0]
        return dict(word.split("=", 1) for word in shown.split() if "=" in word)

    def state(self, number: str) -> str:
        """Such as PENDING, RUNNING or COMPLETED."""
        return self.job(number)["JobState"]

    def wait(self, number: str, *states: str, timeout: float = PATIENCE_S) -> str:
        """The first of `states` that the job is seen in."""
        until(lambda: self.state(number) in states, f"job {number} in {' or '.join(states)}", timeout)
        return self.state(number)

    def queue(self) -> list[str]:
        """A line "ID STATE PARTITION" for each pending or running job, each task of an array."""
        return self.run("squeue", "--noheader", "--array", "--format=%i %T %P").splitlines()

    def clear(self) -> None:
        """Cancel every job and wait until the nodes are free."""
        self.run("scancel", "--full", "--user", "root", "--quiet")
        until(lambda: not self.queue(), "an empty queue")

    def _script(self, *arguments: str) -> None:
        action, *rest = arguments
        done = subprocess.run([SCRIPT, action, str(self.folder), *rest], capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise RuntimeError(f"tests on a real SLURM cannot run here: {done.stderr}")


def until(holds: Callable[[], bool], what: str, timeout: float = PATIENCE_S) -> None:
    """Wait until it holds. Raises AssertionError when that takes too long."""
    end = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < end, f"waited {timeout:.0f} s for {what}"
        time.sleep(LOOK_EVERY_S)
