"""Comparison: one cell of the paper's tables against another, decided on printed numbers or on our seeds.

Over seeds a difference is decided by Student's interval where it is that of a method with and without "+", whose runs
of one seed share weights and views and so are pairs, and else by Welch's. A comparison holds when the 95 % interval
lies wholly on the side that it states. It fails when the interval lies wholly on the other side after Bonferroni's
correction for the number of the claim's comparisons; without the correction, one of many comparisons would often seem
to fail by chance.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ...pretrain.specs.run import PLUS
from ..paper.printed import FACTS, paper_table, printed
from ..results.spread import DIGITS, FEWEST_SEEDS, LEVEL, welch

Relation = Literal["above", "at least", "below"]
ComparisonState = Literal["holds", "fails", "undecided"]


class PrintedCell(NamedTuple):
    """A cell in which the paper prints a number; row, group, column and metric are those of `paper_tables.csv`."""

    table: int
    row: str
    group: str
    column: str
    metric: str

    @property
    def value(self) -> float:
        """The printed number. Raises ValueError on a dash."""
        number = printed(*self)
        if number is None:
            raise ValueError(f"the paper prints a dash at {self}")
        return number.value

    @property
    def row_text(self) -> str:
        """The row in words; the rows of Table 4 have only numbers."""
        return f"row {self.row}" if self.row.isdigit() else self.row

    @property
    def column_text(self) -> str:
        """Group, column and metric in words; group and metric only where the table has several."""
        measured = [key for key in paper_table(self.table) if key[3] not in FACTS]
        group = self.group if len({key[1] for key in measured}) > 1 else ""
        metric = self.metric if len({key[3] for key in measured}) > 1 else ""
        return " ".join(dict.fromkeys(word for word in (group, self.column, metric) if word))

    @property
    def text(self) -> str:
        """The cell in words."""
        return f"Table {self.table} {self.row_text} {self.column_text}"


@dataclass(frozen=True)
class Comparison:
    """`left` less `right` lies above, at least at, or below `bound`; or below a gain, the difference of two cells."""

    left: PrintedCell
    right: PrintedCell
    relation: Relation = "above"
    bound: float = 0.0
    gain: tuple[PrintedCell, PrintedCell] | None = None  # added to `bound`: the first less the second

    @property
    def sign(self) -> int:
        """1 where the difference is to lie above the bound, -1 where below."""
        return -1 if self.relation == "below" else 1

    @property
    def cells(self) -> tuple[PrintedCell, ...]:
        """Every cell that the comparison needs."""
        return (self.left, self.right, *(self.gain or ()))

    @property
    def weights(self) -> tuple[float, ...]:
        """The factor of each of `cells` in the margin."""
        return (self.sign, -self.sign, *((-self.sign, self.sign) if self.gain else ()))

    @property
    def paired(self) -> bool:
        """Whether its differences are those of a method with "+" and without, whose runs of one seed are pairs."""
        sides = [(self.left, self.right), *([self.gain] if self.gain else [])]
        return all(
            plus.row.replace(" ", "") == plain.row.replace(" ", "") + PLUS
            and plus[:1] + plus[2:] == plain[:1] + plain[2:]
            for plus, plain in sides
        )

    @property
    def subject(self) -> str:
        """The difference in words."""
        return _less(self.left, self.right)


@dataclass(frozen=True)
class DecidedComparison:
    """A comparison with its figures. `margin` is how far the difference exceeds its bound; negative below it."""

    comparison: Comparison
    state: ComparisonState
    margin: float
    text: str


def compare_printed(comparison: Comparison) -> DecidedComparison:
    """Decide a comparison on the numbers that the paper printed."""
    values = [cell.value for cell in comparison.cells]
    margin = _margin(comparison, values)
    holds = margin >= 0 if comparison.relation == "at least" else margin > 0
    texts = [number.text for cell in comparison.cells if (number := printed(*cell))]
    text = f"{comparison.subject}: {texts[0]} - {texts[1]} = {_signed(values[0] - values[1])}"
    return DecidedComparison(
        comparison, "holds" if holds else "fails", margin, f"{text}, {_relation(comparison, values, holds)}"
    )


def compare_seeds(
    comparison: Comparison, seeds: Sequence[tuple[str, Mapping[int, float]]], comparisons: int, *, data: str = ""
) -> DecidedComparison:
    """Decide a comparison on our seeds: for each of its cells, the name of the experiment and its values by seed.

    Two cells of one experiment are one sample. Pairs are those of the seeds that all cells have. `comparisons` is how
    many the claim has. `data` names our data where they are not the paper's.
    """
    named = [sample for _, sample in seeds]
    common = [seed for seed in named[0] if all(seed in sample for sample in named)]
    if paired := comparison.paired and bool(common):
        named = [{seed: sample[seed] for seed in common} for sample in named]
    values = [statistics.fmean(sample.values()) for sample in named]
    margin = _margin(comparison, values)
    here = f" (here {data})" if data else ""
    text = f"{comparison.subject}{here}: {values[0]:.2f} - {values[1]:.2f} = {_signed(values[0] - values[1])}"
    if paired:
        terms = [(1.0, tuple(_margin(comparison, [sample[seed] for sample in named]) for seed in common))]
    else:
        weighted: dict[str, float] = {}
        for (name, _), weight in zip(seeds, comparison.weights, strict=True):
            weighted[name] = weighted.get(name, 0.0) + weight
        samples = dict(seeds)
        terms = [(weight, tuple(samples[name].values())) for name, weight in weighted.items() if weight]
    spread = welch(terms)
    if spread is None:
        few = any(len(sample) < FEWEST_SEEDS for _, sample in terms)
        reason = f"fewer than {FEWEST_SEEDS} seeds" if few else "no spread over seeds"
        return DecidedComparison(comparison, "undecided", margin, f"{text} ({reason})")
    half, widened = spread.half_width(LEVEL), spread.half_width(1 - (1 - LEVEL) / comparisons)
    holds, fails = margin - half > 0, margin + widened < 0
    state: ComparisonState = "holds" if holds else "fails" if fails else "undecided"
    verdict = _relation(comparison, values, holds) if state != "undecided" else _open(comparison, values)
    counts = ", ".join(str(count) for count in dict.fromkeys(len(sample) for _, sample in terms))
    pairs = ", paired" if paired else ""
    return DecidedComparison(comparison, state, margin, f"{text} ± {half:.2f} ({counts} seeds{pairs}), {verdict}")


def _bound(comparison: Comparison, values: Sequence[float]) -> float:
    return comparison.bound + (values[2] - values[3] if comparison.gain else 0.0)


def _margin(comparison: Comparison, values: Sequence[float]) -> float:
    return round(comparison.sign * (values[0] - values[1] - _bound(comparison, values)), DIGITS)


def _relation(comparison: Comparison, values: Sequence[float], holds: bool) -> str:
    return f"{'' if holds else 'not '}{comparison.relation} {_bound_text(comparison, values)}"


def _open(comparison: Comparison, values: Sequence[float]) -> str:
    return f"undecided whether {comparison.relation} {_bound_text(comparison, values)}"


def _bound_text(comparison: Comparison, values: Sequence[float]) -> str:
    if comparison.gain is None:
        return f"{comparison.bound:g}"
    return f"{_bound(comparison, values):.2f}, the gain of Table {comparison.gain[0].table}: {_less(*comparison.gain)}"


def _less(left: PrintedCell, right: PrintedCell) -> str:
    """One cell less another in words; what both have in common is said once."""
    if left.table != right.table:
        return f"{left.text} less {right.text}"
    if left[2:] == right[2:]:
        return f"{left.row_text} less {right.row_text}, {left.column_text}"
    return f"{left.row_text} {left.column_text} less {right.row_text} {right.column_text}"


def _signed(difference: float) -> str:
    """At least one decimal and at most two, as the paper's tables have."""
    text = f"{round(difference, DIGITS):+.2f}"
    return text.removesuffix("0")
