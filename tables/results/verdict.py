"""Verdict: whether our numbers over seeds reproduce one printed number, by these statistics.

The paper prints one number without a deviation, so ours are tested against that number as if it were exact. Seeds
are assumed to be independent draws from a normal distribution. The verdict is the first that applies:

- *reproduced*: two one-sided t-tests, each at 5 %, show that the mean of our seeds is within the margin on either
  side of the printed number (TOST; Schuirmann, J. Pharmacokinetics and Biopharmaceutics, 1987). This is so when the
  90 % interval of the mean lies inside the margin. A difference that is not significant does not show agreement.
- *higher*, *lower*: the 95 % interval of the mean lies wholly above, or wholly below, the printed number.
- *inconclusive*: none of these, or a single seed, which does not show the spread.
- *not run*: no seed has finished.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .spread import Spread

CellVerdict = Literal["reproduced", "higher", "lower", "inconclusive", "not run"]

MARGIN: dict[str, float] = {  # by unit, in points: how far from the printed number still counts as reproduced
    # our choice: half of the 2 points that CompMod gains by the paper, so that a baseline and its "+" row differ by
    # more, and several times the 0.1 to 0.3 by which the seeds of one such run differ
    "accuracy": 1.0,
    # our choice: more than the few tenths by which repeated fine-tunings on COCO differ, less than pretraining gains
    "AP": 0.5,
}
ERROR = 0.05  # of each one-sided test, and of the two-sided interval as a whole
NOTE = (
    "verdict of n seeds against the printed number, taken as exact: reproduced = two one-sided t-tests (TOST, 5 % "
    "each) show that our mean is within {margin} of it; otherwise higher or lower = the 95 % interval of our mean "
    "lies wholly above or below it; otherwise inconclusive, as with a single seed."
)


@dataclass(frozen=True)
class Judgement:
    """A verdict, the 95 % interval of our mean where there is one, and the reason in words."""

    verdict: CellVerdict
    low: float | None
    high: float | None
    reason: str


def judge(values: Sequence[float], paper: float, margin: float) -> Judgement:
    """Judge ours, one value a seed, against one printed number; all in the same unit as `margin`."""
    if not values:
        return Judgement("not run", None, None, "no seed has finished")
    if len(values) == 1:
        return Judgement("inconclusive", None, None, "one seed is too few for an interval")
    mean = math.fsum(values) / len(values)
    spread = Spread(deviation(values) / math.sqrt(len(values)), len(values) - 1)
    within, reach = spread.half_width(1 - 2 * ERROR), spread.half_width(1 - ERROR)
    low, high = mean - reach, mean + reach
    interval = f"the 95 % interval of our mean, {low:.2f} to {high:.2f},"
    if paper - margin < mean - within and mean + within < paper + margin:
        inner = f"{mean - within:.2f} to {mean + within:.2f}"
        return Judgement(
            "reproduced", low, high, f"the 90 % interval of our mean, {inner}, is within {_points(margin)} of it"
        )
    if low > paper:
        return Judgement("higher", low, high, f"{interval} lies above it")
    if high < paper:
        return Judgement("lower", low, high, f"{interval} lies below it")
    return Judgement("inconclusive", low, high, f"{interval} contains it and reaches too far beyond")


def method_note(units: Sequence[str]) -> str:
    """The method in one sentence, with the margins of these units."""
    margins = [f"{_points(MARGIN[unit])} ({unit})" for unit in dict.fromkeys(units)]
    return NOTE.format(margin=" or ".join(margins))


def _points(margin: float) -> str:
    return f"{margin:g} point" + ("" if margin == 1 else "s")


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation (n - 1) of two or more values; exactly 0 when they are equal."""
    return statistics.stdev(values)
