"""Study: its figures, drawn from the records."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from compmod.pretrain.records.files import METRICS_FILE
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import PLUS
from compmod.tables.paper.table import Table
from compmod.tables.report.curves import read_metrics
from compmod.tables.report.figures import BLUE, GREY, VERMILION, WIDTH_IN, Picture, canvas, entitle
from compmod.tables.report.gain_charts import draw_gains
from compmod.tables.results.cells import cell_results
from compmod.tables.results.gains import gains
from compmod.tables.results.results import Results
from study_gains import both_flows, by_seed, ranks
from study_tables import BASES, HERE, SEEDS, Data, digits, laptop, mechanism

Kind = Literal["plain", "plus", "variant"]
KINDS: dict[Kind, str] = {"plain": "o", "plus": "D", "variant": "D"}  # their marks; a variant's is hollow
COLOURS = (BLUE, VERMILION, "#009e73")  # of BASES; the last is Okabe and Ito's bluish green


def shares(table: Table, runs: Path) -> dict[str, list[tuple[float, float]]]:
    """By method with "+": (epoch, mean over seeds of the hypergradient's share of what moves g_xi)."""
    found: dict[str, dict[float, list[float]]] = {}
    for run in {spec.run.digest: spec.run for spec in table.specs if spec.run.plus}.values():
        (lines,) = read_metrics(runs / run.folder / METRICS_FILE, ("train",))
        for line in lines:
            both = line["hyper_norm_mcr"] + line["norm_comp"]
            if both:
                found.setdefault(run.label, {}).setdefault(line["epoch"], []).append(line["hyper_norm_mcr"] / both)
    return {
        label: [(epoch, statistics.fmean(values)) for epoch, values in sorted(points.items())]
        for label, points in found.items()
    }


def draw_shares() -> Picture:
    """The hypergradient's share of what moves g_xi, over training, a line a method."""
    title = "How much of what moves g_xi is the hypergradient"
    found = {"CIFAR-10": shares(laptop(1), HERE / "laptop"), "digits": shares(digits(), HERE / "digits")}
    curves = {data: by_method for data, by_method in found.items() if by_method}
    dashes = ("-", (0, (5, 2)), (0, (1, 1)))
    styles = {METHODS[method].label + PLUS: style for method, *style in zip(BASES, COLOURS, dashes, strict=True)}
    described = []
    with canvas(width=len(curves) * WIDTH_IN, height=2.6) as drawing:
        axes = drawing.figure.subplots(1, len(curves), sharey=True, squeeze=False)
        for axis, (data, by_method) in zip(axes[0], curves.items(), strict=True):
            for label, points in by_method.items():
                colour, dash = styles[label]
                epochs, values = zip(*points, strict=True)
                axis.plot(epochs, values, color=colour, linestyle=dash, linewidth=1.2, label=label)
                described.append(f"{label} on {data} from {values[0]:.2g} to {values[-1]:.2g}")
            axis.set(yscale="log", xlabel=f"epochs on {data}")
            axis.grid(visible=True)
        axes[0, 0].set_ylabel("share of the two norms")
        axes[0, 0].legend()
        entitle(drawing.figure, title)
    alternative = f"{title}: {'; '.join(described)}."
    return Picture(name="share", title=title, alternative=alternative, content=drawing.content)


def runs_ranked(data: Data) -> dict[tuple[str, Kind], list[tuple[float, float]]]:
    """By plain method and kind of run: (effective rank of h, linear accuracy in per cent), a point a run."""
    points: dict[tuple[str, Kind], list[tuple[float, float]]] = {}
    for method in BASES:
        cells = cell_results(mechanism(method, data, SEEDS[data]), Results(HERE / data))
        for place, cell in enumerate(cell for cell in cells if cell.column.name == "linear"):
            kind = tuple(KINDS)[min(place, 2)]
            accuracies = by_seed(cell)
            for seed, rank in ranks(cell, HERE / data).items():
                points.setdefault((METHODS[method].label, kind), []).append((rank, accuracies[seed]))
    return points


def draw_ranks() -> Picture:
    """Linear accuracy over the effective rank of h: plain methods, their "+", and variants of that."""
    title = "Accuracy beside the effective rank of h"
    colours = {METHODS[method].label: colour for method, colour in zip(BASES, COLOURS, strict=True)}
    described = []
    with canvas(width=2 * WIDTH_IN, height=3) as drawing:
        axes = drawing.figure.subplots(1, len(get_args(Data)))
        for axis, (data, name) in zip(axes, {"laptop": "CIFAR-10", "digits": "digits"}.items(), strict=True):
            for (method, kind), points in runs_ranked(data).items():
                colour = colours[method]
                filled = "none" if kind == "variant" else colour
                ranks_of, accuracies = zip(*points, strict=True)
                axis.plot(ranks_of, accuracies, KINDS[kind], color=colour, markerfacecolor=filled, markersize=4.5)
                means = map(statistics.fmean, (ranks_of, accuracies))
                described.append("{} {} on {}: rank {:.1f}, {:.1f} %".format(method, kind, name, *means))
            axis.set(xlabel=f"effective rank of h, {name}")
            axis.grid(visible=True)
        axes[0].set_ylabel("linear accuracy, %")
        entitle(drawing.figure, title)
        _legend(drawing.figure, colours)
    alternative = f"{title}, means over runs: {'; '.join(described)}."
    return Picture(name="rank", title=title, alternative=alternative, content=drawing.content)


def _legend(figure: Any, colours: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], color=colour, linewidth=3) for colour in colours.values()]
    for kind, marker in KINDS.items():
        filled = "none" if kind == "variant" else GREY
        marks.append(Line2D([], [], color=GREY, marker=marker, markerfacecolor=filled, markersize=4.5, linewidth=0))
    names = [*colours, "plain", "with “+”", "with “+”, one setting changed"]
    figure.legend(marks, names, loc="outside lower center", ncols=6, handletextpad=0.5, columnspacing=1.2)


def pictures() -> list[Picture]:
    """The figures, those of the gains first."""
    drawn = []
    digits_gains = gains(cell_results(digits(), Results(HERE / "digits")))
    for table, found, name in ((laptop(1), both_flows(), "laptop"), (digits(), digits_gains, "digits")):
        drawn += [replace(one, name=one.name.replace("table-1", name)) for one in draw_gains(table, found)]
    return [*drawn, draw_shares(), draw_ranks()]
