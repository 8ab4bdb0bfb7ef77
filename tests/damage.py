"""Damage: which cases a fuzz test tries, and what a command may answer. On the path of every test.

A command on damaged input gives the right result, or one line with status 2 that names the file. COMPMOD_FUZZ_CASES
tries so many times as many cases, COMPMOD_FUZZ_SEED others; the default takes about a minute in all.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from command_server import Said
from mutations import Mutation

SEED = os.environ.get("COMPMOD_FUZZ_SEED", "20240224")
TIMES = float(os.environ.get("COMPMOD_FUZZ_CASES", "1"))
SHOWN = 300  # characters of what a command said


def chance_of(name: str) -> random.Random:
    """A generator of that test's own."""
    return random.Random(f"{SEED} {name}")


def chosen(mutations: Sequence[Mutation], count: int, chance: random.Random) -> list[Mutation]:
    """So many of them, or TIMES as many, drawn without repetition."""
    return chance.sample(list(mutations), min(len(mutations), round(count * TIMES)))


def fault(said: Said, names: Sequence[str]) -> str:
    """What is wrong with how a command ended, whatever it computed; "" = nothing.

    `names` are those of the damaged file: an error has one of them.
    """
    if not isinstance(said.status, int):
        return said.status
    if said.status < 0:
        return f"killed by signal {-said.status}"
    if "Traceback" in said.err:
        return f"a traceback: {said.err.strip().splitlines()[-1][:SHOWN]}"
    if any(character in said.out + said.err for character in "\x1b\0"):
        return f"control characters in {(said.out + said.err)!r:.{SHOWN}}"
    if said.status == 0:
        return ""
    lines = [line for line in said.err.splitlines() if line.strip()]
    if said.status != 2:
        return f"status {said.status}: {said.err.strip()[:SHOWN]}"
    if len(lines) != 1 or not lines[0].startswith("error: "):
        return f"not one line: {said.err.strip()[:SHOWN]}"
    if not any(name in lines[0] for name in names):
        return f"names no file: {lines[0][:SHOWN]}"
    return ""


class Damaged:
    """A file that is damaged, and as it was again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._content, self._state = path.read_bytes(), path.stat()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(self._content)
        os.utime(self.path, ns=(self._state.st_atime_ns, self._state.st_mtime_ns))


def content(path: Path) -> bytes | None:
    """What a regular file holds; None where there is none."""
    try:
        return path.read_bytes() if stat.S_ISREG(path.stat().st_mode) else None
    except OSError:
        return None


def no_faults(cases: Sequence[tuple[Path, Mutation]], judge: Callable[[Path], str]) -> None:
    """Damage each file in its way and judge; fail with every case that was not as it should be."""
    found = []
    for path, mutation in cases:
        with Damaged(path) as damaged:
            mutation.apply(damaged)
            if said := judge(damaged):
                found.append(f"{path.parent.name}/{path.name}, {mutation.name!r}: {said}")
    if found:
        listed = "\n".join(f"- {each}" for each in found).encode("ascii", "backslashreplace").decode()
        pytest.fail(f"{len(found)} of {len(cases)} cases (seed {SEED}):\n{listed}", pytrace=False)
