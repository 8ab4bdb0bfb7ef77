"""Entry: one line of METHODS, readable without importing torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a table or `--help` needs to know of a method, and where its code is."""

    label: str  # as the paper prints it
    source: str  # the paper the method is from
    recipe: Literal["S", "L"] = "S"  # small-data recipe of its rows in Table 1, see presets.py
    code: str  # "module.Class" in this folder
    views: int = 2  # fewest views a sample
    plus: bool = True  # whether it has a two-view embedding, which CompMod needs
    remark: str = ""  # what its rows must say of it
    cost: float = 0.0  # time of a step over SimCLR's, tests/benchmarks/methods.py; 0 = not measured
    plus_cost: float = 0.0  # likewise with "+"
