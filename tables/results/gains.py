"""Gains: how much "+" changes the numbers in a table, seed by seed, beside how much it changes the paper's.

Both runs of a seed start from the same weights and see the same views, so their difference is taken seed by seed, and
the interval is Student's of these differences. A single seed does not show the spread over seeds and has no interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ...pretrain.specs.run import PLUS
from ..paper.printed import Printed
from ..paper.table import BESIDE, Column, Part, Unit
from .cells import DECIMALS, STALE, UNKNOWN, CellResult, OurText, column_name, decimal
from .number_provenance import NumberProvenance
from .results import WORST_FIRST
from .spread import DIGITS, FEWEST_SEEDS, LEVEL, welch

NOTE = (
    "gain of +: a row with + less its plain row; ours is paired over the n seeds that both have, mean ± half of "
    "Student's 95 % interval of the differences; higher or lower = the interval lies wholly above or below zero, "
    "inconclusive = it contains zero; where nothing shows a spread, as with one seed, there is no interval."
)


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
    def state(self) -> Literal["higher", "lower", "inconclusive"]:
        """Where the interval lies."""
        if self.half_width is None or abs(self.difference) <= self.half_width:
            return "inconclusive"
        return "higher" if self.difference > 0 else "lower"


@dataclass(frozen=True)
class Pair:
    """The cells of a "+" row and of its plain row in one measured column, and our gain where both have a seed."""

    plain: CellResult
    plus: CellResult
    gain: Gain | None

    @property
    def label(self) -> str:
        """The method, as its "+" row names it, without the "+"."""
        return self.plus.row.label.removesuffix(PLUS)

    @property
    def column(self) -> Column:
        """The column of both cells."""
        return self.plus.column

    @property
    def shown_parts(self) -> tuple[Part, ...]:
        """Whose gains are shown in this column: the paper's, ours or both."""
        return tuple(part for part in self.column.parts if part in BESIDE)

    @property
    def paper_text(self) -> str:
        """The printed difference with its sign and as many decimals as the paper has; empty where it prints a dash."""
        plain, plus = self.plain.cell.paper, self.plus.cell.paper
        if plain is None or plus is None:
            return ""
        decimals = max(len(number.text.partition(".")[2]) for number in (plain, plus))
        return f"{plus.value - plain.value:+.{decimals}f}"

    @property
    def our_text(self) -> OurText:
        """Our gain as a table prints it, the interval in place of a deviation; or why there is none."""
        if self.gain is None:
            states = (self.plain.seed_results.state, self.plus.seed_results.state)
            state = min(states, key=WORST_FIRST.index)
            return OurText(state="no pair" if state == "done" else state)
        half, count = self.gain.half_width, f"n={len(self.gain.plus)}"
        return OurText(
            number=f"{self.gain.difference:+.{DECIMALS}f}",
            deviation=decimal(half, DECIMALS),
            count=count if half is None else f"{count}, {self.gain.state}",
            marks=self.gain.marks,
        )


def pairs(cells: Sequence[CellResult]) -> list[Pair]:
    """Every "+" row with its plain row, in every measured column, in order of rows and columns."""
    measured = [cell for cell in cells if cell.column.unit != "fact"]
    by_method = {(cell.row.method, cell.column): cell for cell in measured}
    apart = {(cell.row.method, cell.cell.metric): cell for cell in measured if "ours" not in cell.column.parts}
    found = []
    for (method, column), plus in by_method.items():
        plain = by_method.get((method.removesuffix(PLUS), column))
        if method.endswith(PLUS) and plain is not None:
            theirs = [apart.get((cell.row.method, cell.cell.metric), cell).cell.paper for cell in (plain, plus)]
            found.append(Pair(plain, plus, _gain(plain, plus, theirs)))
    return found


def gains(cells: Sequence[CellResult]) -> list[Gain]:
    """The gain of every "+" row whose plain row has a number of the same seed, in order of rows and columns."""
    return [pair.gain for pair in pairs(cells) if pair.gain]


def gain_lines(cells: Sequence[CellResult], heading: str) -> dict[str, list[Pair]]:
    """The lines of the small table of gains under a heading: the pairs of a method, one a column, by its label."""
    lines: dict[str, list[Pair]] = {}
    for pair in pairs(cells):
        if pair.column.heading == heading:
            lines.setdefault(pair.label, []).append(pair)
    return lines


def _gain(plain: CellResult, plus: CellResult, theirs: Sequence[Printed | None]) -> Gain | None:
    """Our gain over the seeds that both cells have, beside the printed numbers; None where they have none in common."""
    by_seed = [{provenance.seed: (value, provenance) for value, provenance in _numbers(cell)} for cell in (plain, plus)]
    common = [
        (by_seed[0][seed], by_seed[1][seed])
        for seed in by_seed[0]
        if seed in by_seed[1] and _of_the_same_images(by_seed[0][seed][1], by_seed[1][seed][1])
    ]
    if not common:
        return None
    column = plus.column
    return Gain(
        label=plus.row.label.removesuffix(PLUS),
        column=column_name(column),
        plain=tuple(value for (value, _), _ in common),
        plus=tuple(value for _, (value, _) in common),
        measured=column.name,
        unit=column.unit,
        data=column.heading if column.group in column.heading else column.group,
        paper=theirs[1].value - theirs[0].value if theirs[0] and theirs[1] else None,
        compared="difference" in column.parts,
        marks=_marks([provenance for both in common for _, provenance in both]),
    )


def _numbers(cell: CellResult) -> Iterator[tuple[float, NumberProvenance]]:
    return zip(cell.seed_results.values, cell.seed_results.provenances, strict=True)


def _of_the_same_images(one: NumberProvenance, other: NumberProvenance) -> bool:
    """Whether no split that both records tell of held other images."""
    images = {(data, split): digest for data, split, digest in one.contents}
    return all(images.get((data, split), digest) == digest for data, split, digest in other.contents)


def _marks(provenances: Sequence[NumberProvenance]) -> str:
    stale, unknown = (any(getattr(one, name) for one in provenances) for name in ("stale", "unknown"))
    return (STALE if stale else "") + (UNKNOWN if unknown else "")
