"""Own data: what a run needs to know of images in a folder of the user's, in its spec: readable without the folder."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Annotated

from .datasets import DATASETS, Dataset
from .fields import Positive, Range, Share, Whole, is_name
from .spec import Spec

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # part of the name of a run's folder
SIDE, RESIZE = 224, 256  # pixels, of views and of scored images that stay on disk: those of ImageNet
Three = tuple[float, float, float]  # one a channel, of pixels in 0..1
Mean = tuple[Share, Share, Share]
Deviation = tuple[Positive, Positive, Positive]
Side = Annotated[int, Range(0, cap=4096)]  # of images in memory, pixels; 0 = they stay on disk


@dataclass(frozen=True, kw_only=True)
class OwnData(Spec):
    """Images of the user's own, as `data/own_folder.py` finds them; `Run.dataset` is the name that the user gives."""

    contents: str  # SHA-256, in hexadecimal, over the names and bytes of all images
    classes: Whole  # 0 = the images have no labels
    train_images: Annotated[int, Range(1, cap=10**9)]
    test_images: Whole
    size: Side = 0  # side that images in memory are resized to; 0 = they stay on disk
    mean: Mean
    std: Deviation
    test: str = "val"  # name of the folder with the images that measurements score

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch("[0-9a-f]{64}", self.contents):
            raise ValueError(f"OwnData.contents must be a SHA-256 of 64 hexadecimal digits, not {self.contents!r}")
        check_test_name(self.test)

    def entry(self, name: str) -> Dataset:
        """What DATASETS holds of other data sets."""
        return _entry(self, name)


@functools.cache
def _entry(own: OwnData, name: str) -> Dataset:
    return Dataset(
        name=name,
        label=name,
        classes=own.classes,
        size=own.size,
        view_size=own.size or SIDE,
        test_resize=0 if own.size else RESIZE,
        mean=own.mean,
        std=own.std,
        train_images=own.train_images if own.classes else 0,
        test_images=own.test_images,
        unlabelled_images=0 if own.classes else own.train_images,
        folder=".",
        reader="own_folder",
        test_folder=own.test,
        contents=own.contents,
    )


def check_own_name(name: str) -> None:
    """Raise ValueError where a data set of the user's own cannot have this name."""
    if name in DATASETS:
        raise ValueError(f"{name!r} is a known data set; give your own another name than {', '.join(DATASETS)}")
    if not NAME.fullmatch(name):
        raise ValueError(
            f"a data set's name is at most 64 letters, digits, _ and -, the first a letter or a digit, not {name!r}"
        )


def check_test_name(name: str) -> None:
    """Raise ValueError where the folder of the scored images cannot have this name."""
    if not name or not is_name(name) or name == "train" or name.startswith("."):
        raise ValueError(f"test must be the name of a folder beside train, such as val or test, not {name!r}")
