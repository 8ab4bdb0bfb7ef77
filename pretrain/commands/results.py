"""Results: how a command prints the results of a record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..files.printable import printable


def print_results(folder: Path, results: Mapping[str, object]) -> None:
    """A line for every result, its name and its value to four digits, then the record's folder, from here if below."""
    for name, value in results.items():
        words = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        text = f"{value:.4g}" if isinstance(value, int | float) else printable(words)
        print(f"{printable(name):18} {text}")
    here = Path.cwd()
    print(folder.relative_to(here) if folder.is_relative_to(here) else folder)
