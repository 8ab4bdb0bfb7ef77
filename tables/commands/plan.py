"""The command behind `compmod plan`: what tables lack and what it would cost, to read or as JSON."""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tabulate import tabulate
from tyro.conf import arg

from ...pretrain.commands.options import RunsOption
from ...pretrain.commands.parsing import WIDTH
from ...pretrain.recipes.scales import Scale
from ...pretrain.specs.fields import Range
from ...pretrain.specs.run import Run
from ..paper.cell_names import settings
from ..plan.cost import measured_rates
from ..plan.memory import DEFAULT_GPUS, default_processes, is_of_this_code, with_memory
from ..plan.plan import GIGABYTE, Plan, Step, plan
from ..render.amounts import amount, duration, size
from ..results.other_precision import unused_runs
from .options import (
    CopiesOption,
    MethodsOption,
    NumbersOption,
    PrecisionOption,
    ScaleOption,
    SeedsOption,
    built,
    of_methods,
)

HEADERS = ("method", "data", "tables", "runs", "measure-\nments")
WIDTHS = (15, 14, 6)  # of the first three; longer ones are wrapped, so that a line of all columns fits WIDTH
MORE = {"gpu_hours": "GPU\ntime", "cpu_hours": "core\ntime", "processes": "GPUs\nx GiB"}  # where a step has any
MEMORY_NOTE = "Memory: of each GPU, counted without one, with an estimate for CUDA, NCCL and gaps."
OLDER = "Its counts are of other code; renew: python -m compmod.tables.plan.memory"
TOTALS = ("table", "runs", "measurements", "GPU-hours", "core-hours", "disk")


def plan_command(
    numbers: NumbersOption = (),
    scale: ScaleOption = "paper",
    methods: MethodsOption = (),
    seeds: SeedsOption = 1,
    copies: CopiesOption = (),
    precision: PrecisionOption = "auto",
    runs: RunsOption = Path("runs"),
    hardware: Annotated[str, arg(help="GPU to predict for, as records name it; default: the one with most")] = "",
    gpus: Annotated[int, Range(1, 1024), arg(help="of a pretraining on large images, for its memory")] = DEFAULT_GPUS,
    recompute: Annotated[bool, arg(help="predict the memory with activations computed again")] = False,
    count_memory: Annotated[bool, arg(help="count the memory that is not known; seconds a run, then kept")] = False,
    json: Annotated[bool, arg(help="every step, for other programs")] = False,
) -> None:
    """List the runs and measurements that tables lack, with predicted hours, memory and disk; run nothing."""
    tables = of_methods(built(numbers, scale, seeds, copies, precision), methods)
    lacking = plan(tables, runs, measured_rates(runs, hardware))
    lacking = with_memory(
        lacking, lambda step: default_processes(step.run, gpus), recompute=recompute, count=count_memory
    )
    print(lacking.to_json() if json else plan_text(lacking, scale, seeds), flush=True)
    if unused := unused_runs(tables, runs):
        print(unused, file=sys.stderr, flush=True)


def plan_text(plan: Plan, scale: Scale, seeds: int) -> str:
    """The plan as text: a line for each method on each data set, then totals, then what is damaged."""
    many, seeded = "s"[: len(plan.tables) != 1], f"{seeds} seed{'s'[: seeds != 1]}"
    of = f"table{many} {', '.join(map(str, plan.tables))} at scale {scale}, {seeded}"
    paragraphs = []
    if plan.steps:
        groups = list(plan.by_method_and_data().values())
        more = [name for name in MORE if any(getattr(step, name) for step in plan.steps)]
        lines = [(*_line(steps), *(_more(name, steps) for name in more)) for steps in groups]
        headers = (*HEADERS, *(MORE[name] for name in more))
        paragraphs.append(f"Missing from {of}:\n\n{_aligned(headers, lines, WIDTHS)}")
        if begun := [_wrapped(line) for steps in groups if (line := _begun(steps))]:
            paragraphs.append("\n".join(["Begun:", *begun]))
        totals = [(str(number), *_total(plan.of_table(number))) for number in plan.tables]
        everything = [("all, each once", *_total(plan.steps))] if len(plan.tables) > 1 else []
        paragraphs.append(_aligned(TOTALS, [*totals, *everything]))
        notes = [f"Time: {plan.hours_are}.", "Disk: encoders, checkpoints and metrics, rather too much."]
        notes += _memory_notes(plan.steps) if "processes" in more else []
        paragraphs.append("\n".join(map(_wrapped, notes)))
    elif not plan.held_back:
        paragraphs.append(f"Nothing is missing from {of}.")
    if plan.damaged:
        held = f"{plan.held_back} measurement{'s'[: plan.held_back != 1]}"
        removed = f"Damaged, and so not planned, with {held}; remove the folder to have it done again:"
        paragraphs.append("\n".join([removed, *(f"  {sentence}" for sentence in plan.damaged)]))
    if plan.remarks:
        paragraphs.append(
            "\n".join(["Damaged, but no work waits for it:", *(f"  {remark}" for remark in plan.remarks)])
        )
    return "\n\n".join(paragraphs)


def _line(steps: Sequence[Step]) -> tuple[str, ...]:
    runs, measurements, *_ = _total(steps)
    wanted = " ".join(map(str, sorted({number for step in steps for number in step.tables})))
    return _method(steps), steps[0].run.data_label, wanted, runs, measurements


def _method(steps: Sequence[Step]) -> str:
    run, several = steps[0].run, settings(step.run for step in steps)
    return f"{run.label}, {several} settings" if several > 1 else " ".join(filter(None, (run.label, steps[0].cell)))


def _more(name: str, steps: Sequence[Step]) -> str:
    """A column of MORE: time, or GPUs of the largest pretraining and the memory of each, a dash where not predicted."""
    if name != "processes":
        return duration(3_600 * sum(getattr(step, name) for step in steps))
    largest = max(steps, key=lambda step: step.memory_gib)
    return f"{largest.processes} x {amount(largest.memory_gib)}" if largest.memory_gib else "–"


def _memory_notes(steps: Sequence[Step]) -> list[str]:
    notes = [MEMORY_NOTE]
    if unknown := sum(step.processes > 0 and not step.memory_gib for step in steps):
        notes.append(f"It is not known of {unknown} run{'s'[: unknown != 1]}: --count-memory counts it, seconds a run.")
    return notes if is_of_this_code(step.run for step in steps if step.memory_gib) else [*notes, OLDER]


def _begun(steps: Sequence[Step]) -> str:
    """How many steps were begun, by state, and how far the unfinished ones are; nothing where none was."""
    begun = Counter(step.state for step in steps if step.state != "not run")
    reached = ", ".join(_reached(step) for step in steps if step.progress)
    states = ", ".join(f"{count} {state}" for state, count in begun.items())
    named = f"  {_method(steps)} on {steps[0].run.data_label}: {states}"
    return (named + (f" ({reached})" if reached else "")) if begun else ""


def _reached(step: Step) -> str:
    if isinstance(step.spec, Run):
        return f"seed {step.run.seed}: epoch {step.progress * step.spec.epochs:.0f} of {step.spec.epochs}"
    return f"seed {step.run.seed}: {step.progress:.0%}"


def _total(steps: Sequence[Step]) -> tuple[str, str, str, str, str]:
    runs = sum(step.spec.kind == "pretraining" for step in steps)
    gpu_hours, core_hours = (amount(sum(getattr(step, name) for step in steps)) for name in ("gpu_hours", "cpu_hours"))
    disk = size(GIGABYTE * sum(step.disk_gb for step in steps))
    return str(runs), str(len(steps) - runs), gpu_hours, core_hours, disk


def _aligned(headers: Sequence[str], lines: Sequence[Sequence[str]], widths: Sequence[int] = ()) -> str:
    """A table whose first column is text; where there are `widths`, all that they limit are."""
    text = max(1, len(widths))
    sides = ["left" if column < text else "right" for column in range(len(headers))]
    limits = [*widths, *[None] * (len(headers) - len(widths))]
    table: str = tabulate(lines, headers, tablefmt="simple", disable_numparse=True, colalign=sides, maxcolwidths=limits)
    return table


def _wrapped(line: str) -> str:
    return textwrap.fill(line, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
