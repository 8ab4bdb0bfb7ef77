"""Read images as commands do, and keep them for a test to compare. On the path of every test."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np


def small(arguments: Sequence[str]) -> None:
    """DATASET ROOT COPY OUTPUT: the training images of a small data set, to an .npz file."""
    from compmod.pretrain.data import load

    dataset, root, copy, output = arguments
    with _one_line():
        images = load(dataset, "train", Path(root), copy=copy)
        np.savez(output, pixels=images.pixels, labels=images.labels)


def large(arguments: Sequence[str]) -> None:
    """Likewise what a network sees at test time of the training images of a large one."""
    from compmod.pretrain.crops import CentreCrop
    from compmod.pretrain.data import DATASETS
    from compmod.pretrain.large_images import load_files
    from compmod.pretrain.loader import batches, requests_in_order

    dataset, root, copy, output = arguments
    with _one_line():
        files = load_files(dataset, "train", Path(root), copy=copy)
        made = batches(files, requests_in_order(len(files), 4), CentreCrop(DATASETS[dataset]), 0)
        loaded = list(made)
        pixels = np.concatenate([each.pixels[0].numpy() for each in loaded])
        np.savez(output, pixels=pixels, labels=np.concatenate([each.labels.numpy() for each in loaded]))


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Errors as `compmod` prints them."""
    try:
        yield
    except ValueError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
