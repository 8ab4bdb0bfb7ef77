"""Amounts and durations in words, for the plan and the report."""

from __future__ import annotations

SIZES = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0))
UNITS = (("h", 3_600.0), ("min", 60.0), ("s", 1.0))


def amount(number: float) -> str:
    """A predicted amount: two significant digits below 10, whole numbers above."""
    if not number:
        return "0"
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def size(number: float) -> str:
    """So many bytes, in the largest unit of which they are at least one."""
    if not number:
        return "0"
    unit, length = next((entry for entry in SIZES if number >= entry[1]), SIZES[-1])
    return f"{amount(number / length)} {unit}"


def duration(seconds: float | None) -> str:
    """A duration in the largest unit of which it is at least one; a dash for None."""
    if seconds is None:
        return "–"
    unit, length = next((entry for entry in UNITS if seconds >= entry[1]), UNITS[-1])
    return f"{amount(seconds / length)} {unit}"
