"""Demo gains: what the demo says of "+" below its table, with how much the choice of test images explains.

On the digits other test images would give another difference, even with the same two networks. That interval is of two
binomial shares with one success and one failure added to both (Agresti and Caffo, The American Statistician, 2000), so
that shares of 0 and 1 have an interval too. The images of one glyph are not independent, so it counts glyphs and not
images. It ignores that both networks see the same glyphs, which makes it somewhat too wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ...pretrain.data.digits import RENDERINGS
from ...pretrain.specs.datasets import DATASETS
from ...pretrain.specs.run import PLUS
from ..results.cells import CellResult
from ..results.gains import Gain, gains

TEST_GLYPHS = DATASETS["digits"].test_images // RENDERINGS
NORMAL = 1.96  # the normal distribution's quantile for an interval of 95 %


def chance(gain: Gain) -> float:
    """Half of the 95 % interval of the difference over the digits' test sets, in points."""
    means = [math.fsum(values) / len(values) / 100 for values in (gain.plain, gain.plus)]
    shares = [(mean * TEST_GLYPHS + 1) / (TEST_GLYPHS + 2) for mean in means]
    return 100 * NORMAL * math.sqrt(math.fsum(p * (1 - p) for p in shares) / (TEST_GLYPHS + 2))


def verdict(gain: Gain) -> str:
    """The state of a gain, with its reason and with chance over the digits' test images."""
    half, over_images = gain.half_width, chance(gain)
    if half is None:
        reason = "one seed" if gain.few else "no spread over seeds"
        among = "within" if abs(gain.difference) <= over_images else "beyond"
        return f"inconclusive ({reason}; {among} ±{over_images:.2f}, chance over {TEST_GLYPHS} test glyphs)"
    return f"{gain.state} (±{half:.2f} over seeds; chance over {TEST_GLYPHS} test glyphs: ±{over_images:.2f})"


def sentence(gain: Gain) -> str:
    """A gain and its verdict in one line."""
    return f"{gain.label}{PLUS} less {gain.label}, {gain.column}: {gain.difference:+.2f} points, {verdict(gain)}"


def gain_sentences(cells: Sequence[CellResult]) -> Iterator[str]:
    """The sentences about "+" under the demo's table, computed from its numbers."""
    all_gains = gains(cells)
    if not all_gains:
        return
    yield 'what "+" changed here:'
    yield from (f"- {sentence(gain)}" for gain in all_gains)
    undecided = sum(gain.state == "inconclusive" for gain in all_gains)
    few = " One seed tells nothing of the spread over seeds." if any(gain.few for gain in all_gains) else ""
    yield f"{undecided} of {len(all_gains)} comparisons are inconclusive.{few}"
