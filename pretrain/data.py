"""Data sets: what they are (DATASETS), and the images of the small ones whole in memory as uint8.

Sources: CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), STL-10 (Coates et al., AISTATS 2011), Tiny ImageNet (Stanford
CS231n, 2015), ImageNet (ILSVRC 2012; Russakovsky et al., IJCV 2015), ImageNet-100 (Tian et al., ECCV 2020). The last
two stay on disk: `large_images.py` and `loader.py` read them. Importing this file imports neither torch nor numpy, so
that tables and `--help` stay quick.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar, get_args

from .bad_data import BadData

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .holdings import Holding

Split = Literal["pretrain", "train", "test"]
SUBSET, VALIDATION = -1, -2  # in the epoch's place when drawing, so that no epoch's order is used twice


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What a run needs to know of a data set, readable without loading it."""

    name: str  # its key in DATASETS
    label: str  # as tables print it
    classes: int
    size: int  # side of an image, pixels; 0 = images of any size, which stay on disk
    view_size: int  # side of a training view, pixels
    test_resize: int = 0  # resize (bicubic) the shorter side to this, then cut the centre of `view_size`; 0 = as it is
    mean: tuple[float, float, float]  # per channel, of pixels in 0..1
    std: tuple[float, float, float]
    train_images: int  # labelled
    train_images_certain: bool = True  # whether another count is a fault
    test_images: int
    unlabelled_images: int = 0  # pretraining sees them beside the training images
    folder: str = ""  # of the official files, below the data root; "" = embedded
    within: str = ""  # folder of a larger set that has these classes among its own; read where `folder` is missing
    url: str = ""  # of the official archive; "" = embedded, or not to be handed out by others
    archive_md5: str = ""

    @property
    def large(self) -> bool:
        """Whether images are of any size and stay on disk."""
        return not self.size

    @property
    def advice(self) -> str:
        """What ends the error for a file that is not as it should be."""
        does = f"downloads {self.label} where it may and says what is missing" if self.url else "says what is missing"
        return f"'compmod data {self.name}' {does}"

    def fault(self, path: Path, found: str, expected: str) -> BadData:
        """The error for a file that is not as it should be."""
        return BadData(f"{path}: found {found}; expected {expected}; {self.advice}")


DATASETS: dict[str, Dataset] = {
    "digits": Dataset(
        name="digits",
        label="Digits",
        classes=10,
        size=16,
        view_size=16,
        mean=(0.517, 0.515, 0.513),  # measured on the rendered training images
        std=(0.302, 0.302, 0.302),  # measured likewise
        train_images=5_752,
        test_images=1_436,
    ),
    "cifar10": Dataset(
        name="cifar10",
        label="CIFAR-10",
        classes=10,
        size=32,
        view_size=32,
        mean=(0.4914, 0.4822, 0.4465),  # W-MSE code
        std=(0.2023, 0.1994, 0.2010),  # W-MSE code
        train_images=50_000,
        test_images=10_000,
        folder="cifar-10-batches-py",
        url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        archive_md5="c58f30108f718f92721af3b95e74349a",  # the data set's page; torchvision, datasets/cifar.py
    ),
    "cifar100": Dataset(
        name="cifar100",
        label="CIFAR-100",
        classes=100,
        size=32,
        view_size=32,
        mean=(0.5071, 0.4867, 0.4408),  # W-MSE code
        std=(0.2675, 0.2565, 0.2761),  # W-MSE code
        train_images=50_000,
        test_images=10_000,
        folder="cifar-100-python",
        url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        archive_md5="eb9058c3a382ffc7106e4002c42a8d85",  # the data set's page; torchvision, datasets/cifar.py
    ),
    "stl10": Dataset(
        name="stl10",
        label="STL-10",
        classes=10,
        size=96,
        view_size=64,
        test_resize=70,  # W-MSE code
        mean=(0.43, 0.42, 0.39),  # W-MSE code
        std=(0.27, 0.26, 0.27),  # W-MSE code
        train_images=5_000,
        test_images=8_000,
        unlabelled_images=100_000,
        folder="stl10_binary",
        url="http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
        archive_md5="91f7769df0f17e558f3565bffb0c7dfb",  # torchvision, datasets/stl10.py
    ),
    "tiny_imagenet": Dataset(
        name="tiny_imagenet",
        label="Tiny ImageNet",
        classes=200,
        size=64,
        view_size=64,
        mean=(0.480, 0.448, 0.398),  # W-MSE code
        std=(0.277, 0.269, 0.282),  # W-MSE code
        train_images=100_000,
        test_images=10_000,  # the validation images: the test images have no labels
        folder="tiny-imagenet-200",
        url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        archive_md5="90528d7ca1a48142e341f4ef8d21d0de",  # widely quoted; the site lists none
    ),
    "imagenet100": Dataset(
        name="imagenet100",
        label="ImageNet-100",
        classes=100,
        size=0,
        view_size=224,
        test_resize=256,  # W-MSE code
        mean=(0.485, 0.456, 0.406),  # torchvision's ImageNet statistics
        std=(0.229, 0.224, 0.225),  # torchvision's ImageNet statistics
        train_images=126_689,  # as usually quoted
        train_images_certain=False,
        test_images=5_000,  # 50 validation images a class
        folder="imagenet100",
        within="imagenet",
    ),
    "imagenet": Dataset(
        name="imagenet",
        label="ImageNet",
        classes=1000,
        size=0,
        view_size=224,
        test_resize=256,  # Zbontar et al., ICML 2021 (Barlow Twins), code
        mean=(0.485, 0.456, 0.406),  # torchvision's ImageNet statistics
        std=(0.229, 0.224, 0.225),  # torchvision's ImageNet statistics
        train_images=1_281_167,  # Russakovsky et al., IJCV 2015, table 2
        test_images=50_000,  # the validation images: the test images have no public labels
        folder="imagenet",
    ),
}


@dataclass(frozen=True, eq=False)
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

    def take(self, indices: NDArray[Any]) -> Self:
        """These images, in this order."""
        return type(self)(self.pixels[indices], self.labels[indices], self.groups[indices])


def load(dataset: str, split: Split, root: Path, *, copy: str = "") -> Images:
    """A split of a data set, whole in memory.

    `pretrain` is what self-supervised learning sees (STL-10: with the unlabelled images), `train` the labelled images
    for probes, `test` the test images (Tiny ImageNet: its validation images). `copy` names a folder below `root` that
    holds a re-encoded or partial copy. Raises ValueError on any file that is missing or not as it should be.
    """
    import numpy as np

    if split not in get_args(Split):
        raise ValueError(f"unknown split {split!r}; known: {', '.join(get_args(Split))}")
    entry = known(dataset)
    if entry.large:
        raise ValueError(f"{dataset} stays on disk; list it by large_images.load_files, read it by loader.batches")
    if not entry.folder:
        from .digits import render

        if copy:
            raise ValueError(f"{dataset} is embedded and has no copies; leave out copy {copy!r}")
        return Images(*render("test" if split == "test" else "train"))
    from .holdings import locate

    if not entry.unlabelled_images and split == "pretrain":
        split = "train"  # the same images, so they share a cache
    folder = locate(entry, root, copy)
    if folder.name == entry.folder and entry.name != "tiny_imagenet":
        from . import official

        pixels, labels = official.read(entry, split, folder, whole=not copy)
    else:
        from . import image_folder

        cache = root / ".compmod-cache" / (copy or entry.folder)
        pixels, labels = image_folder.read(entry, split, folder, whole=not copy, cache=cache)
    return Images(pixels, labels, np.arange(len(labels)))


def known(dataset: str) -> Dataset:
    """The entry of a data set. Raises ValueError, listing what is known, for any other name."""
    if dataset not in DATASETS:
        raise ValueError(f"unknown data set {dataset!r}; known: {', '.join(DATASETS)}")
    return DATASETS[dataset]


class Collection(Protocol):
    """What Images and Files have in common."""

    @property
    def groups(self) -> NDArray[Any]:
        """int64, one an image; no split may part a group."""

    def __len__(self) -> int: ...

    def take(self, indices: NDArray[Any]) -> Self:
        """These images, in this order."""


Listed = TypeVar("Listed", bound=Collection)


def subset(images: Listed, count: int, seed: int) -> Listed:
    """A draw of `count` images, in their old order: a function of seed and count alone."""
    from .randomness import permutation

    if not 1 <= count <= len(images):
        raise ValueError(f"cannot draw {count:,} images of {len(images):,}; valid: 1 to {len(images):,}")
    return images.take(permutation(seed, SUBSET, len(images))[:count].sort().values.numpy())


def validation_split(images: Listed, seed: int, share: float = 0.2) -> tuple[Listed, Listed]:
    """Training and validation images, drawn by whole groups; validation holds `share` of the groups."""
    import numpy as np

    from .randomness import permutation

    groups = np.unique(images.groups)
    count = round(len(groups) * share)
    if not 0 < count < len(groups):
        raise ValueError(f"a share of {share} of {len(groups)} groups leaves one side empty")
    chosen = groups[permutation(seed, VALIDATION, len(groups))[:count].numpy()]
    held_out = np.isin(images.groups, chosen)
    return images.take(np.flatnonzero(~held_out)), images.take(np.flatnonzero(held_out))


def describe(dataset: str, root: Path, copy: str = "") -> list[Holding]:
    """What a data set (or a copy of it) needs below `root`, and what of it is there."""
    from .holdings import describe

    return describe(known(dataset), root, copy)


def download(dataset: str, root: Path) -> None:
    """Fetch and unpack the official files; digits needs none. Raises ValueError when that fails or is not allowed."""
    from .holdings import download

    download(known(dataset), root)
