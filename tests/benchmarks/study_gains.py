"""Study: the gain of "+" and of its variants, pair by pair, and how their training ended."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from compmod.pretrain.records.files import METRICS_FILE
from compmod.pretrain.specs.methods import METHODS
from compmod.tables.report.curves import read_metrics
from compmod.tables.results.cells import CellResult, cell_results
from compmod.tables.results.gains import Gain, gains
from compmod.tables.results.results import Results
from page import markdown
from study_tables import (
    BASES,
    FRESH,
    HERE,
    NOT_YET,
    STOPPED,
    STOPPED_ALONE,
    VARIANTS,
    Data,
    digits,
    laptop,
    mechanism,
    variants,
)

WANTED = 1.0  # points: half of the 95 % interval that a gain on digits is to have
_EMPTY = Gain(label="", column="", plain=(), plus=())


def by_seed(cell: CellResult) -> dict[int, float]:
    """A cell's numbers by their seeds."""
    pairs = zip(cell.seed_results.provenances, cell.seed_results.values, strict=True)
    return {provenance.seed: value for provenance, value in pairs}


def paired(
    base: CellResult, other: CellResult, like: Gain = _EMPTY, seeds: Collection[int] | None = None
) -> Gain | None:
    """`other` less `base`, named as `like`, over the seeds that both have, of `seeds` alone where given; or None."""
    values, others = by_seed(base), by_seed(other)
    shared = [seed for seed in values if seed in others and (seeds is None or seed in seeds)]
    if not shared:
        return None
    return replace(like, plain=tuple(values[seed] for seed in shared), plus=tuple(others[seed] for seed in shared))


def gain_text(gain: Gain | None) -> str:
    """Such as "+1.20 ± 0.50 (n=5, higher)"; empty for None."""
    if gain is None:
        return ""
    half = gain.half_width
    spread = "" if half is None else f" ± {half:.2f}"
    return f"{gain.difference:+.2f}{spread} (n={len(gain.plus)}{'' if half is None else f', {gain.state}'})"


def variant_gains(name: str, seeds: Collection[int] | None = None, less: str = "") -> dict[tuple[str, str], Gain]:
    """At laptop, by method and what is measured: a variant of "+" less the plain method, or less another variant."""
    results, found = Results(HERE / "laptop"), {}
    usual = {(gain.label, gain.measured): gain for gain in gains(cell_results(laptop(1), results))}
    for method in BASES:
        table = mechanism(method, "laptop")
        cells = {(cell.row.label, cell.column.name): cell for cell in cell_results(table, results)}
        for measured in (column.name for column in table.columns):
            key = METHODS[method].label, measured
            if gain := paired(cells[less or table.rows[0].label, measured], cells[name, measured], usual[key], seeds):
                found[key] = gain
    return found


def both_flows() -> list[Gain]:
    """At laptop: the gain as Eq. 8 reads, and under it that with h-hat stopped, a pair a method and measure."""
    stopped = variant_gains(STOPPED)
    listed = []
    for gain in gains(cell_results(laptop(1), Results(HERE / "laptop"))):
        listed.append(gain)
        if other := stopped.get((gain.label, gain.measured)):
            listed.append(replace(other, label=f"{gain.label}, h-hat stopped"))
    return listed


def stopped() -> str:
    """What "+" changes with h-hat stopped, by all seeds and by those that were fresh when it was planned."""
    columns = {
        "as Eq. 8 reads": variant_gains(next(iter(VARIANTS))),
        "h-hat stopped": variant_gains(STOPPED),
        "the same, seeds 1 to 4": variant_gains(STOPPED, FRESH),
        "h-hat stopped, no hypergradient": variant_gains(STOPPED_ALONE),
        "so the hypergradient adds": variant_gains(STOPPED, less=STOPPED_ALONE),
    }
    rows = []
    for (label, measured), gain in columns["h-hat stopped"].items():
        found = (of_column.get((label, measured)) for of_column in columns.values())
        theirs = "" if gain.paper is None else f"{gain.paper:+.2f}"
        rows.append([label, measured, theirs, *map(gain_text, found)])
    return markdown(["method", "measured", "paper", *columns], rows) if rows else NOT_YET


def pairs_on_digits() -> str:
    """How far the pairs of each method scatter, and how many pairs an interval of WANTED asks for."""
    rows = []
    for gain in gains(cell_results(digits(), Results(HERE / "digits"))):
        if gain.half_width:
            scatter, needed = pairs_for(gain, WANTED)
            cost = [str(len(gain.plus)), f"{scatter:.2f}", f"{gain.half_width:.2f}", str(needed)]
            rows.append([gain.label, gain.measured, *cost])
    titles = ("method", "measured", "pairs", "scatter", "half of the interval", f"pairs that ±{WANTED} asks for")
    return markdown(titles, rows) if rows else NOT_YET


def pairs_for(gain: Gain, half: float) -> tuple[float, int]:
    """The standard deviation of a gain's pairs, and how many give a 95 % interval of ± `half` (Stein, 1945)."""
    pairs = len(gain.plus)
    scatter = statistics.stdev(plus - plain for plain, plus in zip(gain.plain, gain.plus, strict=True))
    return scatter, max(pairs, math.ceil(pairs * ((gain.half_width or 0.0) / half) ** 2))


def at_end(cell: CellResult, runs: Path, kind: str, name: str) -> dict[int, float]:
    """By seed that is finished: what training logged last as `name` in its lines of this kind."""
    found = {}
    for spec in cell.cell.specs:
        (lines,) = read_metrics(runs / spec.run.folder / METRICS_FILE, (kind,))
        if spec.run.seed in by_seed(cell) and lines and name in lines[-1]:
            found[spec.run.seed] = lines[-1][name]
    return found


def ranks(cell: CellResult, runs: Path) -> dict[int, float]:
    """By seed: the effective rank of h, the representations of the last batch that was looked at."""
    return at_end(cell, runs, "spread", "representation_rank")


def against(method: str, data: Data) -> str:
    """What each variant changes, seed by seed, against the plain method and the recipe's "+", and how they ended."""
    table = mechanism(method, data)
    cells = {(cell.row.label, cell.column.name): cell for cell in cell_results(table, Results(HERE / data))}
    plain, recipes = table.rows[0].label, next(iter(VARIANTS))
    columns = [column.name for column in table.columns]
    compared = [f"{name}: less {base}" for name in columns for base in (plain, f"{plain}+")]
    rows = []
    for name in (plain, *variants(data)):
        gains_of = [
            None if name in (plain, base) else paired(cells[base, column], cells[name, column])
            for column in columns
            for base in (plain, recipes)
        ]
        if found := ranks(cells[name, columns[0]], HERE / data):
            mcr = at_end(cells[name, columns[0]], HERE / data, "train", "loss_mcr")
            ends = [f"{statistics.fmean(one.values()):.1f} (n={len(one)})" if one else "" for one in (found, mcr)]
            rows.append([name, *map(gain_text, gains_of), *ends])
    return markdown(["variant", *compared, "rank of h", "L_mcr"], rows) if rows else NOT_YET
