"""What the two-level step costs: time and peak memory of a plain step, and of "+" steps by jvp and by unrolled.

Each configuration runs in a process of its own, so that its peak memory is its own; the rounds are interleaved, so
that a machine whose speed drifts disturbs all alike. Memory on a CPU is the growth of the peak resident set over that
of the idle process with its networks built; on a GPU it is the allocator's peak.

    python tests/benchmarks/hypergradient.py [--rounds 3] [--device cpu|cuda] [--threads 2] [--quick]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace

import torch
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.training.objective import build_objective
from compmod.pretrain.views.batch import Batch

NETWORKS = {  # name: (backbone preset of, image side, batch)
    "ResNet-18, 32 px": ("cifar10", 32, 128),
    "demo network, 16 px": ("digits", 16, 64),
}


def measure(network: str, step: str, channels_last: bool, device: str, precision: str, steps: int) -> dict[str, float]:
    """Median seconds a step and peak bytes, in this process."""
    dataset, side, batch = NETWORKS[network]
    run = preset("simclr" if step == "plain" else "simclr+", dataset)
    if step != "plain":
        run = replace(run, compmod=replace(run.compmod, hypergradient=step))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    autocast = nullcontext if precision != "bfloat16" else (lambda: torch.autocast(device, torch.bfloat16))
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    objective = build_objective(run, side, batch, autocast).to(device)
    objective.method.to(memory_format=layout)
    optimizer = torch.optim.Adam(objective.psi.values(), lr=1e-3)
    views = [torch.randn(batch, 3, side, side, device=device).contiguous(memory_format=layout) for _ in range(2)]
    labels = torch.zeros(batch, dtype=torch.long, device=device)
    drawn = Batch(views=tuple(views), index=torch.arange(batch), labels=labels, epoch=20.0, draw=0.5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    times = []
    for _ in range(steps + 1):
        _synchronise(device)
        start = time.perf_counter()
        objective.backward(drawn, lr=1e-3)
        optimizer.step()
        _synchronise(device)
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated()
    return {"seconds": statistics.median(times[1:]), "bytes": peak}


def _synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Print the table; with --one, print one configuration's figures as JSON (what the child processes do)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="float32", choices=["float32", "tf32", "bfloat16"])
    parser.add_argument("--quick", action="store_true", help="without unrolled")
    parser.add_argument("--one", nargs=3, metavar=("NETWORK", "STEP", "LAYOUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.one:
        network, step, layout = arguments.one
        channels_last = layout == "channels-last"
        figures = measure(network, step, channels_last, arguments.device, arguments.precision, arguments.steps)
        print(json.dumps(figures))
        return
    steps = ["plain", "jvp"] if arguments.quick else ["plain", "jvp", "unrolled"]
    print(f"torch {torch.__version__}, {arguments.device}, {arguments.precision}, {arguments.threads} threads")
    print(f"{'network':22}{'layout':16}{'step':22}{'ms':>9}{'x plain':>9}{'MiB':>9}{'x plain':>9}")
    for network in NETWORKS:
        for layout in ("contiguous", "channels-last"):
            figures: dict[str, list[dict[str, float]]] = {step: [] for step in steps}
            for _ in range(arguments.rounds):
                for step in steps:
                    figures[step].append(_in_a_process(arguments, network, step, layout))
            plain = {key: statistics.median(f[key] for f in figures["plain"]) for key in ("seconds", "bytes")}
            for step in steps:
                seconds = statistics.median(f["seconds"] for f in figures[step])
                peak = statistics.median(f["bytes"] for f in figures[step])
                pairs = zip(figures[step], figures["plain"], strict=True)
                ratio = statistics.median(a["seconds"] / b["seconds"] for a, b in pairs)
                print(
                    f"{network:22}{layout:16}{step:22}{1e3 * seconds:9.1f}{ratio:9.2f}"
                    f"{peak / 2**20:9.0f}{peak / plain['bytes']:9.2f}",
                    flush=True,
                )


def _in_a_process(arguments: argparse.Namespace, network: str, step: str, layout: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", network, step, layout]
    for name in ("steps", "threads", "device", "precision"):
        command += [f"--{name}", str(getattr(arguments, name))]
    figures: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return figures


if __name__ == "__main__":
    main()
