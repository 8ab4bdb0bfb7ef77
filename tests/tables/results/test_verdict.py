"""Verdicts: scipy's own tests agree with them, they err as rarely as they say, and they find what is there."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from compmod.tables.results.verdict import ERROR, MARGIN, judge, method_note
from scipy import stats

DRAWS = 2000
NOISE = 4 * (ERROR * (1 - ERROR) / DRAWS) ** 0.5  # of a share of 5 % among that many draws, four deviations


def _verdicts(difference: float, deviation: float, seeds: int) -> Counter[str]:
    """Shares of the verdicts when our runs scatter so around the printed number plus `difference`."""
    values = np.random.default_rng(0).normal(92.0 + difference, deviation, size=(DRAWS, seeds))
    counts = Counter(judge(line.tolist(), 92.0, MARGIN["accuracy"]).verdict for line in values)
    return Counter({verdict: count / DRAWS for verdict, count in counts.items()})


def test_no_value_is_not_run() -> None:
    found = judge([], 92.0, 1.0)
    assert (found.verdict, found.low, found.high) == ("not run", None, None)


def test_one_seed_is_too_few_however_near_it_is() -> None:
    found = judge([92.0], 92.0, 1.0)
    assert (found.verdict, found.low, found.high) == ("inconclusive", None, None)
    assert "one seed" in found.reason


@pytest.mark.parametrize(
    "values, verdict",
    [
        ([91.9, 92.0, 92.1], "reproduced"),
        ([92.5, 92.6, 92.7], "reproduced"),  # higher too, and near enough
        ([93.4, 93.5, 93.6], "higher"),
        ([90.4, 90.5, 90.6], "lower"),
        ([90.0, 92.0, 94.0], "inconclusive"),
        ([92.9, 93.0, 93.1], "higher"),  # at the margin, which cannot be shown to hold
    ],
)
def test_three_seeds_near_above_below_and_around_the_printed_number(values: list[float], verdict: str) -> None:
    assert judge(values, 92.0, 1.0).verdict == verdict


@pytest.mark.parametrize("mean, verdict", [(92.5, "reproduced"), (93.5, "higher"), (90.5, "lower")])
def test_seeds_that_all_agree_are_judged_by_their_value(mean: float, verdict: str) -> None:
    found = judge([mean] * 3, 92.0, 1.0)
    assert (found.verdict, found.low, found.high) == (verdict, mean, mean)


def test_agreement_with_the_very_number_is_reproduced() -> None:
    assert judge([92.1, 92.1], 92.1, 1.0).verdict == "reproduced"


@pytest.mark.parametrize("seed", range(20))
def test_interval_and_equivalence_are_those_of_scipys_t_tests(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(92 + random.normal(0, 0.7), 0.6, size=2 + seed % 5)
    found = judge(values.tolist(), 92.0, 1.0)
    whole = stats.ttest_1samp(values, 92.0)
    interval = whole.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    above = stats.ttest_1samp(values, 91.0, alternative="greater").pvalue
    below = stats.ttest_1samp(values, 93.0, alternative="less").pvalue
    if max(above, below) < 0.05:
        assert found.verdict == "reproduced"
    elif whole.pvalue < 0.05:
        assert found.verdict == ("higher" if values.mean() > 92 else "lower")
    else:
        assert found.verdict == "inconclusive"


def test_five_seeds_that_reproduce_are_nearly_always_found_to() -> None:
    assert _verdicts(0.0, 0.2, 5)["reproduced"] > 0.95


def test_three_seeds_of_a_usual_spread_suffice_for_most() -> None:
    assert _verdicts(0.0, 0.3, 3)["reproduced"] > 0.8


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_difference_of_the_whole_margin_is_called_reproduced_as_rarely_as_promised(side: int, seeds: int) -> None:
    assert _verdicts(side * MARGIN["accuracy"], 0.2, seeds)["reproduced"] <= ERROR + NOISE


@pytest.mark.parametrize("seeds", [2, 5])
def test_without_a_difference_higher_and_lower_together_are_as_rare_as_promised(seeds: int) -> None:
    shares = _verdicts(0.0, 5.0, seeds)  # so wide that nothing is reproduced
    assert shares["higher"] + shares["lower"] <= ERROR + NOISE
    assert shares["inconclusive"] >= 1 - ERROR - 2 * NOISE


@pytest.mark.parametrize("difference, verdict", [(2.0, "higher"), (-2.0, "lower")])
def test_a_difference_of_twice_the_margin_is_found_by_five_seeds(difference: float, verdict: str) -> None:
    assert _verdicts(difference, 0.3, 5)[verdict] > 0.99


def test_the_note_names_the_margins_of_its_units_once_each() -> None:
    note = method_note(["accuracy", "AP", "accuracy"])
    assert note.count("within 1 point (accuracy) or 0.5 points (AP) of it") == 1


def test_judging_imports_neither_scipys_statistics_nor_scipy_for_a_single_seed() -> None:
    code = (
        "import sys\n"
        "from compmod.tables.results.verdict import judge\n"
        "judge([92.0], 92.0, 1.0)\n"
        "assert 'scipy' not in sys.modules\n"
        "judge([92.0, 92.1], 92.0, 1.0)\n"
        "assert 'scipy.stats' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
