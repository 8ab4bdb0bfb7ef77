"""Page: the figures as JSON, and as markdown between the markers of docs/performance.md; nothing else of it changes."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
PAGE, FIGURES = DOCS / "performance.md", DOCS / "performance.json"


def machine() -> str:
    """The processor and how many cores this process may use."""
    model = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).is_file():
        text = info.read_text()
        fields = {key: re.search(rf"^{key}\s*: (.*)$", text, re.M) for key in ("model name", "cpu family", "model")}
        name, family, number = (match.group(1) if match else "?" for match in fields.values())
        flags = [flag for flag in ("avx2", "avx512f", "amx_bf16") if re.search(rf"\b{flag}\b", text)]
        model = f"{name} (family {family}, model {number}; {', '.join(flags) or 'no AVX2'})"
    return f"{len(os.sched_getaffinity(0))} cores of {model}"


def today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def best(figures: Mapping[str, Any], key: str = "seconds") -> float:
    return min(figures[key])


def median(figures: Mapping[str, Any], key: str = "seconds") -> float:
    return statistics.median(figures[key])


def mean(figures: Mapping[str, Any], key: str = "seconds") -> float:
    return statistics.fmean(figures[key])


def times(figures: Mapping[str, Any], ours: Mapping[str, Any], key: str = "seconds") -> str:
    """How many times ours: the median over rounds, for the calls of one round saw the same machine."""
    if "not_run" in ours:
        return ""
    return f"{statistics.median(a / b for a, b in zip(figures[key], ours[key], strict=True)):.2f} x"


def read_figures(path: Path) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return figures


def write_figures(path: Path, figures: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")


def replace_between(page: Path, name: str, text: str) -> None:
    """Put the text between the markers called `name`. Raises ValueError where the page does not have them once."""
    start, end = f"<!-- {name}: start -->", f"<!-- {name}: end -->"
    whole = page.read_text(encoding="utf-8")
    if whole.count(start) != 1 or whole.count(end) != 1 or whole.index(start) > whole.index(end):
        raise ValueError(f"{page}: expected the lines {start!r} and {end!r} once, in this order")
    before, rest = whole.split(start)
    page.write_text(f"{before}{start}\n{text.strip()}\n{end}{rest.split(end)[1]}", encoding="utf-8")
