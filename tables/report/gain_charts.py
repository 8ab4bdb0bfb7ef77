"""Gain charts: what "+" changes, our difference with its interval beside the paper's, a line a method and data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..paper.table import Table
from ..results.gains import Gain
from .figures import BLUE, GREY, VERMILION, WIDTH_IN, Picture, canvas, entitle, slug

LINE_IN, FRAME_IN = 0.23, 1.15  # height of a line, and of everything around the lines


def draw_gains(table: Table, gains: Sequence[Gain]) -> tuple[Picture, ...]:
    """One picture for each thing that a table measures, such as linear and 5-nn accuracy."""
    panels: dict[str, list[Gain]] = {}
    for gain in gains:
        panels.setdefault(gain.measured, []).append(gain)
    return tuple(_panel(table, measured, some) for measured, some in panels.items())


def _panel(table: Table, measured: str, gains: Sequence[Gain]) -> Picture:
    data = {gain.data for gain in gains}
    shared = data.pop() if len(data) == 1 else ""  # said once, so that the lines have the width
    title = f"What “+” changes: Table {table.number}, {measured}" + (f", {shared}" if shared else "")
    with canvas(width=WIDTH_IN, height=LINE_IN * len(gains) + FRAME_IN) as drawing:
        axis = drawing.figure.subplots()
        axis.axvline(0, color=GREY, linewidth=1.2, zorder=1)
        for height, gain in enumerate(gains):
            if gain.paper is not None:
                axis.plot(gain.paper, height, zorder=2, **_theirs(gain.compared))
            bar = gain.half_width
            axis.errorbar(gain.difference, height, xerr=bar, fmt="o", ms=5, color=BLUE, capsize=2.5, zorder=3)
        axis.set_yticks(range(len(gains)), [_label(gain, shared) for gain in gains])
        axis.set_ylim(len(gains) - 0.4, -0.6)
        axis.margins(x=0.08)
        axis.grid(visible=True, axis="x")
        axis.tick_params(axis="y", length=0)
        entitle(drawing.figure, title)
        axis.set_xlabel("points of accuracy" if gains[0].unit == "accuracy" else "points of average precision")
        _legend(drawing.figure, gains)
    return Picture(
        name=slug(f"gains table {table.number} {measured}"),
        title=title,
        alternative=describe(title, gains),
        content=drawing.content,
    )


def _theirs(compared: bool) -> dict[str, Any]:
    """The mark of the paper's difference; a cross where it is of other data than ours."""
    if compared:
        return {"marker": "D", "ms": 6, "mfc": "white", "mec": VERMILION, "mew": 1.4, "linewidth": 0}
    return {"marker": "x", "ms": 5.5, "color": VERMILION, "mew": 1.4, "linewidth": 0}


def _label(gain: Gain, shared: str = "") -> str:
    data = "" if gain.data == shared else gain.data
    return ", ".join(filter(None, (gain.label, data))) + (f" {gain.marks}" if gain.marks else "")


def _legend(figure: Any, gains: Sequence[Gain]) -> None:
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], marker="o", ms=5, linewidth=1.2 if _any_bar(gains) else 0, color=BLUE)]
    names = ["ours, 95 % interval" if _any_bar(gains) else "ours, no interval"]
    if any(gain.paper is not None for gain in gains):
        compared = gains[0].compared
        marks.append(Line2D([], [], **_theirs(compared)))
        names.append("paper" if compared else "paper, on other data")
    figure.legend(marks, names, loc="outside lower center", ncols=2, handletextpad=0.5, columnspacing=1.2)


def _any_bar(gains: Sequence[Gain]) -> bool:
    return any(gain.half_width is not None for gain in gains)


def describe(title: str, gains: Sequence[Gain]) -> str:
    """Every line in words and figures."""
    return f"{title}, in points: {'; '.join(map(_in_words, gains))}."


def _in_words(gain: Gain) -> str:
    """Such as "BYOL, CIFAR-10 +2.10 ± 0.30 over 3 seeds (paper +2.23)"."""
    half, count = gain.half_width, len(gain.plus)
    spread = f" ± {half:.2f}" if half is not None else ""
    seeds = "of one seed" if count == 1 else f"over {count} seeds"
    where = "" if gain.compared else " on other data"
    theirs = f" (paper{where} {gain.paper:+.2f})" if gain.paper is not None else ""
    return f"{_label(gain)} {gain.difference:+.2f}{spread} {seeds}{theirs}"
