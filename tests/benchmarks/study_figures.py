"""Study: its figures, drawn from the records."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

from compmod.pretrain.records.files import METRICS_FILE
from compmod.tables.paper.table import Table
from compmod.tables.report.curves import read_metrics
from compmod.tables.report.figures import BLUE, VERMILION, WIDTH_IN, Picture, canvas, entitle
from compmod.tables.report.gain_charts import draw_gains
from compmod.tables.results.cells import cell_results
from compmod.tables.results.gains import gains
from compmod.tables.results.results import Results
from study_tables import HERE, digits, laptop


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
    styles = {"SimCLR+": (BLUE, "-"), "BYOL+": (VERMILION, (0, (5, 2))), "BarlowTwins+": ("#009e73", (0, (1, 1)))}
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


def pictures() -> list[Picture]:
    """The figures, those of the gains first."""
    drawn = []
    for table, runs, name in ((laptop(1), HERE / "laptop", "laptop"), (digits(), HERE / "digits", "digits")):
        found = gains(cell_results(table, Results(runs)))
        drawn += [replace(one, name=one.name.replace("table-1", name)) for one in draw_gains(table, found)]
    return [*drawn, draw_shares()]
