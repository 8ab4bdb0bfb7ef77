"""Crops of large images: what is cut out of an image, and how it is resized, equal to torchvision's tensor transforms.

`data/decode.py` decodes the whole image; EXIF orientation is ignored, as by torchvision's reader. torch resizes uint8
in whole numbers, so the pixels do not depend on the processor's instructions or on the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from ..data.decode import to_tensor
from ..runtime.randomness import uniform
from ..specs.datasets import Dataset
from ..specs.run import Augmentation
from .augment import NUMBERS, crop_boxes

ONLY_LARGE_IMAGES = "cuts images that stay on disk"

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


def cut(path: Path, image: Image.Image, windows: Sequence[Window]) -> list[Tensor]:
    """Every view's square out of one image, which is decoded once: uint8, 3 x size x size."""
    pixels_3HW = to_tensor(image, path)
    return [_resized(pixels_3HW, window) for window in windows]


def _resized(pixels_3HW: Tensor, window: Window) -> Tensor:
    left, top, right, bottom = window.box
    width, height = window.resized
    # Cut first, for the kernel would look beyond the box, and copied, for it takes longer on memory with gaps.
    box_13HW = pixels_3HW[None, :, top:bottom, left:right].contiguous(memory_format=torch.channels_last)
    resized_3HW = interpolate(box_13HW, (height, width), mode="bicubic", antialias=True)[0]
    x, y = (round((side - window.size) / 2) for side in window.resized)
    return resized_3HW[:, y : y + window.size, x : x + window.size]
