"""The commands behind `compmod status` and `compmod logs`: the status of tables, and the log of a job."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, TextIO

from tyro.conf import Positional, arg

from ...pretrain.commands.options import RunsOption
from ...pretrain.files.printable import printable
from ...pretrain.specs.fields import Range
from ...tables.commands.options import CopiesOption, NumbersOption, PrecisionOption, ScaleOption, SeedsOption, built
from ..shared_files import open_regular
from ..status.read import StatusReader
from ..status.schedulers import Schedulers
from ..submission import journal
from ..submission.journal import JournalEntry

SHORTEST = 4  # characters of a digest that may stand for it; a shorter word is a table's number
LISTED = 10  # matches that an error names
POLL_S, ASK_S = 1.0, 15.0  # between reads of a log, and between questions whether its job still runs


def status_command(
    numbers: NumbersOption = (),
    scale: ScaleOption = "paper",
    seeds: SeedsOption = 1,
    copies: CopiesOption = (),
    precision: PrecisionOption = "auto",
    runs: RunsOption = Path("runs"),
    watch_: Annotated[bool, arg(name="watch", help="show it again every two seconds, until interrupted")] = False,
    json: Annotated[bool, arg(help="every task that is not done, for other programs")] = False,
) -> None:
    """Show the status of the tables' pretrainings and measurements: done, running, queued, failed and why."""
    from ..status.terminal import console, shown, watch

    if watch_ and json:
        raise ValueError("watch is for reading and json for programs; give one of them")
    reader = StatusReader(built(numbers, scale, seeds, copies, precision), runs)
    if json:
        print(reader.read().to_json(), flush=True)
        return
    screen = console()
    if watch_:
        watch(reader, screen)
    screen.print(shown(reader.read(), screen.width))


def logs_command(
    digest: Annotated[Positional[str], arg(metavar="DIGEST", help="of a spec, or the beginning of one")],
    follow: Annotated[bool, arg(help="go on printing what is added, until the job ends")] = False,
    lines: Annotated[int, Range(0, 1_000_000_000), arg(help="the last lines only, so many; 0 = all")] = 0,
    runs: RunsOption = Path("runs"),
) -> None:
    """Print the newest log of a pretraining or measurement: all starts of its job, one after another."""
    remarks: list[str] = []
    entry = named(digest, journal.entries(runs, remarks).values())
    for remark in remarks:
        print(f"warning: {printable(remark)}", file=sys.stderr, flush=True)
    path = entry.log
    if not path.is_file():
        if not follow:
            raise ValueError(f"job {entry.job_id} has written no log yet; expected {printable(str(path))}")
        print(f"job {entry.job_id} has not started; waiting for {printable(str(path))}", file=sys.stderr, flush=True)
        _wait_for(path, entry, runs)
    with io.TextIOWrapper(io.BufferedReader(open_regular(path)), "utf-8", "replace") as file:
        text = file.read()
        sys.stdout.write(_shown("".join(text.splitlines(keepends=True)[-lines:])))
        sys.stdout.flush()
        if follow:
            _follow(file, entry, runs)


def named(word: str, entries: Iterable[JournalEntry]) -> JournalEntry:
    """The one entry whose digest begins with `word`, which may also be a folder's name. Raises ValueError otherwise."""
    known, start = list(entries), Path(word).name.rpartition("-")[2]
    matches = [entry for entry in known if entry.digest.startswith(start)] if len(start) >= SHORTEST else []
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ValueError(f"{word!r} is the beginning of {len(matches)} digests: {_listed(matches)}")
    if not known:
        raise ValueError(f"no digest {word!r}: nothing was submitted from this runs folder; --runs names another one")
    raise ValueError(f"no digest begins with {word!r}, of {SHORTEST} characters at least; submitted: {_listed(known)}")


def _listed(entries: Sequence[JournalEntry]) -> str:
    named = [f"{entry.digest} ({_described(entry)})" for entry in entries[:LISTED]]
    return ", ".join(named) + (f" and {len(entries) - LISTED} more" if len(entries) > LISTED else "")


def _described(entry: JournalEntry) -> str:
    """The method and data of what was submitted, its kind where it is a measurement, and its cell."""
    return printable(" ".join(filter(None, (entry.folder.rpartition("-")[0], entry.cell))))


def _shown(text: str) -> str:
    """A log without commands to the terminal; text that was overwritten in place gets lines of its own."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in lines)


def _wait_for(path: Path, entry: JournalEntry, runs: Path) -> None:
    asked = time.monotonic()
    while not path.is_file():
        time.sleep(POLL_S)
        if time.monotonic() - asked > ASK_S:
            asked = time.monotonic()
            if not _live(entry, runs):
                raise ValueError(f"job {entry.job_id} ended and left no log at {printable(str(path))}")


def _follow(file: TextIO, entry: JournalEntry, runs: Path) -> None:
    """Print new text until the job has ended and no more text comes."""
    asked, over = time.monotonic(), not _live(entry, runs)
    while True:
        text = file.read()
        sys.stdout.write(_shown(text))
        sys.stdout.flush()
        if over and not text:
            return
        time.sleep(POLL_S)
        if time.monotonic() - asked > ASK_S:
            asked, over = time.monotonic(), not _live(entry, runs)


def _live(entry: JournalEntry, runs: Path) -> bool:
    schedulers = Schedulers(runs)
    schedulers.ask([entry])
    return schedulers.live(entry)
