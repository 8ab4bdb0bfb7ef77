"""Study: its tables. Those of the paper at scale laptop and on digits, and one of ours a method, of variants of "+"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from compmod.pretrain.recipes.scales import Scale, scaled
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import PLUS
from compmod.tables.build import build_table
from compmod.tables.paper.scales import copied, over_seeds, probes
from compmod.tables.paper.table import Cell, Column, Row, Table
from precision import PRECISIONS

Data = Literal["laptop", "digits"]
HERE = Path(__file__).parents[2] / "results"
NOT_YET = "Not run yet."
COPIES = {"cifar10": "cifar10-jpeg"}
SEEDS = {"laptop": 5, "digits": 32}
PRECISION_SEEDS = 64  # as many as are looked for
MECHANISM_SEEDS = {"laptop": 5, "digits": 16}
BASES = ("simclr", "byol", "barlow_twins")
STOPPED, STOPPED_ALONE = "flow through h-hat stopped", "flow stopped, no hypergradient"
FRESH = range(1, 5)  # seeds that nobody had seen when STOPPED was planned for all methods
FLOWS: dict[str, Mapping[str, Any]] = {  # the other flow than the recipe's, as variants
    "digits": {"flow through h-hat": {"flow": "through"}},
    "laptop": {
        STOPPED: {"flow": "stop"},
        "flow stopped, lambda1 = 0.001": {"flow": "stop", "lambda1": 0.001},
        STOPPED_ALONE: {"flow": "stop", "hypergradient": "none"},
    },
}
VARIANTS: dict[str, Mapping[str, Any]] = {  # what each changes in the recipe's "+"
    "as the recipe has it": {},
    "no hypergradient: L_comp alone trains g_xi": {"hypergradient": "none"},  # what "comp-only" computes, to the bit
    "all losses in one step": {"training": "joint"},
    "lambda1 = 0.001": {"lambda1": 0.001},
    "lambda1 = 0.1": {"lambda1": 0.1},
    "per-sample scale": {"scale": "per_sample"},
    "virtual step of Adam": {"virtual_step": "optimizer"},
    "virtual step at rate 0.1": {"virtual_lr": 0.1},
}


def laptop(number: int) -> Table:
    """A table of the paper at scale laptop."""
    return build_table(number, "laptop", SEEDS["laptop"], COPIES)


def digits() -> Table:
    """Table 1 on the digits."""
    return build_table(1, "demo", SEEDS["digits"])


def variants(data: Data) -> dict[str, Mapping[str, Any]]:
    """What each variant changes, by its name."""
    return {**VARIANTS, **FLOWS[data]}


def mechanism(method: str, data: Data, seeds: int = 0) -> Table:
    """A table of ours: "+" around `method`, one row a variant, below the plain method."""
    scale: Scale = "laptop" if data == "laptop" else "demo"
    plain, plus = (copied(scaled(name, "cifar10", scale), COPIES) for name in (method, method + PLUS))
    runs = {METHODS[method].label: plain}
    runs |= {name: replace(plus, compmod=replace(plus.compmod, **changes)) for name, changes in variants(data).items()}
    heading = f"{METHODS[method].label}+, {data}"
    metrics = {"linear": "linear/top1", "5-nn": "knn/top1"}
    seeds = seeds or MECHANISM_SEEDS[data]
    specs = {name: over_seeds(run, seeds, lambda seeded: probes(seeded, scale)) for name, run in runs.items()}
    return Table(
        number=8,
        title="What does it?",
        scale=scale,
        columns=tuple(Column(group=heading, name=name, heading=heading, parts=("ours",)) for name in metrics),
        rows=tuple(
            Row(label=name, cells=tuple(Cell(metric=metric, specs=measured) for metric in metrics.values()))
            for name, measured in specs.items()
        ),
        cost="",
    )


def both_precisions() -> list[Table]:
    """Table 1 at scale laptop with more seeds, in float32 and in bfloat16."""
    return [build_table(1, "laptop", PRECISION_SEEDS, COPIES, name) for name in PRECISIONS]
