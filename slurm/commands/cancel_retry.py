"""The commands behind `compmod cancel` and `compmod retry`: end jobs; submit failed ones again."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ...pretrain.commands.options import DataOption, LoggerOption, RunsOption
from ...pretrain.files.printable import printable
from ...pretrain.loggers.names import DEFAULT
from ...pretrain.recipes.scales import Scale
from ...pretrain.records.files import RESULTS_FILE
from ...tables.commands.options import CopiesOption, PrecisionOption, ScaleOption, SeedsOption, built
from ...tables.commands.table import ALL, numbers
from ...tables.paper.table import Table
from ..clusters.squeue import NEVER
from ..status.read import StatusReader, wanted
from ..status.schedulers import Schedulers
from ..status.status import Status, TaskStatus
from ..submission import journal
from ..submission.journal import JournalEntry
from .options import GpusOption, NodesOption, RecomputeOption, TooLargeOption
from .status import SHORTEST, named
from .submit import remaining_text

WordsOption = Annotated[
    Positional[tuple[str, ...]], arg(metavar="[N|DIGEST...]", help="tables, all, or the beginnings of digests")
]


def cancel_command(
    words: WordsOption = (),
    scale: ScaleOption = "paper",
    seeds: SeedsOption = 1,
    copies: CopiesOption = (),
    precision: PrecisionOption = "auto",
    runs: RunsOption = Path("runs"),
) -> None:
    """Cancel the jobs of tables, or of digests; the digest of a pretraining also cancels its measurements.

    Checkpoints stay. The pretraining of a table continues where jobs of other tables wait for it.
    """
    if not words:
        raise ValueError(f"cancel needs the numbers of tables, {ALL}, or digests; compmod status lists them")
    of_tables, beginnings = _parted(words, scale)
    remarks: list[str] = []
    submitted = {
        digest: entry
        for digest, entry in journal.entries(runs, remarks).items()
        if not os.path.exists(Path(runs) / entry.folder / RESULTS_FILE)
    }
    schedulers = Schedulers(runs)
    schedulers.ask(submitted.values())
    live = {digest: entry for digest, entry in submitted.items() if schedulers.live(entry)}
    chosen = {named(word, submitted.values()).digest for word in beginnings}
    chosen |= {digest for digest, entry in live.items() if _trained(entry) in _folders(chosen, submitted)}
    asked = set(wanted(built(of_tables, scale, seeds, copies, precision))) if of_tables else set[str]()
    kept = _waited_for(asked - chosen, chosen | asked, live)
    ended = [live[digest] for digest in live if digest in (chosen | asked) - kept]
    schedulers.cancel(ended)
    print(f"cancelled {_jobs(ended)}", flush=True)
    if kept:
        print(f"left {_jobs([live[digest] for digest in kept])}, which jobs of other tables wait for", flush=True)
    for remark in (*schedulers.remarks, *remarks):
        print(f"warning: {printable(remark)}", flush=True)


def retry_command(
    words: WordsOption = (),
    scale: ScaleOption = "paper",
    seeds: SeedsOption = 1,
    copies: CopiesOption = (),
    precision: PrecisionOption = "auto",
    runs: RunsOption = Path("runs"),
    data: DataOption = Path("data"),
    nodes: NodesOption = 0,
    gpus: GpusOption = -1,
    recompute: RecomputeOption = False,
    too_large: TooLargeOption = "refuse",
    logger: LoggerOption = DEFAULT,
    cluster: Annotated[str, arg(help="cluster to submit to; default: the one where each failed")] = "",
) -> None:
    """Submit again what failed or was lost, of tables (none = all) or digests, with the measurements that need it."""
    from ..clusters.cluster import cluster_named
    from ..submission.arrays import Wish
    from ..submission.submit import submit

    wish = Wish(nodes, gpus, recompute, too_large, logger)
    if cluster:
        cluster_named(cluster)  # an unknown one is an error whether or not something failed
    of_tables, beginnings = _parted(words, scale)
    tables = built(of_tables, scale, seeds, copies, precision)
    reader = StatusReader(tables, runs)
    status = reader.read()
    failed = [task for task in status.tasks if task.state in ("failed", "lost")]
    if beginnings and not of_tables:
        known = {task.spec.digest: task for task in failed}
        failed = [known[digest] for digest in _beginning(beginnings, known)]
    if not failed:
        print("nothing has failed or was lost", flush=True)
        return
    groups: dict[str, set[str]] = {}
    for task in failed:
        name = cluster or (task.entry.cluster if task.entry else "local")
        groups.setdefault(name, set()).update(_measurements(task, status))
    clusters = {name: cluster_named(name) for name in groups}
    again = set().union(*groups.values())
    stuck = [task.entry for task in status.tasks if task.entry and task.reason == NEVER and task.spec.digest in again]
    reader.schedulers.cancel(stuck)
    for name, digests in groups.items():
        sent = submit(cut(tables, digests), runs, data, clusters[name], wish)
        steps = [step.spec for job in sent.arranged.jobs for step in job.steps]
        submitted = _counted(sum(spec.kind == "pretraining" for spec in steps), len(steps))
        print(f"submitted again to {name}: {submitted}", flush=True)
        if sent.arranged.remaining:
            print(remaining_text(sent, clusters[name]), flush=True)
        for remark in sent.remarks:
            print(f"warning: {printable(remark)}", flush=True)


def cut(tables: Sequence[Table], digests: Collection[str]) -> list[Table]:
    """The tables with these measurements alone."""
    return [table.with_specs(lambda spec: spec.digest in digests) for table in tables]


def _parted(words: Sequence[str], scale: Scale) -> tuple[tuple[int, ...], list[str]]:
    """Numbers of tables, and beginnings of digests. Raises ValueError on a short word that is no table."""
    short = [word for word in words if word == ALL or len(word) < SHORTEST]
    tables: dict[int, None] = {}
    for word in short:
        tables.update(dict.fromkeys(numbers(int(word) if word.isascii() and word.isdigit() else word, scale)))
    return tuple(tables), [word for word in words if word not in short]


def _beginning(words: Sequence[str], known: Mapping[str, TaskStatus]) -> list[str]:
    """The digests that begin with the words. Raises ValueError on a word that begins no failed digest, or several."""
    digests = []
    for word in words:
        alike = [digest for digest in known if digest.startswith(Path(word).name.rpartition("-")[2])]
        if len(alike) != 1:
            listed = ", ".join(alike or known) or "none of these tables' runs"
            raise ValueError(f"{word!r} begins {len(alike)} digests of what failed; valid: {listed}")
        digests += alike
    return list(dict.fromkeys(digests))


def _measurements(task: TaskStatus, status: Status) -> set[str]:
    """Digests of the measurements to submit again: of a pretraining, all that are not done."""
    if task.spec.kind != "pretraining":
        return {task.spec.digest}
    return {
        other.spec.digest
        for other in status.tasks
        if other.spec.kind != "pretraining" and other.run.digest == task.spec.digest and other.state != "done"
    }


def _trained(entry: JournalEntry) -> str:
    """Folder of the pretraining that a measurement needs; "" for a pretraining."""
    return entry.folder.rpartition("/")[0]


def _folders(digests: Iterable[str], entries: Mapping[str, JournalEntry]) -> set[str]:
    return {entries[digest].folder for digest in digests}


def _waited_for(asked: Collection[str], ended: Collection[str], live: Mapping[str, JournalEntry]) -> set[str]:
    """Those of `asked` that must continue: jobs that do not end wait for them."""
    needed = {_trained(entry) for digest, entry in live.items() if digest not in ended}
    return {digest for digest in asked if digest in live and live[digest].folder in needed}


def _jobs(entries: Sequence[JournalEntry]) -> str:
    return _counted(sum(not _trained(entry) for entry in entries), len(entries))


def _counted(pretrainings: int, total: int) -> str:
    measurements = total - pretrainings
    parts = [(pretrainings, "pretraining"), (measurements, "measurement")]
    return " and ".join(f"{count} {noun}{'s'[: count != 1]}" for count, noun in parts if count) or "nothing"
