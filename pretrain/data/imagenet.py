"""Files: the listing of a split of ImageNet or ImageNet-100, without opening an image.

Layout: train/nXXXXXXXX/*.JPEG and val/nXXXXXXXX/*.JPEG, as the PyTorch ImageNet example lays out ILSVRC 2012; other
large data sets have class folders of any name. Labels follow the sorted names of train/'s class folders, so a copy with
fewer classes numbers those it has; for ImageNet-100 they follow its published list, read from a folder of its own or
out of a larger set's. Listing a million names takes minutes on a network disk, so a listing is kept, and made anew
when a class folder has changed.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

from ..specs.datasets import Dataset, Split, known
from .class_names import CLASS_NAMES
from .image_folder import SUFFIXES, class_folders, keep, kept
from .locate import cache_folder, locate

if TYPE_CHECKING:
    from numpy.typing import NDArray

ONLY_LARGE_IMAGES = "lists images that stay on disk"

LISTING_FORMAT = 2  # raise it when listing changes, so that older listings are not read
WORDNET = re.compile(r"n\d{8}")
THREADS = 16  # folders listed at once; the disk's answer takes most of the time
SAMPLED = 1_000  # images of a split whose content its digest reads: a hundred megabytes of ImageNet, a second
SETTLED_NS = 2 * 10**9  # seconds: a folder that changed a shorter time ago may change again with the same time


@dataclass(frozen=True, eq=False)
class Files:
    """A split on disk: the paths of its images and their labels."""

    folder: Path
    names: NDArray[Any]  # bytes, one an image: its path below `folder`
    labels: NDArray[Any]  # int64, one an image

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names, labels and what `image_contents` reads of the images, for provenance."""
        digest = hashlib.sha256(b"\0".join(self.names.tolist()))
        digest.update(self.labels.data)
        digest.update(image_contents([self.path(index) for index in _spread(len(self))]).encode())
        return digest.hexdigest()

    @cached_property
    def groups(self) -> NDArray[Any]:
        """The group of every image: each is one, for `data.images.validation_split`."""
        import numpy as np

        return np.arange(len(self))

    def path(self, index: int) -> Path:
        """Where an image is."""
        return self.folder / os.fsdecode(bytes(self.names[index]))

    def take(self, indices: NDArray[Any]) -> Self:
        """These images, in this order."""
        return type(self)(self.folder, self.names[indices], self.labels[indices])


def image_contents(paths: Sequence[Path]) -> str:
    """SHA-256 over the files of up to SAMPLED images evenly spread over `paths`, all of them where there are no more.

    Images of other content under the same names differ nearly everywhere, and reading a million, or asking for their
    sizes alone, takes minutes on a network disk. An absent file counts as absent; reading it is an error later.
    """

    def one(index: int) -> bytes:
        try:
            with open(paths[index], "rb") as handle:
                return hashlib.file_digest(handle, "sha256").digest()
        except OSError:
            return b"absent"

    with ThreadPoolExecutor(THREADS) as pool:
        return hashlib.sha256(b"".join(pool.map(one, _spread(len(paths))))).hexdigest()


def _spread(count: int) -> list[int]:
    """Up to SAMPLED indices below `count`, evenly spread, the first and the last among them."""
    if count <= SAMPLED:
        return list(range(count))
    return [position * (count - 1) // (SAMPLED - 1) for position in range(SAMPLED)]


def load_files(dataset: str | Dataset, split: Split, root: Path, *, copy: str = "") -> Files:
    """The images of a split of a large data set, in the order of their labels and names.

    `pretrain` and `train` are the same; `test` is the validation images. `copy` names a folder below `root` that holds
    a partial or re-encoded copy. Raises ValueError on any folder that is missing or not as it should be.
    """
    if split not in get_args(Split):
        raise ValueError(f"unknown split {split!r}; known: {', '.join(get_args(Split))}")
    entry = known(dataset)
    if not entry.large:
        raise ValueError(f"{entry.name} is held in memory; read it by data.load")
    part: Split = "test" if split == "test" else "train"
    cache = cache_folder(entry, root, copy) / f"{entry.name}-{part}"
    return listing(entry, part, locate(entry, root, copy).absolute(), whole=not copy, cache=cache)


def listing(entry: Dataset, split: Split, folder: Path, *, whole: bool, cache: Path | None = None) -> Files:
    """Every image of a split; checks names and counts. Without `whole` it may be a part; `cache` is a folder.

    Where the data set has no classes, the images are in train/ itself, and their label is -1.
    """
    import numpy as np

    if not entry.classes:
        paths = [os.fsencode(f"train/{image}") for image in _images(entry, folder / "train")]
        return Files(folder, np.array(paths), np.full(len(paths), -1, dtype=np.int64))
    part = entry.test_folder if split == "test" else "train"
    train = _classes(entry, folder / "train", whole=whole)
    classes = train if part == "train" else _classes(entry, folder / part, whole=whole)
    if differing := sorted(set(train) ^ set(classes)):
        side = "no test image" if differing[0] in train else "test images but no training image"
        raise entry.fault(folder / part, f"{side} of class {differing[0]}", "the classes of train/")
    label_of = {name: label for label, name in enumerate(CLASS_NAMES.get(entry.name, train))}
    key, settled = _key(entry, folder / part, classes)
    listed = _kept(cache / f"{key}.npy") if cache else None
    to_keep = listed is None and settled
    if listed is None:
        with ThreadPoolExecutor(THREADS) as pool:
            names = list(pool.map(lambda name: _images(entry, folder / part / name), classes))
        rows = [
            (os.fsencode(f"{part}/{name}/{image}"), label_of[name])
            for name, images in zip(classes, names, strict=True)
            for image in images
        ]
        longest = max(len(name) for name, _ in rows)
        listed = np.array(rows, dtype=[("name", f"S{longest}"), ("label", "<i8")])
    _check_count(entry, split, folder / part, len(listed), whole=whole)
    # A data root that cannot be written keeps no listing: its folders are listed again.
    if cache and to_keep and os.access(cache.parents[2], os.W_OK):
        keep(listed, cache / f"{key}.npy")
    return Files(folder, listed["name"].copy(), listed["label"].astype(np.int64))


def _classes(entry: Dataset, folder: Path, *, whole: bool) -> tuple[str, ...]:
    """Names of the class folders that belong to the data set, sorted."""
    if not folder.is_dir():
        raise entry.fault(folder, "no such folder", "one folder a class, such as n01440764")
    classes = class_folders(entry, folder)
    if not classes:
        raise entry.fault(folder, "no class folders", "one folder a class, such as n01440764")
    if entry.wordnet and (foreign := [name for name in classes if not WORDNET.fullmatch(name)]):
        raise entry.fault(folder / foreign[0], f"class {foreign[0]!r}", "a WordNet number, such as n01440764")
    if entry.name in CLASS_NAMES:
        own = [name for name in classes if name in CLASS_NAMES[entry.name]]
        if len(own) < len(classes) and folder.parent.name == entry.folder:
            other = min(set(classes) - set(own))
            raise entry.fault(folder / other, f"class {other!r}", f"one of {entry.label}'s {entry.classes}")
        classes = own
    if len(classes) > entry.classes or len(classes) < (entry.classes if whole else 1):
        bound = "" if whole else "1 to "
        raise entry.fault(folder, f"{len(classes):,} of {entry.label}'s classes", f"{bound}{entry.classes:,}")
    return tuple(classes)


def _images(entry: Dataset, folder: Path) -> list[str]:
    """File names in a class folder, sorted; every one but text and hidden files must be an image."""
    from .decode import kind_of

    names = []
    with os.scandir(folder) as entries:
        for item in entries:
            if item.name.startswith(".") or item.name.endswith(".txt"):
                continue
            kind = "" if item.is_file(follow_symlinks=False) else kind_of(folder / item.name)
            if kind or not item.name.lower().endswith(SUFFIXES):
                raise entry.fault(
                    folder / item.name, kind or "no image", "only .JPEG, .jpg or .png files in a class folder"
                )
            names.append(item.name)
    if not names:
        raise entry.fault(folder, "no images", "at least one")
    return sorted(names)


def _check_count(entry: Dataset, split: Split, folder: Path, found: int, *, whole: bool) -> None:
    expected = entry.test_images if split == "test" else entry.train_images
    if split != "test" and not entry.train_images_certain:
        return
    if found > expected or (whole and found < expected):
        bound = "" if whole else "at most "
        raise entry.fault(folder, f"{found:,} {split} images", f"{bound}{expected:,}")


def _key(entry: Dataset, folder: Path, classes: tuple[str, ...]) -> tuple[str, bool]:
    """A digest of the class folders' names and times, and whether their times are old enough to tell of a change.

    Adding, removing or renaming a file changes its folder's times, so no file is looked at. Unpacking an archive
    sets back the time of modification, but not that of the change.
    """
    digest, newest = hashlib.sha256(f"{LISTING_FORMAT} {entry.name}\n".encode()), 0
    for name in classes:
        state = (folder / name).stat()
        digest.update(f"{name}\t{state.st_mtime_ns}\t{state.st_ctime_ns}\n".encode())
        newest = max(newest, state.st_mtime_ns)
    return digest.hexdigest()[:16], time.time_ns() - newest > SETTLED_NS


def _kept(file: Path) -> NDArray[Any] | None:
    """A listing made earlier, if it is there and undamaged."""
    listed = kept(file)
    return listed if listed is not None and listed.dtype.names == ("name", "label") and len(listed) else None
