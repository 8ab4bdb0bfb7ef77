"""Data sets: what they are (DATASETS), and their images whole in memory as uint8.

Sources: CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), STL-10 (Coates et al., AISTATS 2011), Tiny ImageNet (Stanford
CS231n, 2015). Importing this file imports neither torch nor numpy, so that tables and `--help` stay quick.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from numpy.typing import NDArray

Split = Literal["pretrain", "train", "test"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What a run needs to know of a data set, readable without loading it."""

    label: str  # as tables print it
    classes: int
    size: int  # side of an image, pixels
    view_size: int  # side of a training view, pixels
    test_resize: int = 0  # resize (bicubic) to this side, then cut the centre of `view_size`; 0 = as it is
    mean: tuple[float, float, float]  # per channel, of pixels in 0..1
    std: tuple[float, float, float]
    name: str


DATASETS: dict[str, Dataset] = {
    "digits": Dataset(
        name="digits",
        label="Digits",
        classes=10,
        size=16,
        view_size=16,
        mean=(0.5, 0.5, 0.5),
        std=(0.28, 0.28, 0.28),
    ),
    "cifar10": Dataset(
        name="cifar10",
        label="CIFAR-10",
        classes=10,
        size=32,
        view_size=32,
        mean=(0.4914, 0.4822, 0.4465),  # W-MSE code
        std=(0.2023, 0.1994, 0.2010),  # W-MSE code
    ),
    "cifar100": Dataset(
        name="cifar100",
        label="CIFAR-100",
        classes=100,
        size=32,
        view_size=32,
        mean=(0.5071, 0.4867, 0.4408),  # W-MSE code
        std=(0.2675, 0.2565, 0.2761),  # W-MSE code
    ),
    "stl10": Dataset(
        name="stl10",
        label="STL-10",
        classes=10,
        size=96,
        view_size=64,
        test_resize=70,
        mean=(0.43, 0.42, 0.39),  # W-MSE code
        std=(0.27, 0.26, 0.27),  # W-MSE code
    ),
    "tiny_imagenet": Dataset(
        name="tiny_imagenet",
        label="Tiny ImageNet",
        classes=200,
        size=64,
        view_size=64,
        mean=(0.480, 0.448, 0.398),  # W-MSE code
        std=(0.277, 0.269, 0.282),  # W-MSE code
    ),
}


@dataclass(frozen=True)
class Images:
    """A split in memory. Images of one group show the same thing: no split may part them."""

    pixels: NDArray[Any]  # uint8, images x 3 x height x width
    labels: NDArray[Any]  # int64, one an image; -1 = unlabelled
    groups: NDArray[Any]  # int64, one an image

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over pixels and labels, for provenance."""
        digest = hashlib.sha256(self.pixels.data)
        digest.update(self.labels.data)
        return digest.hexdigest()

    def take(self, indices: NDArray[Any]) -> Images:
        """These images, in this order."""
        return Images(self.pixels[indices], self.labels[indices], self.groups[indices])


def load(dataset: str, split: Split, root: Path, *, copy: str = "") -> Images:
    """A split of a data set: `pretrain` is what self-supervised learning sees, `train` and `test` are labelled."""
    if dataset not in DATASETS:
        raise ValueError(f"unknown data set {dataset!r}; known: {', '.join(DATASETS)}")
    if split not in get_args(Split):
        raise ValueError(f"unknown split {split!r}; known: {', '.join(get_args(Split))}")
    if dataset == "digits":
        from .digits import render

        if copy:
            raise ValueError(f"digits is embedded and has no copies; found copy {copy!r}")
        return Images(*render("test" if split == "test" else "train"))
    raise ValueError(f"{dataset} is not read yet; readable: digits")
