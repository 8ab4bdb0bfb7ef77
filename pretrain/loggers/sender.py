"""Sender: the process of one foreign logger; `foreign` starts it as `python -m compmod.pretrain.loggers.sender`.

Rows come as lines of JSON; their end is the end of the training, however that came. The file notes.json keeps the id of
the package's run and the last step sent of every value. It is written before the rows are sent: a resumed training logs
to the same run, and no step twice.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import queue
import secrets
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..files.stored_json import parse_object, read_object
from ..files.whole_file import write_whole
from ..records.record import Record
from .told import Told, told

END_S = 60.0  # after the end of the training, within which everything is sent, or lost
FAILED = 3  # exit status after an error, which is then the last line of the output
MOST_ROWS = 100  # noted at once; where this process is killed, they may be lost
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)  # they are for the training


class Row(NamedTuple):
    """What a training logs at one step; values by names such as train/loss."""

    step: int
    values: dict[str, float]


class ForeignRun(Protocol):
    """A run of a package; `open_run` of the package's module begins it, or goes on with it."""

    def sent(self) -> dict[str, int] | None:
        """The last step of every value that the package has; None where it cannot tell, and notes must do."""

    def log(self, rows: Sequence[Row]) -> None:
        """Send rows, in order; raises whatever error the package raises."""

    def close(self, *, finished: bool) -> None:
        """Send what is left; `finished`: the training has reached its end."""


class RowByRow:
    """A run of a package that takes a row at a time; a subclass says how it ends."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def sent(self) -> None:
        """Not to be learned: it may be in files or on a server that cannot be asked."""

    def log(self, rows: Sequence[Row]) -> None:
        """Send rows."""
        for row in rows:
            self._run.log(row.values, step=row.step)


class Notes:
    """The id of the package's run and the last step sent of every value, kept in a file."""

    def __init__(self, file: Path, digest: str) -> None:
        """Read the notes, or begin them. Raises ValueError where they are damaged."""
        self._file = file
        stored = read_object(file) or {"id": f"{digest}-{secrets.token_hex(3)}", "sent": {}}
        id, sent = stored.get("id"), stored.get("sent")
        steps = sent.values() if isinstance(sent, dict) else [None]
        if not isinstance(id, str) or not all(isinstance(step, int) for step in steps):
            raise ValueError(f"{file}: expected an id and the steps sent; remove the file to begin a new run")
        self.id: str = id
        self.sent: dict[str, int] = dict(sent or {})
        self._save()

    def new(self, rows: Sequence[Row]) -> list[Row]:
        """What of the rows was not sent, noted as sent."""
        new = []
        for step, values in rows:
            left = {name: value for name, value in values.items() if step > self.sent.get(name, -1)}
            if left:
                self.sent |= dict.fromkeys(left, step)
                new.append(Row(step, left))
        if new:
            self._save()
        return new

    def _save(self) -> None:
        write_whole(self._file, json.dumps({"id": self.id, "sent": self.sent}).encode())


def send(name: str, folder: Path, kind: str) -> None:
    """Send the rows of standard input to the package `name`; `folder` is its own inside the record's folder.

    `kind` is the module that defines the kind of the record's spec.
    """
    importlib.import_module(kind)
    received = _receive()
    with open(folder / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the process of a killed training may still send its last rows
        spec = Record.open(folder.parents[1]).spec
        notes = Notes(folder / "notes.json", spec.digest)
        run = _open(name, told(spec, notes.id), folder)
        if (there := run.sent()) is not None:
            notes.sent = there
        finished = False
        for lines in received:
            finished |= any("finished" in line for line in lines)
            if rows := notes.new([Row(line["step"], line["values"]) for line in lines if "step" in line]):
                run.log(rows)
        run.close(finished=finished)


def _open(name: str, told: Told, folder: Path) -> ForeignRun:
    run: ForeignRun = importlib.import_module(f".{name}_run", __package__).open_run(told, folder)
    return run


def _receive() -> Iterator[list[dict[str, Any]]]:
    """Lines as they come, up to MOST_ROWS at once; END_S after their end this process ends, whatever it does."""
    lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin.buffer:
            if line.endswith(b"\n"):  # else the training was killed while it wrote
                lines.put(parse_object(line, "a row"))
        lines.put(None)
        time.sleep(END_S)
        print(f"TimeoutError: it was not done {END_S:.0f} s after the end of the training", flush=True)
        os._exit(FAILED)

    threading.Thread(target=read, daemon=True).start()

    def batches() -> Iterator[list[dict[str, Any]]]:
        while True:
            batch = [lines.get()]
            while batch[-1] is not None and not lines.empty() and len(batch) < MOST_ROWS:
                batch.append(lines.get())
            yield [line for line in batch if line is not None]
            if batch[-1] is None:
                return

    return batches()


def main() -> None:
    """Send; exit with FAILED after an error."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    try:
        send(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
    except Exception as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        os._exit(FAILED)  # whatever threads the package has; ours still reads


if __name__ == "__main__":
    main()
