"""Load: the images of a split, whole in memory as uint8, or, of a large data set, the list of its files.

Importing this file imports neither torch nor numpy, so that tables and `--help` stay quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from ..specs.datasets import Split, known
from .imagenet import Files, load_files
from .images import Images
from .locate import locate


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
    if not entry.unlabelled_images and split == "pretrain":
        split = "train"  # the same images, so they share a cache
    folder = locate(entry, root, copy)
    if folder.name == entry.folder and entry.name != "tiny_imagenet":
        from . import cifar_stl as official

        pixels, labels = official.read(entry, split, folder, whole=not copy)
    else:
        from . import image_folder

        cache = root / ".compmod-cache" / (copy or entry.folder)
        pixels, labels = image_folder.read(entry, split, folder, whole=not copy, cache=cache)
    return Images(pixels, labels, np.arange(len(labels)))


def read(dataset: str, split: Split, root: Path, *, copy: str = "") -> Images | Files:
    """A split of any data set: its images in memory, or, of a large one, the list of its files."""
    source = load_files if known(dataset).large else load
    return source(dataset, split, root, copy=copy)
