"""Data sets: what a run needs to know of each (DATASETS), readable without loading any image.

Sources: CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), STL-10 (Coates et al., AISTATS 2011), Tiny ImageNet (Stanford
CS231n, 2015), ImageNet (ILSVRC 2012; Russakovsky et al., IJCV 2015), ImageNet-100 (Tian et al., ECCV 2020).

Adding a data set in class folders is one entry here; CONTRIBUTING.md has an example.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..files.bad_data import BadData

Split = Literal["pretrain", "train", "test"]
Reader = Literal["digits", "cifar_stl", "image_folder", "imagenet", "own_folder"]  # a module of pretrain/data/


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
    reader: Reader = "image_folder"  # of the official files; re-encoded copies of small data come as image folders
    wordnet: bool = False  # whether class folders are named by WordNet numbers, such as n01440764
    within: str = ""  # folder of a larger set that has these classes among its own; read where `folder` is missing
    url: str = ""  # of the official archive; "" = embedded, or not to be handed out by others
    archive_md5: str = ""
    test_folder: str = "val"  # beside train/, of images that stay on disk and of a user's own
    contents: str = ""  # SHA-256 of all images of a user's own folder, which is then the data root itself; "" = others

    def __post_init__(self) -> None:
        if not self.own and (self.reader == "imagenet") != self.large:
            raise ValueError(f"{self.name}: reader='imagenet' and size=0 (images of any size) go together")
        if (self.reader == "digits") == bool(self.folder):
            raise ValueError(f"{self.name}: folder must name where the files are below the data folder")

    @property
    def large(self) -> bool:
        """Whether images are of any size and stay on disk."""
        return not self.size

    @property
    def own(self) -> bool:
        """Whether the images are the user's own, described by `specs/own_data.py`."""
        return self.reader == "own_folder"

    @property
    def advice(self) -> str:
        """What ends the error for a file that is not as it should be."""
        return self._advice()

    def fault(self, path: Path, found: str, expected: str, options: str = "") -> BadData:
        """The error for a file that is not as it should be; `options` are those of the command that it advises."""
        return BadData(f"{path}: found {found}; expected {expected}; {self._advice(options)}")

    def _advice(self, options: str = "") -> str:
        if self.own:
            return "--data-folder DIR names another folder, with train/CLASS/ and val/CLASS/ in it (docs/data.md)"
        does = f"downloads {self.label}, or says what is wrong" if self.url else "says what to put where"
        return f"'compmod data {self.name}{options}' {does}"


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
        reader="digits",
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
        reader="cifar_stl",
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
        reader="cifar_stl",
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
        reader="cifar_stl",
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
        reader="imagenet",
        wordnet=True,
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
        reader="imagenet",
        wordnet=True,
    ),
}


def known(dataset: str | Dataset) -> Dataset:
    """The entry of a data set, by its name or itself. Raises ValueError, listing what is known, for any other name."""
    if isinstance(dataset, Dataset):
        return dataset
    if dataset not in DATASETS:
        raise ValueError(f"unknown data set {dataset!r}; known: {', '.join(DATASETS)}")
    return DATASETS[dataset]
