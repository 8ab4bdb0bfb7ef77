"""A command in a terminal of its own, as a person at a keyboard runs it: what it prints, Ctrl-C, and what it leaves."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

CTRL_C = b"\x03"  # which the terminal turns into SIGINT for every process of the foreground group


class Terminal:
    """A Python script that runs in a pseudo-terminal, the leader of a session of its own."""

    def __init__(self, script: Path, *arguments: str) -> None:
        parts = os.pathsep.join(part for part in sys.path if part)
        environment = os.environ | {"PYTHONPATH": parts, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, str(script), *arguments]
        self.said, self.status = "", None
        self.process, self.screen = pty.fork()
        if not self.process:
            os.chdir(script.parent)
            os.execve(sys.executable, command, environment)

    def press(self, keys: bytes = CTRL_C) -> None:
        """Type."""
        os.write(self.screen, keys)

    def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Read what it prints until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not within {seconds:.0f} s; it said:\n{self.said}"
            assert self.status is None, f"it ended with status {self.status}; it said:\n{self.said}"
            self._read(0.05)
            self._look()

    def ends(self, seconds: float = 60.0) -> int:
        """Its exit status, once it has ended; that of a signal is negative."""
        end = time.monotonic() + seconds
        while self.status is None:
            assert time.monotonic() < end, f"not ended within {seconds:.0f} s; it said:\n{self.said}"
            self._read(0.05)
            self._look()
        while True:  # a terminal gives a page at a time
            before = len(self.said)
            self._read(0.2)
            if len(self.said) == before:
                return self.status

    def left(self) -> list[int]:
        """The processes of its session that still live."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                pid = int(entry.name)
                state, session = (entry / "stat").read_text().rpartition(")")[2].split()[0:4:3]
                if int(session) == self.process and state != "Z" and pid != os.getpid():
                    found.append(pid)
        return found

    def until_gone(self, seconds: float) -> None:
        """Wait until no process of its session lives."""
        end = time.monotonic() + seconds
        while left := self.left():
            assert time.monotonic() < end, f"processes {left} still live after {seconds:.0f} s; it said:\n{self.said}"
            time.sleep(0.05)

    def close(self) -> None:
        """End all that is left."""
        for pid in [*self.left(), *([self.process] if self.status is None else [])]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.status is None:
            os.waitpid(self.process, 0)
        os.close(self.screen)

    def _look(self) -> None:
        pid, status = os.waitpid(self.process, os.WNOHANG)
        if pid:
            self.status = os.waitstatus_to_exitcode(status)

    def _read(self, seconds: float) -> None:
        if select.select([self.screen], [], [], seconds)[0]:
            with contextlib.suppress(OSError):  # nobody has the other end open any more
                self.said += os.read(self.screen, 65_536).decode(errors="replace")


@contextlib.contextmanager
def terminal(script: Path, *arguments: str) -> Iterator[Terminal]:
    """A script in a terminal; what it leaves is ended."""
    started = Terminal(script, *arguments)
    try:
        yield started
    finally:
        started.close()
