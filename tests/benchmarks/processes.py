"""Two processes: how many images a second they train when they share a batch, beside one alone and two independent.

SimCLR on ResNet-18 with the stem for small images, 32 px, in float32, a thread a process. The trainer's own steps,
views included, of processes that meet by gloo as under torchrun; batch norm is over the whole batch. The three take
turns, so that a machine whose speed drifts disturbs all alike. Two independent ones are the most that can be hoped for.

    python tests/benchmarks/processes.py [--rounds 7] [--steps 2] [--images 64]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from compmod.pretrain.data.images import Images
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.records.record import Record
from compmod.pretrain.runtime.distributed import processes
from compmod.pretrain.runtime.settings import numerics, own_settings
from compmod.pretrain.trainer import Trainer
from compmod.pretrain.training.interruption import Stop
from compmod.pretrain.training.session import Session
from tabulate import tabulate

KINDS = ("one process", "two independent", "two that share a batch")
Worker = subprocess.Popen[str]


def serve(images: int) -> None:
    """Be one process of a run: read a number of steps a line, take them, and print the processor seconds."""
    with tempfile.TemporaryDirectory() as folder, own_settings(), processes("cpu") as launch:
        run = preset("simclr", "cifar10")
        run = replace(run, batch_size=images * launch.world, backbone=replace(run.backbone, name="resnet18"))
        source, count = np.random.default_rng(0), 100 * run.batch_size
        pixels = source.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        data = Images(pixels, np.zeros(count, np.int64), np.arange(count))
        session = Session(device="cpu", quiet=True)
        trainer = Trainer(Record(Path(folder), run), run, data, Path(folder), session, Stop())
        with numerics(run.precision):
            batches = trainer._batches(range(sys.maxsize))
            for line in sys.stdin:
                start = time.process_time()
                for _ in range(int(line)):
                    trainer._train_step(next(batches))
                print(json.dumps(time.process_time() - start), flush=True)


@contextmanager
def started(world: int, images: int) -> Iterator[list[Worker]]:
    """The processes of one run, after a first step."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, "--serve", "--images", str(images)],
            env={**os.environ, **meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        take(workers, 1)
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def take(workers: Sequence[Worker], steps: int) -> tuple[float, float]:
    """Seconds until all have taken so many steps, and the processor seconds of a process, their mean."""
    start = time.perf_counter()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(f"{steps}\n")
        worker.stdin.flush()
    answers = [worker.stdout.readline() for worker in workers if worker.stdout is not None]
    return time.perf_counter() - start, statistics.mean(json.loads(answer) for answer in answers)


def measure(rounds: int, steps: int, images: int) -> dict[str, list[tuple[float, float]]]:
    """For each of KINDS and every round, images a second and processor milliseconds of a process a step."""
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    with ExitStack() as stack:
        alone, other = (stack.enter_context(started(1, images)) for _ in range(2))
        sharing = stack.enter_context(started(2, images))
        for _ in range(rounds):
            for kind, workers in zip(KINDS, (alone, [*alone, *other], sharing), strict=True):
                seconds, core_seconds = take(workers, steps)
                found[kind].append((images * steps * len(workers) / seconds, 1e3 * core_seconds / steps))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="of a process a round")
    parser.add_argument("--images", type=int, default=64, help="of a process a step")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        torch.set_num_threads(1)
        serve(asked.images)
        return
    found = measure(asked.rounds, asked.steps, asked.images)
    rows = []
    for kind, figures in found.items():
        rates, core_ms = zip(*figures, strict=True)
        ratios = [rate / alone for rate, (alone, _) in zip(rates, found[KINDS[0]], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        rows.append((kind, f"{statistics.median(rates):.1f}", f"{statistics.median(ratios):.2f}", spread,
                     f"{statistics.median(core_ms):,.0f}", f"{min(core_ms):,.0f}"))  # fmt: skip
    headers = ("", "images/s, median", "over one, median", "least to most", "core-ms a step, median", "least")
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))
    print(f"\n{asked.rounds} rounds of {asked.steps} steps, {asked.images} images a process; torch {torch.__version__}")


if __name__ == "__main__":
    main()
