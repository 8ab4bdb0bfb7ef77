"""Foreign: a logger whose package runs in a process of its own, so that nothing it does can end or slow a training.

A thread hands rows over; the training never waits. The package's output goes to log.txt in the record's folder
loggers/NAME; where it fails, one line says why, and training goes on without it.
"""

from __future__ import annotations

import atexit
import json
import math
import subprocess
import sys
import threading
from collections.abc import Mapping
from queue import SimpleQueue

from ..records.record import Record
from .names import LoggerName
from .sender import END_S, FAILED

FOLDER = "loggers"  # in the record's folder


class Foreign:
    """The process that sends rows to one package. Raises OSError where it cannot be started."""

    def __init__(self, name: LoggerName, record: Record) -> None:
        self._name, self._folder = name, record.path / FOLDER / name
        self._folder.mkdir(parents=True, exist_ok=True)
        kind = type(record.spec).__module__  # what it must import to read the spec; not every kind is one of `pretrain`
        command = [sys.executable, "-P", "-m", f"{__package__}.sender", name, str(self._folder), kind]
        with open(self._folder / "log.txt", "ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the signals of a terminal are for the training
            )
        self._rows: SimpleQueue[bytes | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._hand_over, name=f"{name} logger", daemon=True)
        self._thread.start()

    def log(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """One row, of its finite values; returns at once."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self._put({"step": step, "values": finite})

    log_again = log  # the process knows what it has sent

    def flush(self) -> None:
        """Nothing: a later process logs the rows before a checkpoint again."""

    def close(self, *, finished: bool) -> None:
        """Send what is left; where the training is finished, this process ends no earlier than that is done."""
        if finished:
            self._put({"finished": True})
            atexit.register(self._thread.join, 2 * END_S)
        self._rows.put(None)

    def _put(self, row: dict[str, object]) -> None:
        if self._thread.is_alive():
            self._rows.put(json.dumps(row).encode() + b"\n")

    def _hand_over(self) -> None:
        """In the thread: write rows to the process until the end of rows, or of the process."""
        assert self._process.stdin is not None
        try:
            with self._process.stdin as pipe:
                while (row := self._rows.get()) is not None:
                    pipe.write(row)
                    pipe.flush()
        except BrokenPipeError:  # it has ended, and says why
            pass
        if status := self._process.wait():
            said = (self._folder / "log.txt").read_text(errors="replace").strip().rpartition("\n")[2]
            why = said if status == FAILED else f"its process ended with status {status}"
            print(f"warning: no more is logged to {self._name}: {why}", file=sys.stderr, flush=True)
