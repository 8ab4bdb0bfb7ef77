"""Gains: how much "+" changes the numbers in a table, seed by seed, and how much of that chance explains.

Both runs of a seed start from the same weights and see the same views, so their difference is taken seed by seed, and
the interval is Student's of these differences. A single seed does not show the spread over seeds and has no interval.

On the digits other test images would give another difference, even with the same two networks. That interval is of two
binomial shares with one success and one failure added to both (Agresti and Caffo, The American Statistician, 2000), so
that shares of 0 and 1 have an interval too. The images of one glyph are not independent, so it counts glyphs and not
images. It ignores that both networks see the same glyphs, which makes it somewhat too wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ...pretrain.data.digits import RENDERINGS
from ...pretrain.specs.datasets import DATASETS
from ...pretrain.specs.run import PLUS
from ..paper.printed import Printed
from ..paper.table import Unit
from ..results.cells import STALE, UNKNOWN, CellResult, column_name
from ..results.number_provenance import NumberProvenance
from .comparison import DIGITS, FEWEST_SEEDS, LEVEL, welch

TEST_GLYPHS = DATASETS["digits"].test_images // RENDERINGS
NORMAL = 1.96  # the normal distribution's quantile for an interval of 95 %


@dataclass(frozen=True)
class Gain:
    """A "+" row less its plain row in one column, in per cent: a value a seed that both have finished, in one order."""

    label: str
    column: str
    plain: tuple[float, ...]
    plus: tuple[float, ...]
    data: str = ""  # or task, as the column's group or heading names it
    measured: str = ""  # the column's own name
    unit: Unit = "accuracy"
    paper: float | None = None  # the printed difference
    compared: bool = False  # whether the column compares ours with the paper's: one kind of data
    marks: str = ""  # of its numbers, as in the table

    @property
    def few(self) -> bool:
        """Whether there are too few seeds to estimate their spread."""
        return len(self.plus) < FEWEST_SEEDS

    @property
    def difference(self) -> float:
        """The mean of the differences, in points."""
        return math.fsum(self._differences) / len(self._differences)

    @property
    def half_width(self) -> float | None:
        """Half of the 95 % interval of the difference over seeds, in points; None where nothing shows their spread."""
        spread = welch([(1, self._differences)])  # of one sample it is Student's
        return spread.half_width(LEVEL) if spread else None

    @property
    def _differences(self) -> tuple[float, ...]:
        pairs = zip(self.plain, self.plus, strict=True)
        return tuple(round(plus - plain, DIGITS) for plain, plus in pairs)  # so that equal ones have no spread

    @property
    def chance(self) -> float:
        """Half of the 95 % interval of the difference over test sets, in points."""
        means = [math.fsum(values) / len(values) / 100 for values in (self.plain, self.plus)]
        shares = [(mean * TEST_GLYPHS + 1) / (TEST_GLYPHS + 2) for mean in means]
        return 100 * NORMAL * math.sqrt(math.fsum(p * (1 - p) for p in shares) / (TEST_GLYPHS + 2))

    @property
    def state(self) -> Literal["higher", "lower", "inconclusive"]:
        """Where the interval lies."""
        if self.half_width is None or abs(self.difference) <= self.half_width:
            return "inconclusive"
        return "higher" if self.difference > 0 else "lower"

    @property
    def verdict(self) -> str:
        """The state, with its reason and with chance over the digits' test images."""
        half = self.half_width
        if half is None:
            reason = "one seed" if self.few else "no spread over seeds"
            among = "within" if abs(self.difference) <= self.chance else "beyond"
            return f"inconclusive ({reason}; {among} ±{self.chance:.2f}, chance over {TEST_GLYPHS} test glyphs)"
        return f"{self.state} (±{half:.2f} over seeds; chance over {TEST_GLYPHS} test glyphs: ±{self.chance:.2f})"

    @property
    def text(self) -> str:
        """The gain and its verdict in one line."""
        return f"{self.label}{PLUS} less {self.label}, {self.column}: {self.difference:+.2f} points, {self.verdict}"


def gains(cells: Sequence[CellResult]) -> list[Gain]:
    """The gain of every "+" row whose plain row has a number of the same seed, in order of rows and columns."""
    ours = {(cell.row.method, cell.column): cell for cell in cells if "ours" in cell.column.parts}
    papers = {(cell.row.method, cell.cell.metric): cell for cell in cells if "ours" not in cell.column.parts}
    found = []
    for (method, column), plus in ours.items():
        plain = ours.get((method.removesuffix(PLUS), column))
        if not method.endswith(PLUS) or plain is None:
            continue
        by_seed = [
            {provenance.seed: (value, provenance) for value, provenance in _numbers(cell)} for cell in (plain, plus)
        ]
        pairs = [
            (by_seed[0][seed], by_seed[1][seed])
            for seed in by_seed[0]
            if seed in by_seed[1] and _of_the_same_images(by_seed[0][seed][1], by_seed[1][seed][1])
        ]
        if not pairs:
            continue
        theirs = [cell.cell.paper or _paper(papers.get((cell.row.method, cell.cell.metric))) for cell in (plain, plus)]
        found.append(
            Gain(
                label=plus.row.label.removesuffix(PLUS),
                column=column_name(column),
                plain=tuple(value for (value, _), _ in pairs),
                plus=tuple(value for _, (value, _) in pairs),
                measured=column.name,
                unit=column.unit,
                data=column.heading if column.group in column.heading else column.group,
                paper=theirs[1].value - theirs[0].value if theirs[0] and theirs[1] else None,
                compared="difference" in column.parts,
                marks=_marks([provenance for pair in pairs for _, provenance in pair]),
            )
        )
    return found


def _numbers(cell: CellResult) -> Iterator[tuple[float, NumberProvenance]]:
    return zip(cell.seed_results.values, cell.seed_results.provenances, strict=True)


def _paper(cell: CellResult | None) -> Printed | None:
    return cell.cell.paper if cell else None


def _of_the_same_images(one: NumberProvenance, other: NumberProvenance) -> bool:
    """Whether no split that both records tell of held other images."""
    images = {(data, split): digest for data, split, digest in one.contents}
    return all(images.get((data, split), digest) == digest for data, split, digest in other.contents)


def _marks(provenances: Sequence[NumberProvenance]) -> str:
    stale, unknown = (any(getattr(one, name) for one in provenances) for name in ("stale", "unknown"))
    return (STALE if stale else "") + (UNKNOWN if unknown else "")


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
