"""Display: runs that train side by side, as a terminal shows them while they go on (rich)."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ..pretrain.records.pace import pace
from ..pretrain.records.record import Record
from ..pretrain.specs.measurement import Measurement
from ..pretrain.specs.run import Run
from .render.amounts import duration

REFRESHES_PER_S = 1.0
LEFT = ("run", "seed", "digest")
RIGHT = ("epoch", "images/s", "left", "loss")


@contextlib.contextmanager
def displayed(
    groups: Sequence[Sequence[Measurement]], ended: Collection[str], runs: Path, names: Mapping[str, str]
) -> Iterator[None]:
    """Show those of the groups that are under way, a line for a run, until the end; nothing without a terminal.

    `ended` has the digests of the measurements that need no look any more; it may grow meanwhile. `names` are
    those of `cell_names`.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return

    def now() -> Table | str:
        shown = under_way([group for group in groups if group[-1].digest not in ended], runs, names)
        return shown if shown.row_count else "starting"

    with Live(get_renderable=now, console=console, refresh_per_second=REFRESHES_PER_S, transient=True):
        yield


def under_way(groups: Sequence[Sequence[Measurement]], runs: Path, names: Mapping[str, str]) -> Table:
    """A line for each run that trains, or whose measurements are made."""
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for name in LEFT:
        shown.add_column(name, no_wrap=True)
    for name in RIGHT:
        shown.add_column(name, justify="right", no_wrap=True)
    for group in groups:
        run = group[0].run
        if Record(runs, run).status == "running":
            shown.add_row(f"{named(run, names)} on {run.data_label}", str(run.seed), run.digest, *_pace(group[0], runs))
        elif measured := [spec for spec in group if Record(runs, spec).status == "running"]:
            name = f"{named(run, names)} on {run.data_label}: {measured[0].protocol}"
            shown.add_row(name, str(run.seed), run.digest, *("" for _ in RIGHT))
    return shown


def named(run: Run, names: Mapping[str, str]) -> str:
    """The method of a run, and its cell where that tells it apart."""
    return " ".join(filter(None, (run.label, names.get(run.digest, ""))))


def _pace(spec: Measurement, runs: Path) -> tuple[str, ...]:
    at = pace(runs, spec.run)
    if at is None:
        return ("starts", "", "", "")
    rate = f"{at.images_per_second:,.0f}" if at.images_per_second else ""
    left = "" if at.seconds_left is None else duration(at.seconds_left)
    return f"{at.epoch:.1f}/{at.epochs}", rate, left, "" if at.loss is None else f"{at.loss:.3f}"
