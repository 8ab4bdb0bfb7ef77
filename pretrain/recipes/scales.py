"""Scales: what `paper`, `short`, `laptop` and `demo` make of a Run.

paper: the recipe as it stands, GPU-days a run. short: a tenth of everything counted in epochs. laptop: CIFAR-10 with a
small network on small views, minutes a run on one CPU core. demo: the embedded digits and a small network, under a
minute a run on two CPU cores; its numbers are no reproduction of any cell.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from ..specs.own_data import OwnData
from ..specs.run import Precision, Run
from . import laptop
from .presets import preset

Scale = Literal["paper", "short", "laptop", "demo"]
SCALES: tuple[Scale, ...] = get_args(Scale)
FOR_CPUS: tuple[Scale, ...] = ("laptop", "demo")  # small networks, which gain more from several runs at once
SHORT = 10  # divisor of epochs at scale `short`
EPOCH_OPTIONS = ("queue_epoch", "freeze_epochs", "warmup_epochs")  # settings of methods that are counted in epochs
# bfloat16 is several times as fast on a GPU, but not shown to be as good for "+": results/README.md
PRECISIONS: dict[Scale, Precision] = dict.fromkeys(SCALES, "float32")
BRIEF = "brief"  # the digits recipe of ablations, where a table has many runs of one method


def scaled(method: str, dataset: str, scale: Scale, variant: str = "", own: OwnData | None = None) -> Run:
    """The Run of `method` on `dataset` at `scale`, by its recipe `variant`; at `demo` every data set becomes digits.

    `own` is as of `preset`. Raises ValueError on an unknown scale, and at `laptop` on data that it has no recipe for.
    """
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; known: {', '.join(SCALES)}")
    if scale == "laptop":
        if dataset != laptop.DATASET:
            raise ValueError(
                f"scale laptop is for {laptop.DATASET}, not {dataset!r}; for it use --scale paper or short"
            )
        variant = variant or laptop.VARIANT
    run = preset(method, "digits", variant) if scale == "demo" else preset(method, dataset, variant, own)
    run = replace(run, precision=PRECISIONS[scale])
    if scale != "short":
        return run
    schedule = replace(
        run.schedule,
        warmup_steps=run.schedule.warmup_steps // SHORT,
        warmup_epochs=run.schedule.warmup_epochs / SHORT,
        drops=tuple(drop / SHORT for drop in run.schedule.drops),
    )
    compmod = run.compmod
    if run.plus:
        compmod = replace(compmod, warmup_epochs=compmod.warmup_epochs / SHORT)
    options = tuple((name, _shortened(name, value)) for name, value in run.options)
    return replace(run, epochs=run.epochs // SHORT, schedule=schedule, compmod=compmod, options=options)


def _shortened(option: str, value: int | float | str) -> int | float | str:
    return value / SHORT if option in EPOCH_OPTIONS and not isinstance(value, str) else value
