"""A simulation on paper: the time of a step on 1 to 64 GPUs, from operations, bytes and messages that are counted.

    python tests/benchmarks/scaling.py    # minutes on a core, no GPU; prints the tables of docs/performance.md

Counted, by the real step on fake tensors: floating-point operations, bytes that kernels read and write, kernels, and
messages between processes with their sizes. Assumed: everything in MACHINE and NETWORKS. Nothing here was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from compmod.pretrain import memory
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Run
from compmod.pretrain.training.objective import Objective
from tabulate import tabulate
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

PROCESSES = (1, 2, 4, 8, 16, 32, 64)
NODE = 8  # GPUs


class Machine(NamedTuple):
    """What one GPU sustains; an H100, by estimate."""

    half_flops: float = 450e12  # bfloat16
    tf32_flops: float = 250e12
    full_flops: float = 45e12  # float32
    bytes_per_s: float = 2.6e12
    launch_s: float = 6e-6  # the host's time for a kernel: Python, autograd and the driver; it bounds small steps


class Network(NamedTuple):
    """How long messages take."""

    name: str
    bytes_per_s: float  # of a node's card, all GPUs of the node together
    node_s: float = 20e-6  # for a small message inside a node, over NVLink
    hop_s: float = 12e-6  # more for every doubling of nodes
    nvlink_bytes_per_s: float = 360e9  # of an all-reduce inside a node

    def latency(self, processes: int) -> float:
        """Seconds of a message of a few bytes between so many processes."""
        return self.node_s + self.hop_s * math.log2(max(1, processes // NODE)) if processes > 1 else 0.0

    def reduction(self, size: float, processes: int) -> float:
        """Seconds of an all-reduce: inside the nodes, and between them in a ring."""
        if processes == 1:
            return 0.0
        nodes, local = max(1, processes // NODE), min(processes, NODE)
        inside = 2 * (local - 1) / local * size / self.nvlink_bytes_per_s
        between = 2 * (nodes - 1) / nodes * size / self.bytes_per_s
        return self.latency(processes) + inside + between


MACHINE = Machine()
NETWORKS = (Network("100 Gb/s", 0.85 * 100e9 / 8), Network("400 Gb/s", 0.85 * 400e9 / 8))
BACKWARD = 2 / 3  # of the computing; gradients travel meanwhile
BUCKET_BYTES = 25 * 2**20  # the last one has nothing to hide behind
OPTIMISER_PASSES = 7  # over the weights: reads w, g, m, v, writes w, m, v (Adam; LARS takes fewer)
BATCH_NORM_PASSES = {"native_batch_norm": 1.5, "native_batch_norm_backward": 5 / 3}  # reads its input twice
FREE = {"empty", "empty_like", "empty_strided", "detach", "new_empty", "_unsafe_view", "alias", "lift_fresh"}


@dataclass
class Counted:
    """What one process does in a step."""

    seconds: float = 0.0  # by the roofline: the sum over kernels of the longer of arithmetic and memory
    flops: float = 0.0
    bytes: float = 0.0
    kernels: int = 0
    messages: list[tuple[str, int]] = field(default_factory=list)  # kind and bytes


class Counter(TorchDispatchMode):
    """As a context: counts what operations cost."""

    def __init__(self, counted: Counted, precision: str) -> None:
        super().__init__()
        self.counted, self.precision = counted, precision

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = function(*args, **kwargs)
        name = function._schema.name.partition("::")[2]
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if function.namespace == "c10d":
            self.counted.messages.append((name.strip("_"), min(tensor.nbytes for tensor in given)))
        elif function.namespace == "aten" and not function.is_view and name not in FREE:
            made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
            self._add(function, name, args, kwargs, given, made, out)
        return out

    def _add(
        self, function: Any, name: str, args: Any, kwargs: Any, given: list[Tensor], made: list[Tensor], out: Any
    ) -> None:
        moved = sum(tensor.nbytes for tensor in (*given, *made)) * BATCH_NORM_PASSES.get(name, 1.0)
        formula = flop_registry.get(function._overloadpacket)
        flops = formula(*args, **kwargs, out_val=out) if formula else 0
        half = any(tensor.dtype == torch.bfloat16 for tensor in given)
        rates = {"float32": MACHINE.full_flops, "tf32": MACHINE.tf32_flops, "bfloat16": MACHINE.full_flops}
        rate = MACHINE.half_flops if half else rates[self.precision]
        self.counted.flops += flops
        self.counted.bytes += moved
        self.counted.kernels += 1
        self.counted.seconds += max(flops / rate, moved / MACHINE.bytes_per_s)


def count(run: Run, processes: int) -> Counted:
    """The gradients of a step of `run`, as one of so many processes; the optimiser is added by its passes."""
    counted, weights = Counted(), 0

    class Observed(memory.Trainer):
        def _build(self) -> Objective:
            objective = super()._build()
            plain = objective.backward
            counter = Counter(counted, run.precision)

            def counting(*arguments: Any, **named: Any) -> Any:
                nonlocal weights
                weights = sum(parameter.nbytes for parameter in objective.psi.values())
                with counter:
                    return plain(*arguments, **named)

            objective.backward = counting  # type: ignore[method-assign]
            return objective

    trainer, memory.Trainer = memory.Trainer, Observed  # type: ignore[misc]
    try:
        memory._step(run, processes, run.batch_size // processes, recompute=False)
    finally:
        memory.Trainer = trainer  # type: ignore[misc]
    counted.bytes += OPTIMISER_PASSES * weights
    counted.seconds += OPTIMISER_PASSES * weights / MACHINE.bytes_per_s
    return counted


def step_seconds(alone: Counted, messages: list[tuple[str, int]], processes: int, network: Network) -> dict[str, float]:
    """Where the time of a step goes: `alone` is one process's share without the others, whose messages are added."""
    computing = max(alone.seconds, alone.kernels * MACHINE.launch_s)
    gradients = sum(size for _, size in messages if size >= LARGE)
    small = [size for _, size in messages if size < LARGE]
    waits = sum(network.reduction(size, processes) for size in small)
    travel = network.reduction(gradients, processes)
    hidden = BACKWARD * computing
    last = network.reduction(min(gradients, BUCKET_BYTES), processes)
    return {
        "computing": computing,
        "batch norm and loss": waits,
        "gradients": max(last, travel - hidden) if processes > 1 else 0.0,
    }


def _between(ends: Mapping[int, Counted], share: int) -> Counted:
    """What a process does for `share` images: all but the kernels' number grows by the image."""
    (few, least), (many, most) = sorted(ends.items())
    part = (share - few) / (many - few)
    seconds, flops, moved = (
        getattr(least, name) + part * (getattr(most, name) - getattr(least, name))
        for name in ("seconds", "flops", "bytes")
    )
    return Counted(seconds, flops, moved, least.kernels)


LARGE = 2**20  # bytes: larger messages are gradients, smaller ones statistics and embeddings that computing waits for


def table(run: Run) -> str:
    """The step of `run` on 1 to 64 GPUs."""
    few, many = (run.batch_size // processes for processes in (PROCESSES[-1], NODE))
    # The number of messages and the sizes of all but the embeddings do not depend on the number of processes.
    messages = count(replace(run, batch_size=2 * few), 2).messages
    ends = {share: count(replace(run, batch_size=share), 1) for share in (few, many)}
    rows = []
    for processes in PROCESSES:
        share = run.batch_size // processes
        alone = _between(ends, share)
        networks = NETWORKS if processes > NODE else NETWORKS[:1]
        for network in networks:
            parts = step_seconds(alone, messages, processes, network)
            total = sum(parts.values())
            first = rows[0][-2] if rows else run.batch_size / total
            bound = "host" if alone.kernels * MACHINE.launch_s > alone.seconds else "GPU"
            rows.append(
                (
                    processes,
                    network.name if processes > NODE else "NVLink" if processes > 1 else "",
                    share,
                    *(f"{1e3 * seconds:.1f}" for seconds in parts.values()),
                    f"{1e3 * total:.1f}",
                    bound,
                    run.batch_size / total,
                    f"{run.batch_size / total / first / processes:.0%}",
                )
            )
    headers = ("GPUs", "between nodes", "images a GPU", "computing", "batch norm, loss", "gradients", "step, ms")
    headers = (*headers, "bound by", "images/s", "efficiency")
    shown = [(*row[:-2], f"{row[-2]:,.0f}", row[-1]) for row in rows]
    sizes = [size for _, size in messages]
    words = (
        f"{len([s for s in sizes if s < LARGE])} small messages, {sum(s for s in sizes if s >= LARGE) / 1e6:.0f} MB of "
        f"gradients in {len([s for s in sizes if s >= LARGE])}"
    )
    alone = ends[many]
    words += (
        f". {many} images take {alone.flops / 1e12:.1f} TFLOP, {alone.bytes / 1e9:.0f} GB and {alone.kernels:,} kernels"
    )
    return f"{tabulate(shown, headers, tablefmt='github', disable_numparse=True)}\n\nA step sends {words}."


def main() -> None:
    """Print both tables."""
    for dataset in ("imagenet", "cifar10"):
        run = replace(preset("simclr", dataset), precision="bfloat16")
        print(f"\n### {run.label}, {run.data_label}, batch {run.batch_size}, bfloat16\n\n{table(run)}", flush=True)


if __name__ == "__main__":
    main()
