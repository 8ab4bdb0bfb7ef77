"""Loader: large JPEG files to two random resized crops of 224 px, ours beside torchvision's two ways, on one core.

The files are cut from the two photographs that scikit-learn carries, at ImageNet's usual size. The first step of a
view alone is timed: what follows is made on the device, and `views` times it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from page import best, median
from rounds import Contestant, Figures, Sizes, Subject, Work

CROP_MIN, VIEWS = 0.08, 2
CROPPED, DECODED = "two crops of 224 px", "decode alone"


def folder_of(sizes: Sizes) -> Path:
    """`imagenet/train` with two classes, and `val` with the same; made once for all contestants."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    root = Path(sizes["scratch"]) / "imagenet"
    if root.is_dir():
        return root
    chance = np.random.default_rng(0)
    width, height = sizes["width"], sizes["height"]
    for name, photograph in zip(("n01440764", "n01443537"), load_sample_images().images, strict=True):
        for split in ("train", "val"):
            (root / split / name).mkdir(parents=True)
            for number in range(sizes["images"] // 2 if split == "train" else 1):
                top, left = (chance.integers(most + 1) for most in (photograph.shape[0] - height, 640 - width))
                picture = Image.fromarray(photograph[top : top + height, left : left + width])
                picture.save(root / split / name / f"{name}_{number}.JPEG", quality=92)
    return root


def ours(case: str, sizes: Sizes) -> Work:
    from compmod.pretrain.data.decode import open_image, to_tensor
    from compmod.pretrain.data.imagenet import load_files
    from compmod.pretrain.specs.datasets import DATASETS
    from compmod.pretrain.specs.run import Augmentation
    from compmod.pretrain.views.crops import RandomCrops
    from compmod.pretrain.views.loader import batches
    from compmod.pretrain.views.requests import requests_in_order

    folder = folder_of(sizes)
    files = load_files("imagenet", "train", folder.parent, copy=folder.name)
    cutter = RandomCrops(DATASETS["imagenet"], [Augmentation(crop_min=CROP_MIN)] * VIEWS, seed=0)

    def work() -> dict[str, float]:
        loaded = batches(files, requests_in_order(len(files), sizes["batch"]), cutter, 0)
        return {"images": sum(len(batch.samples) for batch in loaded)}

    def decode() -> dict[str, float]:
        for index in range(len(files)):
            path = files.path(index)
            to_tensor(open_image(path), path)
        return {"images": len(files)}

    return work if case == CROPPED else decode


def image_folder(reader: Callable[[str], Any]) -> Callable[[str, Sizes], Work]:
    """Torchvision's data set, with a reader of PIL images or of tensors."""

    def build(case: str, sizes: Sizes) -> Work:
        from torchvision.datasets import ImageFolder
        from torchvision.transforms import v2

        crop = v2.RandomResizedCrop(224, (CROP_MIN, 1.0), interpolation=v2.InterpolationMode.BICUBIC, antialias=True)
        pipeline = v2.Compose([crop, v2.ToImage()])
        images = ImageFolder(
            str(folder_of(sizes) / "train"),
            transform=lambda image: [pipeline(image) for _ in range(VIEWS if case == CROPPED else 0)],
            loader=reader,
        )
        loader = torch.utils.data.DataLoader(images, batch_size=sizes["batch"])

        def work() -> dict[str, float]:
            return {"images": sum(len(labels) for _, labels in loader)}

        return work

    return build


def pil(path: str) -> Any:
    from torchvision.datasets.folder import pil_loader

    return pil_loader(path)


def tensor(path: str) -> Any:
    from torchvision import io

    return io.decode_image(path, io.ImageReadMode.RGB)


def rate(figures: Figures, seconds: float) -> float:
    return float(figures["images"][0]) / seconds


SUBJECT = Subject(
    title="Large images",
    text="{images} JPEG files of {width} x {height} px: read, decode and two bicubic crops of 224 px, or decode alone, "
    "in one process.",
    cases=[CROPPED, DECODED],
    contestants=[
        Contestant("compmod", "compmod", ours),
        Contestant("torchvision ImageFolder, PIL", "torchvision", image_folder(pil)),
        Contestant("torchvision ImageFolder, decode_image and tensors", "torchvision", image_folder(tensor)),
    ],
    sizes={"images": 192, "width": 500, "height": 375, "batch": 64},
    tiny={"images": 4, "width": 240, "height": 230, "batch": 2},
    columns={
        "images/s, median": lambda f, _: f"{rate(f, median(f)):,.0f}",
        "images a core-second, best": lambda f, _: f"{rate(f, best(f, 'core_seconds')):,.0f}",
        "ours over it": lambda f, o: f"{rate(o, best(o, 'core_seconds')) / rate(f, best(f, 'core_seconds')):.2f} x",
    },
    threads=1,
)
