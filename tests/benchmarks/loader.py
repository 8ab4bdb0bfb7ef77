"""Large images a second of one core: decoded, decoded and cropped twice to 224 px, and by the loader with its workers.

    python tests/benchmarks/loader.py IMAGENET_FOLDER [--workers 2] [--batch 64] [--batches 12] [--images 200]

The folder is any copy of ImageNet; its images should have ImageNet's usual size, for decoding takes most of the time.
Pillow's way, which the project left for the tensors', is measured beside it: decode, and crop by Pillow's resize.
The first two lines of each are processor time of this process, the best of five rounds of each image; the last is
elapsed time, divided by the cores that the workers can have.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from compmod.pretrain.data.decode import open_image, to_rgb, to_tensor
from compmod.pretrain.data.imagenet import Files, load_files
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.run import Augmentation
from compmod.pretrain.views.crops import RandomCrops, Window, cut
from compmod.pretrain.views.loader import batches
from compmod.pretrain.views.requests import training_requests
from PIL import Image

ROUNDS = 5
Work = Callable[[Path, list[Window]], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    for name, default in (("workers", 2), ("batch", 64), ("batches", 12), ("images", 200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = arguments.folder.resolve()
    files = load_files("imagenet", "train", folder.parent, copy=folder.name)
    cutter = RandomCrops(DATASETS["imagenet"], [Augmentation(crop_min=0.08)] * 2, seed=0)
    paths, windows = _drawn(files, cutter, min(arguments.images, len(files)))
    works: dict[str, Work] = {
        "decode, Pillow": lambda path, _: np.asarray(to_rgb(open_image(path), path)),
        "decode, tensors": lambda path, _: to_tensor(open_image(path), path),
        "decode and two crops, Pillow": _by_pillow,
        "decode and two crops, tensors": lambda path, views: cut(path, open_image(path), views),
    }
    best = {name: [float("inf")] * len(paths) for name in works}
    for _ in range(ROUNDS):
        for row, (path, views) in enumerate(zip(paths, windows, strict=True)):
            for name, work in works.items():  # side by side, so that a drifting machine disturbs all alike
                start = time.process_time()
                work(path, views)
                best[name][row] = min(best[name][row], time.process_time() - start)
    for name, seconds in best.items():
        print(f"{name:32} {len(paths) / sum(seconds):8,.0f} images a core-second")
    workers = arguments.workers
    # What was made ahead while the workers started is not measured: the first batches, as many as may be ready.
    first = 3 * max(1, workers)
    requests = training_requests(len(files), arguments.batch, 0, range(first + arguments.batches))
    made = batches(files, requests, cutter, workers)
    list(islice(made, first))
    start = time.perf_counter()
    count = sum(len(loaded.samples) for loaded in made)
    rate = count / (time.perf_counter() - start) / min(max(1, workers), os.cpu_count() or 1)
    print(f"{f'loader, {workers} workers':32} {rate:8,.0f} images a second and core, {count:,} images")


def _drawn(files: Files, cutter: RandomCrops, count: int) -> tuple[list[Path], list[list[Window]]]:
    """Images, read once so that the disk does not count, and their windows, one a view."""
    paths = [files.path(index) for index in range(count)]
    sides = torch.tensor([(image.height, image.width) for image in map(open_image, paths)])
    return paths, [list(views) for views in zip(*cutter.windows(sides, torch.arange(count), 0), strict=True)]


def _by_pillow(path: Path, windows: list[Window]) -> list[np.ndarray]:
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        whole = image.convert("RGB")
    crops = [whole.crop(view.box).resize(view.resized, Image.Resampling.BICUBIC) for view in windows]
    return [np.ascontiguousarray(np.asarray(crop).transpose(2, 0, 1)) for crop in crops]


if __name__ == "__main__":
    main()
