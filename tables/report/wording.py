"""Wording: the sentences and lines of a report that its web page and its markdown share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from ...pretrain.recipes.scales import SHORT, Scale
from ..claims.checked_claims import CheckedClaim
from ..plan.plan import GIGABYTE, Plan, Step
from ..plan.plan import counted as counted_steps
from ..render.amounts import amount, duration, size
from ..results.cells import shown_parts
from ..results.measurements import wall_time_s
from ..results.number_provenance import NumberProvenance
from ..results.verdict import CellVerdict
from .charts import GRID_TABLE, is_plus
from .contents import Report, TableSection, Tally

SYMBOLS: dict[str, str] = {  # shown beside the word, never instead of it
    "reproduced": "=",
    "higher": "▲",
    "lower": "▼",
    "inconclusive": "?",
    "not run": "–",
    "confirmed": "✓",
    "refuted": "✗",
}
TITLES = {
    "paper": "Meta Comprehensive Regularization, reproduced",
    "short": "Meta Comprehensive Regularization at a tenth of its epochs",
    "laptop": "Meta Comprehensive Regularization on CIFAR-10 with a small network",
    "demo": "Meta Comprehensive Regularization in miniature, on digits",
}
PAPER = "“Self-Supervised Representation Learning with Meta Comprehensive Regularization” (Guo et al., AAAI 2024)"
FINISHED_COLUMNS = (
    "folder",
    "row",
    "data",
    "measured",
    "tables",
    "seed",
    "pretraining",
    "measuring",
    "machine",
    "commit",
    "its code",
)
CURVES = (
    "Above, over epochs of pretraining, the loss of the method itself, named with its unit or range. A “+” line leaves "
    "CompMod's own terms out, so the two lines can be compared, but losses of different methods cannot. Strong: a "
    "running mean; faint, where lines are few: logged steps. Below, 5-nn accuracy while training, after every so many "
    "epochs."
)
RISING = (
    "A loss that rises is no fault by itself: a “+” run lowers λ1·L_mcr too, which is not drawn (loss_mcr in "
    "metrics.jsonl), and BYOL, MoCo, RELIC, SSL-HSIC, MEC and SwAV measure theirs against targets, such as a slow copy "
    "of the network or a queue of its outputs, that move while they train."
)
CLAIMS = (
    "Every sentence of the paper that compares numbers of its tables, checked twice: on ours over seeds, by 95 % "
    "intervals (of pairs, Student's, for a “+” row beside its plain row, else Welch's), and on the numbers as the "
    "paper prints them. One seed decides nothing. A line opens to the sentence, how it is read, and the figures."
)
PAIRS = "Every “+” row stands under its plain row, in bold with filled marks. "
POINTS = (
    "Blue discs: ours, with a bar of one sample "
    "standard deviation on either side where there are two seeds or more. Vermilion diamonds: the paper's numbers, "
    "which come without a deviation. A grey line joins the two. The axes do not start at zero."
)
BESIDE = (
    "Discs: ours, with a bar of one sample "
    "standard deviation on either side where there are two seeds or more. Ours are not of the paper's data, so its "
    "numbers are not drawn beside them. The axes do not start at zero."
)
GAINS = (
    "Discs: our “+” row less its plain row, the mean over the seeds that both have; both runs of a seed start from "
    "the same weights and see the same views. Bars: the 95 % interval of this mean over seeds (Student's, of the "
    "differences). Right of the line, “+” is higher. The paper's differences come without an interval. The claims "
    "further down decide by the same pairs."
)
GAIN_SCALES: dict[Scale, str] = {
    "paper": "",
    "short": f" Ours are of scale short, 1/{SHORT} of the paper's epochs.",
    "laptop": " Ours are of a small network on views of 16 pixels, trained for minutes on a CPU.",
    "demo": " Ours are of digits and a small network; the paper's, of other data, are crosses for orientation alone.",
}
GRID = "Lighter is better; “not run” marks a gap. The two grids share a colour scale where they are of the same data."
ALIKE = "These numbers are not of the paper's data, so each grid has a colour scale of its own."
FINISHED = (
    "A run is named by the digest of everything that determines it. Pretraining and measuring are wall time; a "
    "pretraining that several measurements share is shown with each of them and counted once."
)


CLAIM_STATES = ("confirmed", "refuted", "inconclusive", "not run")
PORTRAIT_COLUMNS = 12  # of numbers that fit on an A4 page in portrait


@dataclass(frozen=True)
class SummaryTable:
    """A small table: names of the columns after the first, labelled lines, and their total."""

    columns: tuple[str, ...]
    lines: tuple[tuple[str, tuple[str, ...]], ...]
    total: tuple[str, ...]


def title(report: Report) -> str:
    """The title of the report."""
    only = f": Table {report.sections[0].table.number}" if len(report.sections) == 1 else ""
    return TITLES[report.scale] + only


def subtitle(report: Report) -> str:
    """The paper, and the scale and seeds of our runs."""
    return f"The tables of {PAPER}, ours beside theirs; scale {report.scale}, {counted(report.seeds, 'seed')} a cell."


def verdict_with_symbol(verdict: str) -> str:
    """A verdict as a symbol and its word."""
    return f"{SYMBOLS[verdict]} {verdict}"


def summary(report: Report) -> SummaryTable:
    """How many cells of each table are filled, and their verdicts."""
    names = [verdict for verdict in get_args(CellVerdict) if verdict != "not run"]
    lines = tuple((f"Table {section.table.number}", _tallied(section.tally)) for section in report.sections)
    columns = ("filled", "every seed", *(verdict_with_symbol(name) for name in names), "not ours to fill", "stale")
    return SummaryTable(columns=columns, lines=lines, total=_tallied(report.tally))


def _tallied(tally: Tally) -> tuple[str, ...]:
    names = [name for name in get_args(CellVerdict) if name != "not run"]
    judged = [str(tally.verdicts.get(name, 0)) if tally.verdicts else "–" for name in names]
    return (f"{tally.filled} of {tally.wanted}", str(tally.complete), *judged, str(tally.cited), str(tally.stale))


def gains_sentence(report: Report) -> str:
    """How many gains there are and where their intervals lie; nothing that one seed cannot tell."""
    states = Counter(gain.state for gain in report.gains)
    few = sum(gain.few for gain in report.gains)
    compared = counted(len(report.gains), "comparison")
    if few == len(report.gains):
        return f"{compared} of ours, of one seed only. One seed gives no interval, so nothing is decided."
    alone = f", {few} of them for want of a second seed" if few else ""
    return (
        f"{compared} of ours: the interval lies above zero in {states['higher']}, below it in {states['lower']}; "
        f"{states['inconclusive']} inconclusive{alone}."
    )


def gains_legend(report: Report) -> str:
    """How to read the pictures of gains."""
    marks = {mark for gain in report.gains for mark in gain.marks}
    stale = f" {' and '.join(sorted(marks))}: as under the tables." if marks else ""
    return GAINS + GAIN_SCALES[report.scale] + stale


def legend(section: TableSection) -> str:
    """How to read the pictures of a table."""
    compared = any("difference" in column.parts for column in section.table.columns)
    if section.table.number == GRID_TABLE:
        return GRID + ("" if compared else f" {ALIKE}")
    both = len({is_plus(result) for result in section.cells if result.cell.specs}) > 1
    return (PAIRS if both else "") + (POINTS if compared else BESIDE)


def wide(section: TableSection) -> bool:
    """Whether a table of the section has more columns of numbers than a page in portrait holds."""
    table = section.table
    counted = (
        sum(len(shown_parts(column)) for column in table.columns if column.heading == name) for name in table.headings
    )
    return max(counted) > PORTRAIT_COLUMNS


def sentences(report: Report) -> list[str]:
    """The summary in sentences: claims, what is missing, what is stale or damaged."""
    texts = []
    for whose, position in (("the paper's own numbers", 0), ("ours", 1)):
        verdicts = [claim_state(pair[position]) for pair in report.claims]
        if verdicts:
            parts = [f"{verdicts.count(name)} {name}" for name in CLAIM_STATES if name in verdicts]
            texts.append(f"Of {len(verdicts)} claims on {whose}: {', '.join(parts)}.")
    if report.missing:
        texts.append(missing_sentence(report.missing))
    if report.tally.stale:
        stale = counted(report.tally.stale, "stale cell")
        texts.append(f"{stale}: files that determine the number have changed since; each table names them.")
    if report.damaged:
        texts.append(f"{counted(len(report.damaged), 'damaged file')}, listed at the end.")
    return texts


def claim_state(claim: CheckedClaim) -> str:
    """Its verdict, or "not run" where no comparison has its numbers."""
    return claim.verdict if claim.compared else "not run"


def missing_sentence(plan: Plan) -> str:
    """What is missing and what it would cost, in a sentence or two."""
    if not plan.steps:
        waiting = counted(plan.held_back, "measurement")
        held = f", but {waiting} held back by damaged records" if plan.held_back else ""
        return f"Nothing is missing{held}."
    times = [(plan.gpu_hours, "GPU-hours"), (plan.cpu_hours, "core-hours")]
    cost = " and ".join(f"{amount(hours)} {name}" for hours, name in times if hours)
    return (
        f"Missing: {counted_steps(plan.steps)}, about {cost or 'no time'} and {size(GIGABYTE * plan.disk_gb)} of disk. "
        f"Hours: {plan.hours_are}."
    )


def missing(plan: Plan) -> SummaryTable:
    """One line for each method on each data set; every step is counted once."""
    return SummaryTable(
        columns=("runs", "measurements", "GPU-hours", "core-hours", "disk", "tables"),
        lines=tuple((", ".join(kind), _summed(steps)) for kind, steps in plan.by_method_and_data().items()),
        total=_summed(plan.steps),
    )


def _summed(steps: Sequence[Step]) -> tuple[str, ...]:
    runs = sum(step.spec.kind == "pretraining" for step in steps)
    hours = [amount(sum(getattr(step, name) for step in steps)) for name in ("gpu_hours", "cpu_hours")]
    disk = size(GIGABYTE * sum(step.disk_gb for step in steps))
    tables = sorted({number for step in steps for number in step.tables})
    numbers = " ".join(map(str, tables))
    return (str(runs), str(len(steps) - runs), *hours, disk, numbers)


def counted(number: int, noun: str) -> str:
    """Such as "1 run" or "2 runs"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def code_state(provenance: NumberProvenance) -> str:
    """Whether the code that made a number has changed since."""
    if provenance.stale:
        return f"changed since: {', '.join(provenance.stale)}"
    return "unknown" if provenance.unknown else "as now"


def finished_sentence(report: Report) -> str:
    """How many measurements of how many runs, and their time."""
    runs = len({measurement.spec.run.digest for measurement in report.measurements})
    time = duration(wall_time_s(report.measurements))
    measurements = counted(len(report.measurements), "finished measurement")
    return f"{measurements} of {counted(runs, 'run')}, together {time} of wall time."
