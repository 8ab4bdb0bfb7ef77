"""Terminal: a status as a terminal shows it, once or again and again (rich)."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from ...pretrain.files.printable import printable
from ..clusters.squeue import NEVER
from .read import StatusReader
from .status import STATES, Status, TaskState, TaskStatus, counted

REFRESH_S = 2.0  # between looks at records
ASK_S = 10.0  # between questions to SLURM's controller, which others ask too
ROWS = 15  # of each list; --json has all
BAR = 20  # columns
WIDE = 120  # columns of a terminal from which on a list tells more
PIPED = 160  # columns where the output is no terminal
SILENT_S = 900.0  # without a sign of life that are worth a remark

STYLES: dict[TaskState, str] = {
    "done": "green",
    "running": "cyan",
    "queued": "yellow",
    "failed": "red",
    "lost": "red",
    "stopped": "magenta",
    "damaged": "red",
    "unknown": "magenta",
    "to do": "dim",
}
ALWAYS: tuple[TaskState, ...] = ("done", "running", "queued", "failed", "to do")
REASONS = {  # of squeue's, what they mean here
    "Dependency": "waits for its pretraining",
    NEVER: "its pretraining failed; compmod retry",
    "BeginTime": "not before its time; a stopped job waits a little",
    "JobArrayTaskLimit": "as many of its array run as may",
}


def console() -> Console:
    """One as wide as the terminal, or wide enough for whole lines where there is none."""
    usual = Console(highlight=False, markup=False)
    wide_enough = usual.is_terminal or "COLUMNS" in os.environ
    return usual if wide_enough else Console(highlight=False, markup=False, width=PIPED)


def watch(reader: StatusReader, console: Console) -> None:
    """Show the status until the user interrupts."""
    asked = time.monotonic()
    with Live(shown(reader.read(), console.width), console=console, auto_refresh=False, screen=False) as live:
        while True:
            time.sleep(REFRESH_S)
            ask = time.monotonic() - asked >= ASK_S
            asked = time.monotonic() if ask else asked
            live.update(shown(reader.read(ask=ask), console.width), refresh=True)


def shown(status: Status, width: int) -> Group:
    """Counts by table of the paper, then what runs, failed, is lost and waits."""
    parts: list[RenderableType] = [_overview(status, width)]
    by_state: dict[TaskState, list[TaskStatus]] = {state: [] for state in STATES}
    for task in status.tasks:
        by_state[task.state].append(task)
    wide = width >= WIDE
    if by_state["running"]:
        parts += ["", _running(by_state["running"], wide)]
    ended = [task for state in ("failed", "lost", "damaged") for task in by_state[state]]
    if ended:
        parts += ["", _failed(ended, wide)]
    if by_state["queued"]:
        parts += ["", _queued(by_state["queued"])]
    if by_state["stopped"]:
        parts += ["", _plain(f"{len(by_state['stopped'])} begun by hand and stopped; compmod submit goes on with them")]
    parts += (
        ["", *(_plain(f"warning: {printable(remark)}", "yellow") for remark in status.remarks)]
        if status.remarks
        else []
    )
    return Group(*parts)


def units_of_time(seconds: float) -> str:
    """In its two largest units: 3d 4h, 4h 05m, 5m 06s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {rest:02}s"


def _overview(status: Status, width: int) -> Table:
    wide = width >= WIDE
    counts = [(f"Table {number}", counted(status.of_table(number))) for number in status.numbers]
    if len(counts) > 1:
        counts.append(("all, each once" if wide else "all", counted(status.tasks)))
    states = [state for state in STATES if state in ALWAYS or any(count[state] for _, count in counts)]
    bars = wide or len(states) == len(ALWAYS)  # a narrow terminal has no room for both
    table = Table(box=None, padding=(0, 1) if wide else (0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    if bars:
        table.add_column("", width=BAR)
    for state in states:
        table.add_column(state, justify="right", no_wrap=True)
    table.add_column("of", justify="right")
    for name, count in counts:
        total = sum(count.values())
        bar = ProgressBar(total=max(1, total), completed=count["done"], complete_style="green", finished_style="green")
        cells = [Text(str(count[state]), style=STYLES[state] if count[state] else "dim") for state in states]
        table.add_row(name, *([bar] if bars else []), *cells, str(total))
    return table


def _running(tasks: Sequence[TaskStatus], wide: bool) -> Table:
    columns = ["epoch", "images/s", "left"] + (["for", "on"] if wide else [])
    last = ["stopped"] if any(task.stops for task in tasks) else []
    table = _table(f"{len(tasks)} running", "cyan", _work_columns(wide), columns, last)
    for task in sorted(tasks, key=lambda task: -(task.pace.share if task.pace else 0.0))[:ROWS]:
        pace = task.pace
        epoch = f"{pace.epoch:.{0 if pace.epochs >= 100 else 1}f}/{pace.epochs}" if pace else ""
        rate = f"{pace.images_per_second:,.0f}" if pace and pace.images_per_second else ""
        left = units_of_time(pace.seconds_left) if pace and pace.seconds_left is not None else ""
        if pace and pace.silent_s > SILENT_S:
            left = f"silent {units_of_time(pace.silent_s)}"
        more = [printable(task.elapsed), printable(task.nodes)] if wide else []
        stops = _counted(task.stops) if wide else f"{sum(task.stops.values())}x" if task.stops else ""
        table.add_row(*_work(task, wide), epoch, rate, left, *more, *([stops] if last else []))
    return _with_rest(table, len(tasks))


def _failed(tasks: Sequence[TaskStatus], wide: bool) -> RenderableType:
    title = f"{len(tasks)} failed or lost"
    if wide:
        table = _table(title, "red", _work_columns(wide), [], ["why"])
        for task in tasks[:ROWS]:
            table.add_row(*_work(task, wide), _why(task))
        return _with_rest(table, len(tasks))
    lines = [Text(title, style="bold red")]
    for task in tasks[:ROWS]:
        digest, *work = _work(task, wide)
        lines.append(Text(f"{digest}  {', '.join(work[:-1])}, seed {work[-1]}: ", style="default").append(_why(task)))
    if len(tasks) > ROWS:
        lines.append(_plain(_rest(len(tasks)), "dim italic"))
    return Group(*lines)


def _why(task: TaskStatus) -> Text:
    why = Text(task.kind or task.state, style="red")
    return why.append(f": {printable(task.reason)}" if task.reason else "", style="default")


def _queued(tasks: Sequence[TaskStatus]) -> Table:
    """By reason: hundreds wait for few."""
    groups: dict[str, list[TaskStatus]] = {}
    for task in tasks:
        groups.setdefault(task.reason, []).append(task)
    table = _table(f"{len(tasks)} queued", "yellow", [], ["jobs"], ["why", "what", "stopped"])
    for reason, some in sorted(groups.items(), key=lambda group: -len(group[1]))[:ROWS]:
        kinds = Counter(task.spec.protocol for task in some)
        named = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        stops = sum((Counter(task.stops) for task in some), Counter[str]())
        meaning = f"{reason}: {REASONS[reason]}" if reason in REASONS else printable(reason) or "to start soon"
        table.add_row(str(len(some)), meaning, named, _counted(stops))
    return _with_rest(table, len(groups))


def _table(title: str, style: str, texts: Sequence[str], numbers: Sequence[str], last: Sequence[str]) -> Table:
    headers = [Column(name, no_wrap=True) for name in texts]
    headers += [Column(name, justify="right", no_wrap=True) for name in numbers]
    headers += [Column(name, overflow="fold" if name == "why" else "ellipsis") for name in last]
    table = Table(*headers, title=title, title_style=f"bold {style}", title_justify="left", box=None, pad_edge=False)
    table.header_style = "dim"
    return table


def _with_rest(table: Table, count: int) -> Table:
    if count > ROWS:
        table.caption, table.caption_justify = _rest(count), "left"
    return table


def _rest(count: int) -> str:
    return f"and {count - ROWS} more; --json lists all"


def _work_columns(wide: bool) -> list[str]:
    return ["digest", "job", "tables", "work", "data", "seed"] if wide else ["digest", "work", "data", "seed"]


def _work(task: TaskStatus, wide: bool) -> list[str]:
    """What identifies a task; a pretraining is named by its method alone."""
    digest = task.spec.digest
    short = (
        [digest, printable(task.entry.job_id) if task.entry else "", " ".join(map(str, task.tables))]
        if wide
        else [digest[:6]]
    )
    protocol = "" if task.spec.kind == "pretraining" else task.spec.protocol
    cell = task.cell if wide else task.cell.replace("lambda", "λ").replace(",", "")
    name = " ".join(filter(None, (task.run.label, cell, protocol)))
    return [*short, name, task.run.data_label, str(task.run.seed)]


def _counted(stops: Mapping[str, int]) -> str:
    return ", ".join(f"{count}x {kind}" for kind, count in stops.items())


def _plain(text: str, style: str = "") -> Text:
    return Text(text, style=style)
