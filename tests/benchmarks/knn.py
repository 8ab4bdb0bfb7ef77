"""What exact neighbours cost beyond their matrix product: time of `nearest` against the bare product, in one run.

The bare product is taken twice over, in one piece and in chunks of rows into memory that is reused; the faster one of
each round is what `nearest` is measured against. Rounds are interleaved, so that a machine whose speed drifts disturbs
all alike; with --cpu-time the clock counts this process's processor time, which other processes disturb less.

    python tests/benchmarks/knn.py [--train 50000] [--test 10000] [--features 512] [--rounds 5] [--threads 2]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from compmod.pretrain.evaluate.features import full_precision
from compmod.pretrain.evaluate.knn import nearest

NEIGHBOURS = 5
CHUNK = 1024  # test rows of one product


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in (("train", 50_000), ("test", 10_000), ("features", 512), ("rounds", 5), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cpu-time", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    source = torch.Generator().manual_seed(0)
    shapes = (arguments.train, arguments.features), (arguments.test, arguments.features)
    train_ND, test_MD = (torch.randn(shape, generator=source).abs().to(arguments.device) for shape in shapes)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    room_CN = test_MD.new_empty(min(CHUNK, arguments.test), arguments.train)

    def in_chunks() -> None:
        for chunk_CD in test_MD.split(CHUNK):
            torch.mm(chunk_CD, train_ND.T, out=room_CN[: len(chunk_CD)])

    works: dict[str, Callable[[], object]] = {
        "product, one piece": lambda: test_MD @ train_ND.T,
        "product, in chunks": in_chunks,
        "nearest": lambda: nearest(train_ND, test_MD, NEIGHBOURS),
    }
    seconds: dict[str, list[float]] = {name: [] for name in works}
    with full_precision(arguments.device):
        for count in range(arguments.rounds + 1):
            for name, work in works.items():
                elapsed = timed(work, clock, arguments.device)
                if count:  # the first round warms up
                    seconds[name].append(elapsed)
    for name, values in seconds.items():
        print(f"{name:20} median {statistics.median(values):.3f} s, best {min(values):.3f} s")
    *products, ours = seconds.values()
    ratios = [mine / min(theirs) for mine, *theirs in zip(ours, *products, strict=True)]
    best = min(ours) / min(map(min, products))
    print(f"nearest / product    median {statistics.median(ratios):.3f}, best against best {best:.3f}")


def timed(work: Callable[[], object], clock: Callable[[], float], device: str) -> float:
    """Seconds one call takes, everything it queued on the device included."""
    start = clock()
    work()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return clock() - start


if __name__ == "__main__":
    main()
