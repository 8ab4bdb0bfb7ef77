"""Monitor: what a running pretraining tells: metrics.jsonl, loggers, a progress bar with images/s and time left."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections import deque
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..files.stored_json import read_lines
from ..files.whole_file import write_whole
from ..loggers.loggers import Loggers
from ..loggers.names import DEFAULT
from ..records.files import METRICS_FILE
from ..records.record import Record
from ..runtime.distributed import rank
from ..specs.run import Run
from .averages import Means

MOVES_NO_NUMBER = "shows progress and logs"

NO_VALUES = {"kind", "step", "epoch", "images_per_second"}  # of a line: loggers get the others
PLAIN_EVERY_S = 30.0  # without a terminal: seconds between lines


def cut_back(metrics: Path, length: int, step: int) -> None:
    """Take from a metrics.jsonl what was logged after the checkpoint of `step`, whose training makes it again.

    `length` is that of the file in bytes when the checkpoint was made. Where bytes are missing or lines are damaged,
    as after a full disk or someone's mistake, the sound lines up to `step` are kept and one line says what was lost;
    training needs none of them. Raises ValueError on what is no file.
    """
    kept, read, damaged = [], 0, 0
    ends = {0}  # of lines, in bytes
    for line, value in read_lines(metrics):
        sound = value is not None and line.endswith(b"\n") and _is_up_to(value, step)
        damaged += read < length and not sound
        read += len(line)
        ends.add(read)
        kept += [line] if sound else []
    if length in ends and not damaged and metrics.exists():
        os.truncate(metrics, length)
        return
    write_whole(metrics, b"".join(kept))
    lost = f"{max(0, length - read):,} bytes are gone, {damaged} lines damaged"
    print(f"warning: {metrics} is not what it was at step {step}: {lost}; {len(kept)} lines kept", file=sys.stderr)


def _is_up_to(line: dict[str, Any], step: int) -> bool:
    logged = line.get("step")
    return isinstance(logged, int) and not isinstance(logged, bool) and 0 <= logged <= step


class _Line(NamedTuple):
    kind: str
    step: int
    epoch: float
    means: Means | None  # of the device, which may not have computed them yet
    values: dict[str, float]  # beside the means
    rate: dict[str, float]  # images per second, of a line of training


class Monitor:
    """The outputs of one process; use as a context.

    A line is written, after those before it, once its numbers are on the host; at the latest in `flush` and at the end.
    """

    def __init__(
        self,
        record: Record,
        run: Run,
        step: int,
        total: int,
        *,
        quiet: bool = False,
        loggers: Collection[str] = DEFAULT,
    ) -> None:
        self.record, self.run, self.total, self.start = record, run, total, step
        self.writes = rank() == 0  # the other processes of a run tell nothing
        self.names = loggers
        self.quiet = quiet or not self.writes
        self.step = step
        self.last: dict[str, float | None] = {}
        self.lines: deque[_Line] = deque()  # that are not written yet
        self.images = 0
        self.since = self.spoke = time.monotonic()

    def __enter__(self) -> Self:
        self.file = open(self.record.path / METRICS_FILE if self.writes else os.devnull, "a")
        self.loggers = Loggers(self.names, self.record, self.start)
        if self.loggers.may_lack_rows:
            self._log_again()
        console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[now]}"),
            TimeRemainingColumn(),
            console=console,
            disable=self.quiet or not console.is_terminal,
            transient=True,
        )
        self.bar.start()
        name = f"{self.run.label} on {self.run.data_label}"
        self.task = self.bar.add_task(name, total=self.total, completed=self.start, now="")
        return self

    def _log_again(self) -> None:
        """Give loggers the lines of earlier processes: those before a checkpoint are not made again."""
        for _, line in read_lines(self.record.path / METRICS_FILE):
            if line is not None and isinstance(kind := line.get("kind"), str) and _is_up_to(line, self.start):
                numbers = {name: v for name, v in line.items() if name not in NO_VALUES and isinstance(v, int | float)}
                self.loggers.log_again(kind, line["step"], numbers)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._write(wait=True)
        finally:
            self.bar.stop()
            self.loggers.close(finished=kind is None)
            self.file.close()

    def advance(self, images: int) -> None:
        """One step is done."""
        self.images += images
        self.step += 1
        self.bar.advance(self.task)
        self._write()

    def pause(self, seconds: float) -> None:
        """So much of the time since the last line went into something other than training."""
        self.since += seconds

    def log(self, kind: str, step: int, epoch: float, values: dict[str, float], means: Means | None = None) -> None:
        """One line of metrics.jsonl, of the means and then the values; NaN becomes null, for JSON has none."""
        rate = {}
        if kind == "train":
            now = time.monotonic()
            rate["images_per_second"] = self.images / max(now - self.since, 1e-9)
            self.images, self.since = 0, now
        self.lines.append(_Line(kind, step, epoch, means, values, rate))
        self._write()

    def flush(self) -> int:
        """Force metrics.jsonl, with all that was logged, to disk; its length in bytes."""
        self._write(wait=True)
        self.loggers.flush()
        os.fsync(self.file.fileno())
        return self.file.tell()

    def _write(self, *, wait: bool = False) -> None:
        while self.lines and (wait or self.lines[0].means is None or self.lines[0].means.arrived()):
            kind, step, epoch, means, values, rate = self.lines.popleft()
            values = (means.values() if means else {}) | values
            row: dict[str, Any] = {"kind": kind, "step": step, "epoch": epoch, **values, **rate}
            safe = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
            if kind == "train":
                self._tell(row)
                self.last = {key: safe[key] for key in values}  # for the results, which are JSON too
            self.file.write(json.dumps(safe) + "\n")
            self.file.flush()
            self.loggers.log(kind, step, values)

    def _tell(self, row: dict[str, Any]) -> None:
        now = f"loss {row['loss']:.3f}  {row['images_per_second']:,.0f} images/s"
        self.bar.update(self.task, now=now)
        if self.quiet or not self.bar.disable or time.monotonic() - self.spoke < PLAIN_EVERY_S:
            return
        self.spoke = time.monotonic()
        share = row["step"] / self.total
        print(f"{self.run.folder}: {share:4.0%}, epoch {row['epoch']:.1f}, {now}", file=sys.stderr, flush=True)
