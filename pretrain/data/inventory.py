"""Inventory: which files a data set needs below the data folder, their state, and the download of what is missing."""

from __future__ import annotations

import shutil
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..files.fetch import fetch
from ..specs.datasets import known
from .locate import LAYOUT, cache_folder, class_folders_of, layout, look

if TYPE_CHECKING:
    from ..specs.datasets import Dataset, Split

MOVES_NO_NUMBER = "describes the data's files, and the data's digest stands beside every number"


@dataclass(frozen=True, kw_only=True)
class Holding:
    """One file or folder that a data set needs, as `compmod data NAME` prints it."""

    path: str
    found: str
    expected: str
    checksum: str  # "ok", "wrong", or why none was compared; "" for what is not there
    ok: bool


def describe(dataset: str, root: Path, copy: str = "") -> list[Holding]:
    """Every file, or split of an image folder, that a data set (or a copy of it) needs below `root`, and its state."""
    entry = known(dataset)
    if entry.reader == "digits":
        if copy:
            raise ValueError(f"{entry.name} is embedded and has no copies; leave out copy {copy!r}")
        images = f"{entry.train_images:,} train and {entry.test_images:,} test images"
        return [Holding(path="(scikit-learn)", found="embedded", expected=images, checksum="not a file", ok=True)]
    folder, found, expected = look(entry, root, copy)
    if expected:
        return [Holding(path=str(folder), found=found, expected=expected, checksum="", ok=False)]
    if layout(entry, folder) == "cifar_stl":
        return _files(entry, folder, copy)
    cache = cache_folder(entry, root, copy)
    splits: tuple[Split, ...] = ("train", "pretrain", "test") if entry.unlabelled_images else ("train", "test")
    return [_split(entry, folder, split, copy, cache) for split in splits]


def download(dataset: str, root: Path) -> None:
    """Fetch the official archive of a data set, compare its checksum, and unpack it below `root`.

    Embedded data need no archive. Raises ValueError when a download fails, or, with what to put where, when there is
    none.
    """
    entry = known(dataset)
    if entry.reader == "digits":
        return
    if not entry.url and not entry.wordnet:
        raise ValueError(
            f"no archive of {entry.label} is known: get its images and lay them out as {class_folders_of(entry)} "
            f"in {root / entry.folder}"
        )
    if not entry.url:
        raise ValueError(
            f"{entry.label} is not for others to hand out: get ILSVRC 2012 from https://image-net.org/download-images "
            f"and lay it out as {LAYOUT} in {root / (entry.within or entry.folder)}"
        )
    archive = root / entry.url.rpartition("/")[2]
    try:
        fetch(entry.url, archive, entry.archive_md5)
    except (OSError, ValueError) as error:  # no network, or another file under that address
        raise ValueError(
            f"could not download {entry.url}: {error}; fetch it elsewhere and unpack it in {root}"
        ) from error
    print(f"unpacking {archive} to {root / entry.folder}", file=sys.stderr, flush=True)
    if archive.suffix != ".zip" and hasattr(tarfile, "data_filter"):  # Python 3.11.0 to 3.11.3 lack it
        shutil.unpack_archive(archive, root, filter="data")  # without it Python 3.12 and 3.13 warn
    else:
        shutil.unpack_archive(archive, root)


def _files(entry: Dataset, folder: Path, copy: str) -> list[Holding]:
    """The official files: compared with their checksums, or, of a copy, read as `data.load` does."""
    from .cifar_stl import FILES, check, md5

    holdings = []
    for part, files in FILES[entry.name].items():
        fault = check(entry, part, folder) if copy else ""
        for file in files:
            path = folder / file.name
            there = path.is_file()
            checksum = "not compared" if there else ""
            found = f"{path.stat().st_size:,} bytes" if there else "missing"
            if there and fault:
                found = fault if fault.startswith(f"{path}:") else f"{found}, not all of {part} read"
            elif there:
                checksum = "a copy has none" if copy else "ok" if md5(path) == file.md5 else "wrong"
            holdings.append(
                Holding(
                    path=str(path),
                    found=found,
                    expected=f"{'at most ' if copy else ''}{file.images:,} images",
                    checksum=checksum,
                    ok=there and not fault and checksum != "wrong",
                )
            )
    return holdings


def _split(entry: Dataset, folder: Path, split: Split, copy: str, cache: Path) -> Holding:
    """A split of an image folder: small images are read as `data.load` does, and of large ones every header."""
    from . import image_folder
    from . import imagenet as large_images
    from .decode import checked_size, in_threads

    count = entry.test_images if split == "test" else entry.train_images
    count += entry.unlabelled_images if split == "pretrain" else 0
    try:
        if entry.large:
            listed = large_images.listing(entry, split, folder, whole=not copy)
            print(f"reading the headers of {len(listed):,} images of {folder} ({split})", file=sys.stderr, flush=True)
            in_threads(checked_size, [listed.path(index) for index in range(len(listed))])
            labels, how = listed.labels, "all headers read"
        else:
            _, labels = image_folder.read(entry, split, folder, whole=not copy, cache=cache)
            how = "all decoded"
        classes = len({label for label in labels.tolist() if label >= 0})
        found, ok = f"{len(labels):,} images in {classes} classes, {how}", True
    except ValueError as error:
        found, ok = str(error).encode(errors="backslashreplace").decode(), False  # names may be of another encoding
    bound = "at most " if copy else "" if split == "test" or entry.train_images_certain else "about "
    expected = f"{bound}{count:,} images in {entry.classes} classes"
    return Holding(path=f"{folder} ({split})", found=found, expected=expected, checksum="none published", ok=ok)
