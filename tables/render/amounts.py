"""Amounts and durations in words, for the plan and the report."""

from __future__ import annotations

UNITS = (("h", 3_600.0), ("min", 60.0), ("s", 1.0))


def amount(number: float) -> str:
    """As many digits as a prediction deserves."""
    if not number:
        return "0"
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def duration(seconds: float | None) -> str:
    """In the largest unit that it fills, or a dash for what is not known."""
    if seconds is None:
        return "–"
    unit, length = next((each for each in UNITS if seconds >= each[1]), UNITS[-1])
    return f"{amount(seconds / length)} {unit}"
