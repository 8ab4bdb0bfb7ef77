"""Log: what a task's log holds: a line for every start, and near its end a line that tells why the task ended."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..shared_files import open_regular

START = "Starting with JobEnvironment"  # begins the first line of every start, as submitit prints it
TAIL_BYTES = 16_384  # of the end of a log, which are read
_UNPRINTED = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0e-\x1f\x7f]")  # colours and other commands to a terminal
_ON_EXIT = re.compile(r"srun: |slurmstepd: error: \*\*\* STEP|submitit (?:INFO|WARNING|ERROR)|\^+$|~+\^*~*$")


def log_tail(path: Path) -> str:
    """The end of a log, without what earlier starts wrote; "" where there is no log."""
    before, started, after = _end(path).rpartition(START)
    return after.partition("\n")[2] if started else before + after


def before_task(path: Path) -> bool:
    """Whether a log is all of what a job wrote before its task started, as where a line of `setup` failed."""
    text = _end(path)
    return 0 < len(text) < TAIL_BYTES and START not in text


def _end(path: Path) -> str:
    try:
        with open_regular(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read().decode(errors="replace")
    except (OSError, ValueError):
        return ""


def last_line(text: str) -> str:
    """The last line that tells why the task ended: it skips the remarks of SLURM and submitit on the exit."""
    lines = [" ".join(_UNPRINTED.sub("", line).split()) for line in text.splitlines()]
    lines = [line for line in lines if line]
    telling = [line for line in lines if not _ON_EXIT.match(line)]
    return (telling or lines or [""])[-1]
