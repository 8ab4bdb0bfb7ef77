"""What the layout of images in memory costs: a step in channels-last against a step in contiguous layout.

SimCLR's plain step and its "+" step, in float32 and under bfloat16 autocast, on trunks of full and quarter width.
Rounds are interleaved; on a CPU the clock counts this process's processor time, which other processes disturb less.

    python tests/benchmarks/layouts.py [--rounds 5] [--threads 1] [--device cpu|cuda]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from itertools import product

import torch
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Backbone
from compmod.pretrain.training.objective import build_objective
from compmod.pretrain.views.batch import Batch

LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
TRUNKS = (("resnet18", "small", 32, 32), ("resnet50", "large", 112, 8))  # name, stem, side of a view, batch
WIDTHS = (16, 64)


def step_of(
    method: str, trunk: tuple[str, str, int, int], width: int, precision: str, layout: str, device: str
) -> Callable[[], float]:
    """A function that takes one step and returns its seconds."""
    name, stem, side, batch = trunk
    run = replace(preset(method, "cifar10"), backbone=Backbone(name=name, stem=stem, width=width))  # type: ignore[arg-type]
    autocast = nullcontext if precision != "bfloat16" else (lambda: torch.autocast(device, torch.bfloat16))
    objective = build_objective(run, side, batch, autocast).to(device)
    objective.method.to(memory_format=LAYOUTS[layout])  # type: ignore[call-overload]
    views = [torch.randn(batch, 3, side, side, device=device).contiguous(memory_format=LAYOUTS[layout])] * 2
    drawn = Batch(
        views=tuple(views), index=torch.arange(batch), labels=torch.zeros(batch, dtype=torch.long), epoch=20.0, draw=0.5
    )
    clock = time.process_time if device == "cpu" else time.perf_counter

    def step() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        start = clock()
        objective.backward(drawn, lr=1e-3)
        if device == "cuda":
            torch.cuda.synchronize()
        return clock() - start

    return step


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    print("| trunk | width | step | precision | contiguous, ms | channels-last, ms | ratio |")
    print("|---|---|---|---|---|---|---|")
    for trunk, width, method, precision in product(TRUNKS, WIDTHS, ("simclr", "simclr+"), ("float32", "bfloat16")):
        steps = {layout: step_of(method, trunk, width, precision, layout, asked.device) for layout in LAYOUTS}
        times: dict[str, list[float]] = {layout: [] for layout in LAYOUTS}
        for _ in range(asked.rounds + 1):
            for layout, step in steps.items():
                times[layout].append(1e3 * step())
        one, other = (statistics.median(taken[1:]) for taken in times.values())
        row = (trunk[0], width, method, precision, f"{one:.0f}", f"{other:.0f}", f"{other / one:.2f}")
        print("|", " | ".join(map(str, row)), "|", flush=True)


if __name__ == "__main__":
    main()
