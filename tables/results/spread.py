"""Spread: how far the mean of a few seeds may lie from the truth, by Student's t, for a verdict, a gain and a claim.

Of several samples it is Welch's (Welch 1947, Biometrika 34; degrees of freedom after Satterthwaite 1946, Biometrics 2);
of one sample that is Student's. The quantiles are those of `scipy.special`: `scipy.stats` takes a second to import.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

LEVEL = 0.95  # of every interval that is shown
DIGITS = 9  # sums of printed decimals are rounded to so many: 54.6 - 54.6 is 0, 2.1 - 0.1 is 2
FEWEST_SEEDS = 2


@dataclass(frozen=True)
class Spread:
    """Standard error of a sum of means, and its degrees of freedom."""

    error: float
    freedom: float

    def half_width(self, level: float) -> float:
        """Half of the two-sided interval at `level`."""
        return _quantile(self.freedom, (1 + level) / 2) * self.error


def welch(terms: Sequence[tuple[float, tuple[float, ...]]]) -> Spread | None:
    """Spread of a weighted sum of the samples' means, for unequal variances; None where there is no estimate."""
    if not terms or any(len(sample) < FEWEST_SEEDS for _, sample in terms):
        return None
    parts = [(weight**2 * _variance(sample) / len(sample), len(sample)) for weight, sample in terms]
    total = math.fsum(part for part, _ in parts)
    if total == 0:
        return None
    return Spread(math.sqrt(total), total**2 / math.fsum(part**2 / (count - 1) for part, count in parts))


_variance = lru_cache(maxsize=1024)(statistics.variance)  # exact and therefore slow; the same samples recur


@lru_cache(maxsize=1024)
def _quantile(freedom: float, share: float) -> float:
    """Quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))
