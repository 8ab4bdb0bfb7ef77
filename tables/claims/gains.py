"""Gains: how much "+" changes the numbers in a table of the digits, and how much of that chance explains.

A single seed does not show the spread over seeds. Besides, other test images would give another difference, even with
the same two networks. Its interval is that of two binomial shares with one success and one failure added to both
(Agresti and Caffo, The American Statistician, 2000), so that shares of 0 and 1 have an interval too. The images of one
glyph are not independent, so the interval counts glyphs and not images. It ignores that both networks see the same
glyphs, which makes it somewhat too wide. Several seeds are compared by Welch's interval, like claims
(`comparison.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...pretrain.data.digits import RENDERINGS
from ...pretrain.specs.datasets import DATASETS
from ...pretrain.specs.run import PLUS
from ..results.cells import CellResult, column_name
from .comparison import FEWEST_SEEDS, LEVEL, welch

TEST_GLYPHS = DATASETS["digits"].test_images // RENDERINGS
NORMAL = 1.96  # the normal distribution's quantile for an interval of 95 %


@dataclass(frozen=True)
class Gain:
    """A "+" row less its plain row in one column. `plain` and `plus` hold one value a seed, in per cent."""

    label: str
    column: str
    plain: tuple[float, ...]
    plus: tuple[float, ...]

    @property
    def few(self) -> bool:
        """Whether there are too few seeds to estimate their spread."""
        return min(len(self.plain), len(self.plus)) < FEWEST_SEEDS

    @property
    def difference(self) -> float:
        """The difference of the means, in points."""
        return math.fsum(self.plus) / len(self.plus) - math.fsum(self.plain) / len(self.plain)

    @property
    def chance(self) -> float:
        """Half of the 95 % interval of the difference over test sets, in points."""
        means = [math.fsum(values) / len(values) / 100 for values in (self.plain, self.plus)]
        shares = [(mean * TEST_GLYPHS + 1) / (TEST_GLYPHS + 2) for mean in means]
        return 100 * NORMAL * math.sqrt(math.fsum(p * (1 - p) for p in shares) / (TEST_GLYPHS + 2))

    @property
    def verdict(self) -> str:
        """Higher, lower or inconclusive, with the reason."""
        spread = welch([(1, self.plus), (-1, self.plain)])
        if spread is None:
            reason = "one seed" if self.few else "no spread over seeds"
            among = "within" if abs(self.difference) <= self.chance else "beyond"
            return f"inconclusive ({reason}; {among} ±{self.chance:.2f}, chance over {TEST_GLYPHS} test glyphs)"
        half = spread.half_width(LEVEL)
        state = "inconclusive" if abs(self.difference) <= half else "higher" if self.difference > 0 else "lower"
        return f"{state} (±{half:.2f} over seeds; chance over {TEST_GLYPHS} test glyphs: ±{self.chance:.2f})"

    @property
    def text(self) -> str:
        """The gain and its verdict in one line."""
        return f"{self.label}{PLUS} less {self.label}, {self.column}: {self.difference:+.2f} points, {self.verdict}"


def gains(cells: Sequence[CellResult]) -> list[Gain]:
    """The gain of every "+" row whose plain row has numbers too, in order of rows and columns."""
    values = {(cell.row.method, cell.column): cell.seed_results.values for cell in cells if "ours" in cell.column.parts}
    return [
        Gain(cell.row.label.removesuffix(PLUS), column_name(cell.column), plain, plus)
        for cell in cells
        if cell.row.method.endswith(PLUS)
        and (plus := values.get((cell.row.method, cell.column)))
        and (plain := values.get((cell.row.method.removesuffix(PLUS), cell.column)))
    ]


def gain_sentences(cells: Sequence[CellResult]) -> Iterator[str]:
    """The sentences about "+" under the demo's table, computed from its numbers."""
    all_gains = gains(cells)
    if not all_gains:
        return
    yield 'what "+" changed here:'
    yield from (f"- {gain.text}" for gain in all_gains)
    undecided = sum(gain.verdict.startswith("inconclusive") for gain in all_gains)
    few = " One seed tells nothing of the spread over seeds." if any(gain.few for gain in all_gains) else ""
    yield f"{undecided} of {len(all_gains)} comparisons are inconclusive.{few}"
