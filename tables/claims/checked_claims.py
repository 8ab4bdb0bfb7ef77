"""Checked claims: every claim, checked on the numbers that the paper prints and on our records.

On printed numbers a claim is confirmed or refuted. On ours it is confirmed when every comparison holds over the seeds,
refuted when one fails, and otherwise inconclusive, as with a missing cell or a single seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ...pretrain.recipes.scales import SHORT, Scale
from ...pretrain.specs.run import Precision
from ..render.markdown import escaped, escaped_note
from ..results.results import Results
from .comparison import DecidedComparison, compare_printed
from .evidence import ClaimChecker, Evidence
from .sentences import CLAIMS, Claim

if TYPE_CHECKING:
    import pandas as pd

ClaimVerdict = Literal["confirmed", "refuted", "inconclusive"]
IN_DETAIL = 24  # comparisons of one state that are listed with their figures: as many as Table 1 has gains
IN_SUMMARY = 3
SETTINGS: dict[Scale, str] = {
    "paper": "",
    "short": f"short scale: 1/{SHORT} of the paper's epochs",
    "laptop": "laptop scale: a small network and small views, trained for minutes on a CPU",
    "demo": "demo scale: other data, digits and a small network, which tests nothing of the paper",
}
FRAME_COLUMNS = (
    "claim",
    "sentence",
    "where",
    "tables",
    "reading",
    "paper",  # the verdict on the printed numbers
    "paper_detail",
    "scale",
    "ours",  # the verdict on our records
    "ours_detail",
)


@dataclass(frozen=True)
class CheckedClaim:
    """The verdict on one claim; `detail` has the comparisons with their figures, those that fail first."""

    claim: Claim
    verdict: ClaimVerdict
    detail: str
    summary: str  # the detail in a line: counts, what fails, or else what is closest to failing
    compared: int  # comparisons that have their numbers; with none, nothing of the claim has run


def check_printed() -> tuple[CheckedClaim, ...]:
    """Check every claim on the numbers that the paper printed; none is inconclusive."""
    return tuple(
        _checked_claim(claim, Evidence([compare_printed(comparison) for comparison in claim.comparisons], [], 0), "")
        for claim in CLAIMS
    )


def check_claims(
    results: Results,
    scale: Scale = "paper",
    seeds: int = 1,
    copies: Mapping[str, str] | None = None,
    precision: Precision | None = None,
) -> tuple[CheckedClaim, ...]:
    """Check every claim on our records of the seeds 0 to `seeds` - 1. Raises ValueError as `build_table` does."""
    checker = ClaimChecker(results, scale, seeds, copies, precision)
    return tuple(_checked_claim(claim, checker.check(claim.comparisons), _setting(scale, copies)) for claim in CLAIMS)


def claims_frame(
    results: Results,
    scale: Scale = "paper",
    seeds: int = 1,
    copies: Mapping[str, str] | None = None,
    precision: Precision | None = None,
) -> pd.DataFrame:
    """One line a claim with the columns FRAME_COLUMNS, all text."""
    import pandas as pd

    pairs = zip(check_printed(), check_claims(results, scale, seeds, copies, precision), strict=True)
    lines = [
        (
            theirs.claim.name,
            theirs.claim.sentence,
            theirs.claim.where,
            ", ".join(map(str, theirs.claim.tables)),
            theirs.claim.reading,
            theirs.verdict,
            theirs.detail,
            scale,
            ours.verdict,
            ours.detail,
        )
        for theirs, ours in pairs
    ]
    return pd.DataFrame(lines, columns=list(FRAME_COLUMNS))


def claims_markdown(
    results: Results,
    scale: Scale = "paper",
    seeds: int = 1,
    copies: Mapping[str, str] | None = None,
    precision: Precision | None = None,
) -> str:
    """A table claim | paper's own numbers | ours | detail, and under it how each sentence is read."""
    ours = check_claims(results, scale, seeds, copies, precision)
    lines = [f"### Claims of the paper, ours at scale {scale}, seeds a cell: {seeds}", ""]
    if setting := _setting(scale, copies):
        lines += [f"Ours are not of the paper's setting: {setting}.", ""]
    lines += [f"| Claim | Paper's own numbers | Ours ({scale}) | Detail |", "|:--|:--|:--|:--|"]
    for theirs, own in zip(check_printed(), ours, strict=True):
        detail = escaped_note(f"paper: {theirs.summary}. Ours: {own.summary}.")
        lines.append(f"| {theirs.claim.name} | {theirs.verdict} | {own.verdict} | {detail} |")
    lines += ["", "What the paper says, and how it is read; per cent are points of the metric:", ""]
    readings: dict[tuple[str, str, str], list[str]] = {}
    for claim in CLAIMS:
        readings.setdefault((claim.sentence, claim.where, claim.reading), []).append(f"**{claim.name}**")
    for (sentence, where, reading), names in readings.items():
        lines.append(f"- “{sentence.rstrip('.')}” ({where}): {', '.join(names)}. Read as: {reading}.")
    lines += [f"- {escaped(sentence)}" for sentence in results.damaged]
    return "\n".join(lines) + "\n"


def _checked_claim(claim: Claim, evidence: Evidence, setting: str) -> CheckedClaim:
    states = {comparison.state for comparison in evidence.decided}
    verdict: ClaimVerdict = "refuted" if "fails" in states else "inconclusive"
    if states == {"holds"} and not evidence.missing:
        verdict = "confirmed"
    stale = [f"stale: {evidence.stale} of the seeds were run by code that has changed since"] if evidence.stale else []
    first, missing = [setting] if setting else [], evidence.missing
    warning = [] if verdict == "inconclusive" else first  # a verdict always comes with it
    worst = _states(evidence.decided, IN_SUMMARY, 1)[:1]
    return CheckedClaim(
        claim=claim,
        verdict=verdict,
        detail="; ".join([*first, *_states(evidence.decided, IN_DETAIL), *_missing(missing, IN_DETAIL), *stale]),
        summary="; ".join([*warning, *worst, *_missing(missing, IN_SUMMARY), *stale]),
        compared=len(evidence.decided),
    )


def _setting(scale: Scale, copies: Mapping[str, str] | None) -> str:
    """How our setting differs from the paper's; empty where it does not."""
    return "; ".join(text for text in (SETTINGS[scale], "re-encoded copies of the data" if copies else "") if text)


def _states(decided: Sequence[DecidedComparison], most: int, holding: int = IN_DETAIL) -> list[str]:
    """What fails, what is undecided and what holds, each group with the smallest margin first.

    At most `most` of a group are listed, and of those that hold at most `holding`.
    """
    parts = []
    for state, word in (("fails", "fail"), ("undecided", "undecided"), ("holds", "hold")):
        group = sorted((one for one in decided if one.state == state), key=lambda one: one.margin)
        if group:
            texts = _listed([one.text for one in group], holding if state == "holds" else most)
            parts.append(f"{len(group)} of {len(decided)} {word}: {texts}")
    return parts


def _missing(missing: Sequence[str], most: int) -> list[str]:
    return [f"missing: {_listed(missing, most)}"] if missing else []


def _listed(texts: Sequence[str], most: int) -> str:
    rest = len(texts) - most
    return "; ".join([*texts[:most], *([f"and {rest} more"] if rest > 0 else [])])
