"""Splits: the labelled images that a probe or a fine-tuning learns from, and those that it is scored on."""

from __future__ import annotations

import functools
from pathlib import Path

from ..data.imagenet import Files
from ..data.images import Images, subset, validation_split
from ..data.load import read
from ..specs.datasets import Dataset
from ..specs.measurement import Evaluation
from ..specs.run import Run


def splits(spec: Evaluation, root: Path) -> tuple[Images | Files, Images | Files]:
    """Labelled images to train the probes on, and images to score them on; validation never reads the test set."""
    return _read_spec(spec, root)[:2]


def forget_images(run: Run) -> None:
    """Read the images anew when next asked for: others may lie there since this process last read them."""
    if run.data.folder:
        _read.cache_clear()


def split_digests(spec: Evaluation, root: Path) -> dict[str, str]:
    """The digests of the whole splits that `splits` draws from."""
    return dict(_read_spec(spec, root)[2])


def _read_spec(spec: Evaluation, root: Path) -> tuple[Images | Files, Images | Files, dict[str, str]]:
    run = spec.run
    return _read(run.data, run.copy, run.train_images, run.seed, spec.split, Path(root))


@functools.lru_cache(maxsize=1)  # a pretraining probes itself every few epochs, and reading a copy can take minutes
def _read(
    dataset: Dataset, copy: str, train_images: int, seed: int, split: str, root: Path
) -> tuple[Images | Files, Images | Files, dict[str, str]]:
    whole = read(dataset, "train", root, copy=copy)
    contents, train = {"train": whole.digest}, _drawn(whole, train_images, seed)
    if split == "validation":
        return *validation_split(train, seed), contents
    test = read(dataset, "test", root, copy=copy)
    return train, test, contents | {"test": test.digest}


def labelled_images(dataset: Dataset, copy: str, train_images: int, seed: int, root: Path) -> Images | Files:
    """The labelled images of those that a run trains on."""
    return _drawn(read(dataset, "train", root, copy=copy), train_images, seed)


def _drawn(train: Images | Files, train_images: int, seed: int) -> Images | Files:
    if 0 < train_images < len(train):  # STL-10 has fewer labelled images than a run may draw from all of them
        return subset(train, train_images, seed)
    return train
