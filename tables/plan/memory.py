"""Memory: the peak GPU memory of a pretraining, from figures that were counted before; torch stays away.

`pretrain/memory.py` counts them, without a GPU. Those of the tables' recipes are in memory.json; any other is counted
once, in a process of its own, and kept in the user's cache folder. Renew the file, some minutes on a core:

    python -m compmod.tables.plan.memory
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ...pretrain.files.stored_json import parse_object, read_object
from ...pretrain.files.whole_file import write_whole
from ...pretrain.recipes.scales import EPOCH_OPTIONS
from ...pretrain.records.fingerprint import code_digest
from ...pretrain.specs.run import Comprehensive, Optimizer, Run, Schedule
from .plan import Plan, Step

SHIPPED = Path(__file__).with_name("memory.json")
ALSO_COUNTED = "pretrain.memory", "pretrain.training.session"  # what decides memory and moves no number
DEFAULT_GPUS = 8  # that share a pretraining on large images where nothing else is known: one node, as papers use
GIBIBYTE = 2**30

# What a GPU needs beside the counted bytes. Estimates, until a GPU has been measured:
CONTEXT_BYTES = 0.7 * GIBIBYTE  # CUDA context with PyTorch's kernels (0.3 to 0.5 on A100 and H100), cuBLAS's workspace
NCCL_BYTES = 0.5 * GIBIBYTE  # channels and buffers of a communicator, where processes share a run
SPARE = 0.08  # of the counted bytes: gaps of the caching allocator, and cuDNN's workspaces, which grow with the maps


@dataclass(frozen=True)
class Demand:
    """One pretraining on so many GPUs, as one of them sees it."""

    run: Run
    processes: int = 1
    recompute: bool = False

    @functools.cached_property
    def key(self) -> str:
        """The same for demands that take the same memory: seed, length, rates and weights of a loss do not matter."""
        again = "-recompute" if self.recompute else ""
        return f"{_essential(self.run).digest}-{self.processes}{again}"

    @property
    def kept_key(self) -> str:
        """The same, for the code that is here alone."""
        return f"{self.key}-{_code(self.run)}"

    def __str__(self) -> str:
        run = self.run
        return f"{run.label}, {run.data_label}, batch {run.batch_size}, {run.precision}, {self.processes} processes" + (
            ", recompute" if self.recompute else ""
        )


def total_gib(counted: int, processes: int) -> float:
    """Memory that a GPU must have, in GiB, for a step that has so many counted bytes in use at once."""
    return ((1 + SPARE) * counted + CONTEXT_BYTES + (NCCL_BYTES if processes > 1 else 0)) / GIBIBYTE


def peaks(demands: Iterable[Demand], *, count: bool = True) -> dict[Demand, float]:
    """Memory of a GPU in GiB that each demand needs; without those that need no GPU or whose memory is not known.

    What is not known yet is counted now, which takes seconds a demand, and is kept; not so without `count`.
    """
    wanted = [demand for demand in dict.fromkeys(demands) if demand.run.device == "gpu" and demand.run.epochs]
    shipped, kept = _read(SHIPPED), _read(_kept())
    known = {
        demand.key: kept.get(demand.kept_key, shipped.get(demand.key))
        for demand in wanted
        if demand.kept_key in kept or demand.key in shipped
    }
    lacking = {demand.key: demand for demand in wanted if demand.key not in known}
    if lacking and count:
        print(f"counting the memory of {len(lacking)} runs; kept in {_kept()}", file=sys.stderr, flush=True)
        for demand, counted in _count(lacking.values()):
            known[demand.key] = counted
            _keep({demand.kept_key: counted})
    return {
        demand: total_gib(counted, demand.processes)
        for demand in wanted
        if (counted := known.get(demand.key)) is not None
    }


def with_memory(plan: Plan, processes: Callable[[Step], int], *, recompute: bool = False, count: bool = True) -> Plan:
    """The plan with the memory of each pretraining that GPUs do, by the number of its processes; 0 = no GPU.

    Without `count`, that of the runs whose memory is known.
    """
    demands = {
        step.spec.digest: Demand(step.run, number, recompute)
        for step in plan.steps
        if isinstance(step.spec, Run) and step.spec.device == "gpu" and (number := processes(step))
    }
    found = peaks(demands.values(), count=count)

    def told(step: Step) -> Step:
        demand = demands.get(step.spec.digest)
        return replace(step, processes=demand.processes, memory_gib=found.get(demand, 0.0)) if demand else step

    return replace(plan, steps=tuple(map(told, plan.steps)))


def default_processes(run: Run, gpus: int = DEFAULT_GPUS) -> int:
    """Processes of a pretraining where a node has so many GPUs: one on small images, else as many as share a batch."""
    if run.norm_groups > 1:
        return run.norm_groups
    if not run.data.large:
        return 1
    return next(count for count in range(gpus, 0, -1) if run.batch_size % count == 0)


def is_of_this_code(runs: Iterable[Run]) -> bool:
    """Whether the shipped figures of these runs were counted with the code that is here."""
    shipped = (read_object(SHIPPED) or {}).get("code", {})
    return all(shipped.get(name, code) == code for name, code in _codes(runs).items())


def _essential(run: Run) -> Run:
    """The run without what takes no memory."""
    compmod = run.compmod
    if run.plus:
        plain = Comprehensive()
        compmod = replace(
            compmod, lambda1=plain.lambda1, lambda2=plain.lambda2, warmup_epochs=plain.warmup_epochs, alpha=plain.alpha
        )
    return replace(
        run,
        seed=0,
        copy="",
        epochs=1,
        schedule=Schedule(),
        optimizer=Optimizer(name=run.optimizer.name, momentum=run.optimizer.momentum),
        compmod=compmod,
        options=tuple((name, value) for name, value in run.options if name not in EPOCH_OPTIONS),
    )


def _read(path: Path) -> dict[str, int | None]:
    """Counted bytes by key; none where there is no such file. Raises ValueError where it is damaged."""
    figures = (read_object(path) or {}).get("bytes", {})
    if not isinstance(figures, dict) or not all(
        figure is None or (isinstance(figure, int) and figure > 0) for figure in figures.values()
    ):
        raise ValueError(f"{path}: expected whole numbers of bytes by key; remove the file to have them counted again")
    return figures


def _code(run: Run) -> str:
    """Hash of the definitions that decide how much memory a step of the run takes."""
    return code_digest(run, *ALSO_COUNTED)


def _codes(runs: Iterable[Run]) -> dict[str, str]:
    """The same by method and data set, which select the code."""
    return {f"{run.method} {run.dataset}": _code(run) for run in runs}


def _kept() -> Path:
    """The user's own figures, by key and code."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "compmod" / "memory.json"


def _count(demands: Iterable[Demand]) -> Iterator[tuple[Demand, int | None]]:
    """Every demand and its counted bytes, from a process with torch; None where a step cannot be counted."""
    demands = list(demands)
    requests = [
        {"run": demand.run.to_dict(), "processes": demand.processes, "recompute": demand.recompute}
        for demand in demands
    ]
    command = [sys.executable, "-P", "-m", f"{(__package__ or '').partition('.')[0]}.pretrain.memory"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as counting:
        assert counting.stdin is not None
        assert counting.stdout is not None
        counting.stdin.write(json.dumps(requests).encode())
        counting.stdin.close()
        for demand, line in zip(demands, counting.stdout, strict=False):
            answer = parse_object(line, "the memory of a run")
            if answer["bytes"] is None:
                print(f"warning: no memory is known of {demand}: {answer['error']}", file=sys.stderr, flush=True)
            yield demand, answer["bytes"]
    if counting.returncode:
        raise ValueError(f"the process that counts memory left with {counting.returncode}")


def _keep(figures: Mapping[str, int | None]) -> None:
    """Add figures to the user's own; where no file can be made, they are counted again the next time."""
    path = _kept()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"bytes": {**_read(path), **figures}}).encode())


def main() -> None:
    """Count the memory of all recipes of the tables again, and write the file that the package ships."""
    from ..build import TABLES, build_table

    tables = [build_table(number, scale) for scale in ("paper", "short") for number in TABLES]
    demands: dict[str, Demand] = {}
    for run in (spec.run for table in tables for spec in table.specs):
        for recompute in (False, True)[: 2 if run.data.large else 1]:
            demand = Demand(run, default_processes(run), recompute)
            demands.setdefault(demand.key, demand)
    figures: dict[str, int | None] = {}
    for demand, counted in _count(demands.values()):
        figures[demand.key] = counted
        print(f"{len(figures)} of {len(demands)}: {demand}: {counted or 0:,} bytes", flush=True)
    codes = _codes(demand.run for demand in demands.values())
    document = {"code": codes, "runs": {key: str(demands[key]) for key in figures}, "bytes": figures}
    write_whole(SHIPPED, (json.dumps(document, indent=1, sort_keys=True) + "\n").encode())


if __name__ == "__main__":
    main()
