"""Images per second and worker process: read, decode and two random resized crops of 224 px, by Pillow.

python tests/benchmarks/loader.py IMAGENET_FOLDER [--workers 1] [--batch 64] [--batches 24]
The folder is any copy of ImageNet; its images should have ImageNet's usual size, for decoding takes most of the time.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path

from compmod.pretrain.data.imagenet import load_files
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.run import Augmentation
from compmod.pretrain.views.crops import RandomCrops
from compmod.pretrain.views.loader import batches
from compmod.pretrain.views.requests import training_requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", type=int, default=24)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    files = load_files("imagenet", "train", folder.parent, copy=folder.name)
    cutter = RandomCrops(DATASETS["imagenet"], [Augmentation(crop_min=0.08)] * 2, seed=0)
    # What was made ahead while the workers started is not measured: the first batches, as many as may be ready.
    first = 3 * max(1, arguments.workers)
    requests = training_requests(len(files), arguments.batch, 0, range(first + arguments.batches))
    made = batches(files, requests, cutter, arguments.workers)
    list(islice(made, first))
    start = time.perf_counter()
    count = sum(len(loaded.samples) for loaded in made)
    rate = count / (time.perf_counter() - start) / max(1, arguments.workers)
    print(f"{rate:,.0f} images/s a process, two 224 px crops each, {arguments.workers} workers, {count:,} images")


if __name__ == "__main__":
    main()
