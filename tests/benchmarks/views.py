"""Views per second: the batched views of this package beside a per-image torchvision pipeline, one core each.

python tests/benchmarks/views.py [--device cuda] [--side 32] [--batch 512] [--repeats 15]
Recipe S: colour jitter in random order, grey, random resized crop, flip, normalise, from synthetic uint8 images.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from compmod.pretrain.runtime.randomness import generator
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.run import Augmentation
from compmod.pretrain.views.augment import Views
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

DATASET = DATASETS["cifar10"]
PER_IMAGE_BATCH = 128  # enough for a tenth of a second a repeat


def per_image_pipeline(size: int) -> v2.Compose:
    """Recipe S as torchvision users write it, from a PIL image to a normalised tensor."""
    recipe = Augmentation()
    jitter = v2.ColorJitter(recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue)
    return v2.Compose(
        [
            v2.RandomApply([jitter], recipe.jitter),
            v2.RandomGrayscale(recipe.grey),
            v2.RandomResizedCrop(size, (recipe.crop_min, recipe.crop_max), interpolation=v2.InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(recipe.flip),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(DATASET.mean), list(DATASET.std)),
        ]
    )


def rates(make: Callable[[int], Tensor], images: int, repeats: int) -> list[float]:
    """Views per second of every repeat; the first call is a warm-up."""
    measured = []
    for repeat in range(repeats + 1):
        start = time.perf_counter()
        views = make(repeat)
        if views.is_cuda:
            torch.cuda.synchronize()
        measured.append(images / (time.perf_counter() - start))
    return measured[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shape = (arguments.batch, 3, arguments.side, arguments.side)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(0, "benchmark"))
    on_device = pixels.to(arguments.device)
    views = Views(Augmentation(size=arguments.side), DATASET, seed=0, view=0)
    index = torch.arange(arguments.batch)
    pipeline = per_image_pipeline(arguments.side)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in pixels[:PER_IMAGE_BATCH]]
    kinds = {
        f"batched ({arguments.device})": rates(
            lambda epoch: views(on_device, index, epoch), len(index), arguments.repeats
        ),
        "per image (PIL)": rates(
            lambda _: torch.stack([pipeline(picture) for picture in pictures]), len(pictures), arguments.repeats
        ),
    }
    print(f"recipe S, {arguments.side} px, one core, batch {arguments.batch}, {arguments.repeats} repeats")
    for name, measured in kinds.items():
        print(f"{name:16}  median {statistics.median(measured):9,.0f} views/s   best {max(measured):9,.0f} views/s")


if __name__ == "__main__":
    main()
