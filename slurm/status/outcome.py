"""Outcome: how a submission has ended, by its records, the failures that its tasks noted, and their logs.

It runs as `python -m compmod.slurm.status.outcome MARK FILE...` where no queue need answer; a FILE holds the tasks of
an array. It prints MARK and the state in a word, then a summary of printable lines: `notify` of an entry gets both.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ...pretrain.files.printable import printable
from ...pretrain.runtime.exit_status import INTERRUPTED
from ...pretrain.specs.measurement import Work
from ..submission import journal
from ..submission.journal import JournalEntry
from ..task.failures import RETRIES, Failure, histories, kind_in, retried
from ..task.log import before_task, last_line, log_tail
from ..task.task import Task, all_stored
from .read import is_of, record_status, stored_error

State = Literal["finished", "failed", "stalled"]
VISIBLE_S = 60.0  # until this node sees a file that another node wrote: caches of NFS last a minute
LISTED = 20  # tasks that a summary names
LONGEST = 200  # characters of a reason
_EXITED = re.compile(rf"^srun: error: .* Exited with exit code (?!{INTERRUPTED}\b)", re.MULTILINE)


class Outcome(NamedTuple):
    """finished: all is done; failed: a task failed; stalled: none failed, and some were given up, cancelled or lost."""

    state: State
    summary: str


class _End(NamedTuple):
    state: Literal["done", "failed", "stalled"]
    line: str  # of the summary
    certain: bool = True  # whether no file that appears later can change it


def outcome(tasks: Sequence[Task], patience_s: float = 0.0) -> Outcome:
    """The outcome of the tasks of a submission, none of which runs any more.

    It waits up to `patience_s` seconds where a task that could start has left neither a result nor a reason.
    """
    until = time.monotonic() + patience_s
    ends = _ends(tasks)
    while not all(end.certain for end in ends) and time.monotonic() < until:
        time.sleep(1.0)
        ends = _ends(tasks)
    count = Counter(end.state for end in ends)
    state: State = "failed" if count["failed"] else "stalled" if count["stalled"] else "finished"
    counts = [f"{count['done']} of {len(ends)} tasks done"]
    counts += [f"{count[name]} {name}" for name in ("failed", "stalled") if count[name]]
    lines = [end.line for end in ends if end.state != "done"]
    more = [f"and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    return Outcome(state, "\n".join([f"{state}: {', '.join(counts)}", *lines[:LISTED], *more]))


def _ends(tasks: Sequence[Task]) -> list[_End]:
    """How each task ended. A file that is damaged counts as absent."""
    runs, digests = Path(tasks[0].runs), {task.digest for task in tasks}
    remarks: list[str] = []
    entries, failures = journal.entries(runs, remarks), histories(runs, digests, remarks)
    return [_end(runs, task.decoded(), entries.get(task.digest), failures.get(task.digest, ())) for task in tasks]


def _end(runs: Path, spec: Work, entry: JournalEntry | None, history: Sequence[Failure]) -> _End:
    status = record_status(runs, spec)
    if status == "done":
        return _End("done", "")
    noted = history[-1] if history and (entry is None or is_of(history[-1], entry)) else None
    log, error = log_tail(entry.log) if entry else "", stored_error(runs, spec, entry.submitted if entry else 0.0)
    kind, reason = kind_in(f"{log}\n{error}"), error or last_line(log) or "it did not start"
    if noted and (kind is None or not retried(history)):  # else it went on, and ended anew
        kind, reason = noted.kind, f"{noted.kind}: {noted.error}"
    if kind is None and entry and (_EXITED.search(log) or before_task(entry.log)):
        kind = "bug"
    failed = status == "damaged" or (kind is not None and kind not in RETRIES and kind != "cancelled")
    state: Literal["failed", "stalled"] = "failed" if failed else "stalled"
    waits = spec.kind != "pretraining" and record_status(runs, spec.run) != "done"
    certain = failed or waits or kind == "cancelled"
    return _End(state, printable(f"{state}: {spec.folder}: {reason[:LONGEST]}"), certain)


def main(mark: str, files: Sequence[str]) -> None:
    """Print the outcome of the tasks in these files; without files, what `compmod cluster check` lets `notify` hear."""
    state, summary = "test", "This is what compmod cluster check sends."
    if files:
        tasks = [task for file in files for task in all_stored(Path(file))]
        state, summary = outcome(tasks, VISIBLE_S if "SLURM_JOB_ID" in os.environ else 0.0)
    print(f"{mark}{state}\n{summary}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
