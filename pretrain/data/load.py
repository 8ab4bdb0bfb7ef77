"""Load: the images of a split, whole in memory as uint8, or, of a large data set, the list of its files.

The module that reads the files is imported by the name in the data set's `reader`, so that this file depends on none.
Importing it imports neither torch nor numpy, so that tables and `--help` stay quick.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..specs.datasets import Dataset, Reader, Split, known
from .images import Images
from .locate import cache_folder, layout, locate

if TYPE_CHECKING:
    from .imagenet import Files


def load(dataset: str | Dataset, split: Split, root: Path, *, copy: str = "") -> Images:
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
        raise ValueError(f"{entry.name} stays on disk; list it by imagenet.load_files, read it by loader.batches")
    if entry.reader == "digits":
        if copy:
            raise ValueError(f"{entry.name} is embedded and has no copies; leave out copy {copy!r}")
        return Images(*_reader("digits").render("test" if split == "test" else "train"))
    if not entry.unlabelled_images and split == "pretrain":
        split = "train"  # the same images, so they share a cache
    folder = locate(entry, root, copy)
    cache = cache_folder(entry, root, copy)
    pixels, labels = _reader(layout(entry, folder)).read(entry, split, folder, whole=not copy, cache=cache)
    return Images(pixels, labels, np.arange(len(labels)))


def read(dataset: str | Dataset, split: Split, root: Path, *, copy: str = "") -> Images | Files:
    """A split of any data set: its images in memory, or, of a large one, the list of its files."""
    entry = known(dataset)
    if not entry.large:
        return load(dataset, split, root, copy=copy)
    files: Files = _reader(entry.reader).load_files(entry, split, root, copy=copy)
    return files


def _reader(name: Reader) -> Any:
    """The module that reads files of one layout."""
    return importlib.import_module(f".{name}", __package__)
