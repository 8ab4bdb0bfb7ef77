"""SLURM's commands as executables that only print: a mock of their formats, for odd outputs. On the path of every test.

What the real ones do is tested on a real cluster, tests/slurm/test_on_cluster*.py.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

NAME = "mock"  # of the cluster


class PrintingSlurm:
    """A folder of executables that is all of PATH."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.shell, self.cat, self.sleep = (str(shutil.which(name)) for name in ("sh", "cat", "sleep"))
        folder.mkdir()
        monkeypatch.setenv("PATH", str(folder))

    def says(self, name: str, prints: str = "", complains: str = "", status: int = 0, seconds: int = 0) -> None:
        """From now on the command of that name prints this, and notes its arguments."""
        output, errors = self.folder / f"{name}.output", self.folder / f"{name}.errors"
        output.write_text(prints)
        errors.write_text(complains)
        path = self.folder / name
        path.write_text(
            f"#!{self.shell}\necho \"$@\" >> '{self._noted(name)}'\n"
            f"[ {seconds} = 0 ] || exec {self.sleep} {seconds}\n"
            f"{self.cat} '{output}'\n{self.cat} '{errors}' >&2\nexit {status}\n"
        )
        os.chmod(path, 0o755)

    def has(self, *jobs: str) -> None:
        """A cluster without accounting whose squeue prints these lines."""
        self.says("scontrol", f"Configuration data as of 2024-05-01\nClusterName             = {NAME}\n")
        self.says("squeue", "".join(f"{job}\n" for job in jobs))
        self.says("sacct", complains="Slurm accounting storage is disabled\n", status=1)
        self.says("scancel")

    def arguments(self, name: str) -> list[str]:
        """Those of each call of a command, as one string a call."""
        return self._noted(name).read_text().splitlines() if self._noted(name).exists() else []

    def _noted(self, name: str) -> Path:
        return self.folder / f"{name}.arguments"


def line(job_id: str, state: str, reason: str = "None") -> str:
    """Of squeue, in our format."""
    return f"{job_id}|{state}|1:02|10:00|ann|{'n1' if state == 'RUNNING' else ''}|{reason}"
