"""Crops of large images: what is cut out of an image, and how it is cut without decoding more than needed.

`data/decode.py` decodes; EXIF orientation is ignored, as by torchvision's reader. A JPEG much larger than its crop is
decoded at a half, a quarter or an eighth of its size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from PIL import Image
from torch import Tensor

from ..data.decode import to_rgb
from ..runtime.randomness import uniform
from ..specs.datasets import Dataset
from ..specs.run import Augmentation
from .augment import NUMBERS, crop_boxes

ONLY_LARGE_IMAGES = "cuts images that stay on disk"

REDUCING_GAP = 2.0  # a reduced image stays larger than its crop by this factor; Pillow, for `Image.thumbnail`
REDUCTIONS = (8, 4, 2)  # what the JPEG decoder can divide sides by
PROBE_VIEW = Augmentation(jitter=0.0, grey=0.0, crop_min=0.08)  # crop and flip; Zbontar et al., ICML 2021, code


class Window(NamedTuple):
    """What is made of an image: a box is cut out and resized, and the centre of that is kept."""

    box: tuple[int, int, int, int]  # left, top, right, bottom, pixels
    resized: tuple[int, int]  # width, height
    size: int  # side of the centre


class Cutter(Protocol):
    """Says what to cut out of images."""

    def windows(self, sides_N2: Tensor, index_N: Tensor, epoch: int) -> list[list[Window]]:
        """For each view, the window of every image; a row of `sides_N2` is an image's height and width."""


@dataclass(frozen=True)
class RandomCrops:
    """The crops that training views begin with; `Views.after_crop` does the rest."""

    dataset: Dataset
    views: Sequence[Augmentation]
    seed: int

    def windows(self, sides_N2: Tensor, index_N: Tensor, epoch: int) -> list[list[Window]]:
        """A random resized crop an image and view."""
        cut = []
        for number, view in enumerate(self.views):
            size = view.size or self.dataset.view_size
            boxes_N4 = crop_boxes(view, uniform(self.seed, epoch, index_N, number, NUMBERS), sides_N2)
            boxes = boxes_N4.tolist()
            cut.append([Window((x, y, x + wide, y + tall), (size, size), size) for y, x, tall, wide in boxes])
        return cut


@dataclass(frozen=True)
class CentreCrop:
    """What a network sees at test time: the shorter side resized, then the centre."""

    dataset: Dataset

    def windows(self, sides_N2: Tensor, index_N: Tensor, epoch: int) -> list[list[Window]]:
        """One view: the centre of the whole image."""
        short, size = self.dataset.test_resize, self.dataset.view_size
        cut = []
        for height, width in sides_N2.tolist():
            least = min(height, width)
            resized = (int(short * width / least), int(short * height / least))  # cut off, as torchvision's Resize does
            cut.append(Window((0, 0, width, height), resized, size))
        return [cut]


def cut(path: Path, image: Image.Image, windows: Sequence[Window]) -> list[Image.Image]:
    """Every view's square out of one image, which is decoded once."""
    width = image.width
    reduction = min(_reduction(window) for window in windows)
    if reduction > 1:
        image.draft(None, (image.width // reduction, image.height // reduction))
    scale = round(width / image.width)  # 1 for anything but a JPEG
    whole = to_rgb(image, path)
    return [_resized(whole, window, scale) for window in windows]


def _reduction(window: Window) -> int:
    """The factor by which the image may be reduced before this window is cut, with hardly a difference."""
    left, top, right, bottom = window.box
    width, height = window.resized
    spare = min((right - left) / width, (bottom - top) / height) / REDUCING_GAP
    return next((reduction for reduction in REDUCTIONS if reduction <= spare), 1)


def _resized(image: Image.Image, window: Window, scale: int) -> Image.Image:
    left, top, right, bottom = (side / scale for side in window.box)
    # Cut first: Pillow's resize would otherwise look beyond the box.
    cut = math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)
    box = left - cut[0], top - cut[1], right - cut[0], bottom - cut[1]
    resized = image.crop(cut).resize(window.resized, Image.Resampling.BICUBIC, box=box)
    x, y = (round((side - window.size) / 2) for side in window.resized)
    return resized.crop((x, y, x + window.size, y + window.size))
