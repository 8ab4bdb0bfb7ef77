"""Labelled: the images that a fine-tuning learns from, all of them or a share, and those it is scored on.

The 1 % and 10 % of ImageNet that SimCLR's lists name (Chen et al., ICML 2020, code, `imagenet_subsets`), or, of any
data set, a draw that takes equally many images of every class.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..data.cifar_stl import md5
from ..data.imagenet import Files
from ..data.images import VALIDATION, Images, validation_split
from ..data.load import read
from ..recipes.evaluation import LIST_FILES, list_file
from ..runtime.randomness import permutation
from ..specs.measurement import FineTuning
from .splits import labelled_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAMED = 3  # unknown names an error lists
_SHARE = VALIDATION - 1  # in the epoch's place when drawing, so that no other draw's order is used twice


class Labelled(NamedTuple):
    """What a fine-tuning reads."""

    train: Images | Files
    test: Images | Files
    drawn: str  # how `train` came about, as results state it


def labelled(spec: FineTuning, root: Path) -> Labelled:
    """The images of a fine-tuning; `root` holds the data sets.

    Validation images are a fifth of the labelled share: a user with few labels has few to choose settings by.
    """
    run = spec.run
    train = labelled_images(run.data, run.copy, run.train_images, run.seed, root)
    drawn = "all"
    if spec.lists:
        assert isinstance(train, Files), "the lists are of images on disk"
        train, drawn = listed(train, list_file(root, spec.share), LIST_FILES[spec.share][1]), "published list"
    elif spec.share < 1:
        train, drawn = train.take(balanced(train.labels, train.groups, spec.share, run.seed)), "seeded draw"
    if spec.split == "validation":
        return Labelled(*validation_split(train, run.seed), drawn)
    return Labelled(train, read(run.data, "test", root, copy=run.copy), drawn)


def listed(files: Files, list_path: Path, checksum: str) -> Files:
    """The images that a list names, one file name a line, in their old order. Raises ValueError on a wrong list."""
    if not list_path.is_file():
        raise ValueError(f"{list_path}: found no such file; expected SimCLR's list, or lists '' for a seeded draw")
    if (found := md5(list_path)) != checksum:
        raise ValueError(f"{list_path}: found MD5 sum {found}; expected {checksum}, of SimCLR's list")
    row_of = {PurePosixPath(name.decode()).name: row for row, name in enumerate(files.names.tolist())}
    names = list_path.read_text().split()
    if unknown := [name for name in names if name not in row_of]:
        more = f" and {len(unknown) - NAMED:,} more" if len(unknown) > NAMED else ""
        named = ", ".join(unknown[:NAMED]) + more
        raise ValueError(f"{list_path}: found {named}, which are not in {files.folder}; expected its images alone")
    return files.take(np.array(sorted(row_of[name] for name in names)))


def balanced(labels_N: NDArray[Any], groups_N: NDArray[Any], share: float, seed: int) -> NDArray[Any]:
    """Rows of a share of the images, ascending: of every class as many, and at least one; groups stay whole.

    Rounded down, the size is that of SimCLR's lists: 12,811 and 128,116 of ImageNet. A function of seed, share and
    labels; a smaller share's images of a class are among a larger one's. Where groups are larger than one image, a
    class has the number nearest to its due.
    """
    classes = np.unique(labels_N)
    count = max(len(classes), int(share * len(labels_N) + 1e-9))  # 0.1 * 30 is a hair below 3
    quota_of_all, over = divmod(count, len(classes))
    due = np.full(len(classes), quota_of_all)
    due[permutation(seed, _SHARE, len(classes))[:over].numpy()] += 1
    order_N = permutation(seed, _SHARE, len(labels_N)).numpy()
    order_N = order_N[np.argsort(labels_N[order_N], kind="stable")]  # by class, in drawn order within
    chosen = []
    for rows, quota in zip(np.split(order_N, np.cumsum(np.bincount(labels_N)[classes])[:-1]), due, strict=True):
        groups, first, sizes = np.unique(groups_N[rows], return_index=True, return_counts=True)
        drawn = np.argsort(first)  # groups in the order of their first image
        taken = np.abs(np.cumsum(sizes[drawn]) - quota).argmin() + 1
        chosen.append(rows[np.isin(groups_N[rows], groups[drawn[:taken]])])
    return np.sort(np.concatenate(chosen))
