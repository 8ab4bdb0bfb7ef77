"""What a step of each method costs relative to SimCLR's: the figures `cost` and `plus_cost` of METHODS.

One optimisation step of each built method, plain and with "+", on the same ResNet-18 of width 16 with images of 32 px
in batches of 64, on one thread: with the options, views and head of its CIFAR-10 recipe. The trunk is narrow, so a wide
head weighs more than it does on a full one. CPU time counts and rounds are interleaved, so that other work on the
machine disturbs little.

    python tests/benchmarks/methods.py [--rounds 3] [--methods simclr byol+ ...]
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import torch
from compmod.pretrain.optim import build_optimizer
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import PLUS, Run
from compmod.pretrain.training.objective import Objective, build_objective
from compmod.pretrain.views.batch import Batch

WIDTH, SIDE, BATCH, IMAGES = 16, 32, 64, 50_000
FITTING = {"queue": 4096, "whitening": BATCH}  # options that a batch of 64 has to divide
NARROW = 32  # widest embedding that 64 rows can whiten, at half their number


def cheap(name: str) -> Run:
    """The CIFAR-10 recipe of `name` on the narrow trunk and the small batch."""
    run = preset(name, "cifar10")
    options = tuple((option, FITTING.get(option, value)) for option, value in run.options)
    if "whitening" in dict(run.options):
        run = replace(run, projector=replace(run.projector, out=NARROW))
    return replace(run, batch_size=BATCH, backbone=replace(run.backbone, width=WIDTH), options=options)


def step_of(name: str) -> tuple[Objective, torch.optim.Optimizer, Batch]:
    """A method ready for steps, its optimiser and a batch of random views."""
    torch.manual_seed(0)
    run = cheap(name)
    objective = build_objective(run, SIDE, IMAGES)
    views = tuple(torch.randn(BATCH, 3, SIDE, SIDE) for _ in run.views)
    labels = torch.arange(BATCH) % 10
    batch = Batch(views=views, index=torch.arange(BATCH), labels=labels, epoch=100.0, draw=0.5)
    return objective, build_optimizer(objective.psi, run.optimizer, 1e-3), batch


def seconds(objective: Objective, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    """CPU time of one step."""
    start = time.process_time()
    objective.backward(batch, lr=1e-3)
    optimizer.step()
    objective.after_step(0.5)
    return time.process_time() - start


def main() -> None:
    """Print the cost of each method, plain and with "+"."""
    built = list(METHODS)
    names = [*built, *(name + PLUS for name in built if METHODS[name].plus)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="*", default=names)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    ready = {name: step_of(name) for name in dict.fromkeys(["simclr", *asked.methods])}
    for parts in ready.values():  # caches and momentum buffers
        seconds(*parts)
    times: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(asked.rounds):
        for name, parts in ready.items():
            times[name].append(seconds(*parts))
    simclr = statistics.median(times["simclr"])
    print(f"SimCLR: {1000 * simclr:.0f} ms a step")
    for name in asked.methods:
        print(f"{name:14} {statistics.median(times[name]) / simclr:5.2f}x")


if __name__ == "__main__":
    main()
