"""Own folder: images of the user's own in train/CLASS/ and val/CLASS/ or test/CLASS/, and what a spec says of them.

The *contents* of a folder are one SHA-256 over the name and the bytes of every image that is read, in the order of the
names: times, the folder's own place and the order of a disk do not count. Mean and deviation are those of every pixel
of the training images, as they are stored or, held in memory, as they are resized; they are sums of whole numbers. All
images are decoded for it, so a damaged one is named before a training starts. What was found is kept with the sizes
and times of all files, and holds as long as these are the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files.bad_data import BadData
from ..files.regular_file import open_regular
from ..files.stored_json import read_object
from ..files.whole_file import write_whole
from ..specs.datasets import Dataset, Split
from ..specs.own_data import OwnData, Three
from .image_folder import SUFFIXES, cached, class_folders, fitted
from .imagenet import SETTLED_NS, Files, listing
from .locate import cache_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1  # raise it when images are resized, or contents and statistics counted, in another way
LEVELS = 256  # of a pixel in one channel
DECIMALS = 4  # of mean and deviation
BLOCK = 1_000  # files whose states one thread asks for at a time
TELL_EVERY_S = 10.0
KEPT = "measured.json"
MOST = 10**9  # of anything that is not counted yet
UNKNOWN = OwnData(contents="0" * 64, classes=0, train_images=MOST, test_images=MOST, mean=(0.0,) * 3, std=(1.0,) * 3)
ENTRY = UNKNOWN.entry("images")


@dataclass(frozen=True, eq=False)
class Survey:
    """A folder as it is now."""

    own: OwnData
    names: tuple[str, ...]  # of the classes, in the order of their labels
    train: Files
    test: Files | None  # None beside images without labels


def own_data(
    folder: Path, size: int = 0, *, test: str = "", mean: Three | None = None, std: Three | None = None
) -> OwnData:
    """What a spec says of the images in a folder. `size`: pixels that they are resized to; 0 = they stay on disk.

    `test` names the folder of the scored images; where it is empty, that is test/ if it has class folders, else val/.
    Raises ValueError, in one line, on a folder or an image that is not as it should be.
    """
    return survey(folder, size, test, mean, std).own


def survey(folder: Path, size: int, test: str, mean: Three | None, std: Three | None) -> Survey:
    """The same with the names of classes and files."""
    folder = folder.absolute()
    names = _classes(folder)
    own = replace(UNKNOWN, classes=MOST if names else 0, size=size)
    own = replace(own, test=_test_folder(folder, test)) if names else own
    entry = own.entry(ENTRY.name)
    train = listing(entry, "train", folder, whole=False)
    scored = listing(entry, "test", folder, whole=False) if names else None
    contents, measured_mean, measured_std = _measured(entry, train, scored)
    if not std and not all(measured_std):
        raise ENTRY.fault(
            folder / "train", "one value in all pixels of a colour", "images that differ, or mean and std"
        )
    own = replace(own, classes=len(names), train_images=len(train), test_images=len(scored) if scored else 0)
    own = replace(own, contents=contents, mean=mean or measured_mean, std=std or measured_std)
    return Survey(own, names, train, scored)


def load_files(entry: Dataset, split: Split, root: Path, *, copy: str = "") -> Files:
    """The images of a split; `root` is their folder. Raises ValueError where they are not those of the entry."""
    if split != "pretrain" and not entry.classes:
        raise BadData(
            f"the images of {entry.label} have no labels (no class folders in train/): only pretraining is possible"
        )
    found = survey(root, entry.size, entry.test_folder if entry.classes else "", entry.mean, entry.std)
    if found.own.contents != entry.contents:
        raise BadData(
            f"{root} is of other data than the run: its images have the digest {found.own.contents[:12]}, not "
            f"{entry.contents[:12]}; put the old images back, or pretrain on these, which is another run"
        )
    return found.test if split == "test" and found.test else found.train


def read(entry: Dataset, split: Split, folder: Path, *, whole: bool, cache: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pixels (uint8, images x 3 x side x side) and labels (int64, -1 = none) of a split."""
    files = load_files(entry, split, folder)
    paths = [files.path(index) for index in range(len(files))]
    return cached(entry, paths, files.folder, cache / ("test" if split == "test" else "train")), files.labels


def statistics(counts: Sequence[int]) -> tuple[Three, Three]:
    """Mean and deviation of each channel, of pixels in 0..1, from how often each has each of its 256 levels."""
    pairs = []
    for channel in range(3):
        of_level = list(enumerate(counts[channel * LEVELS : (channel + 1) * LEVELS]))
        pixels, total = sum(count for _, count in of_level), sum(level * count for level, count in of_level)
        squares = sum(level**2 * count for level, count in of_level)
        deviation = math.sqrt(pixels * squares - total**2) / pixels
        pairs.append([round(value / (LEVELS - 1), DECIMALS) for value in (total / pixels, deviation)])
    (mean1, std1), (mean2, std2), (mean3, std3) = pairs
    return (mean1, mean2, mean3), (std1, std2, std3)


def _classes(folder: Path) -> tuple[str, ...]:
    """Names of the class folders in train/, none where the images lie there without."""
    train = folder / "train"
    if not train.is_dir():
        raise ENTRY.fault(train, "no such folder", "the training images, in one folder a class")
    names = class_folders(ENTRY, train)
    loose = sorted(name for name in os.listdir(train) if name.lower().endswith(SUFFIXES) and name not in names)
    if names and loose:
        raise ENTRY.fault(train / loose[0], "an image beside class folders", "every image in a class folder, or none")
    if not names and not loose:
        raise ENTRY.fault(train, "neither class folders nor images", "one folder a class")
    if len(names) == 1:
        raise ENTRY.fault(train, f"one class, {names[0]!r}", "at least two, or images without class folders")
    return tuple(names)


def _test_folder(folder: Path, test: str) -> str:
    """Name of the folder of the scored images."""
    names = (test,) if test else ("test", "val")
    for name in names:
        if (folder / name).is_dir() and class_folders(ENTRY, folder / name):
            return name
    raise ENTRY.fault(folder / names[-1], "no class folders", f"the images to score{', here or in test/' * (not test)}")


def _measured(entry: Dataset, train: Files, scored: Files | None) -> tuple[str, Three, Three]:
    """The contents of a folder, and mean and deviation of its training images."""
    names: list[bytes] = [*train.names.tolist(), *(scored.names.tolist() if scored else [])]
    state, newest = _state(entry, train.folder, names)
    place = cache_folder(entry, train.folder, "")
    with _alone(place):
        if kept := _kept(place / KEPT, state):
            return kept.contents, kept.mean, kept.std
        contents, counts = _counted(entry, train.folder, names, len(train))
        mean, std = statistics(counts)
        if time.time_ns() - newest > SETTLED_NS:
            with contextlib.suppress(OSError):  # nothing is kept where nothing can be written
                stored = {"state": state, "contents": contents, "mean": mean, "std": std}
                write_whole(place / KEPT, json.dumps(stored).encode())
    return contents, mean, std


def _state(entry: Dataset, folder: Path, names: Sequence[bytes]) -> tuple[str, int]:
    """A digest of the names, sizes and times of files, and the newest of these times, ns."""
    from .decode import in_threads

    def states(first: int) -> tuple[bytes, int]:
        lines, newest = [], 0
        for name in names[first : first + BLOCK]:
            state = os.stat(folder / os.fsdecode(name))
            lines.append(b"%b\0%d %d %d\n" % (name, state.st_size, state.st_mtime_ns, state.st_ctime_ns))
            newest = max(newest, state.st_mtime_ns, state.st_ctime_ns)
        return b"".join(lines), newest

    blocks = in_threads(states, range(0, len(names), BLOCK))
    digest = hashlib.sha256(f"{FORMAT} {entry.size}\n".encode())
    for lines, _ in blocks:
        digest.update(lines)
    return digest.hexdigest(), max(newest for _, newest in blocks)


def _counted(entry: Dataset, folder: Path, names: Sequence[bytes], train: int) -> tuple[str, list[int]]:
    """The contents of these files, and how often the first `train` of them have each level of each channel."""
    import numpy as np

    from .decode import in_threads, read_rgb

    counts, lock = np.zeros(3 * LEVELS, dtype=np.int64), threading.Lock()
    done, told = 0, time.monotonic()

    def one(index: int) -> bytes:
        nonlocal done, told
        path = folder / os.fsdecode(names[index])
        image = read_rgb(path)
        image = fitted(image, entry.size) if entry.size else image
        levels = image.histogram() if index < train else 0
        with open_regular(path) as handle:
            digest = hashlib.file_digest(handle, "sha256").digest()
        with lock:
            counts[:] += levels
            done += 1
            if time.monotonic() - told > TELL_EVERY_S:
                told = time.monotonic()
                print(f"{folder}: read {done:,} of {len(names):,} images", file=sys.stderr, flush=True)
        return digest

    digests = in_threads(one, range(len(names)), os.cpu_count() or 1)
    lines = sorted(name + b"\0" + digest for name, digest in zip(names, digests, strict=True))
    return hashlib.sha256(b"".join(lines)).hexdigest(), counts.tolist()


def _kept(file: Path, state: str) -> OwnData | None:
    """What was found of files in this state; None where there is nothing, or it is damaged."""
    try:
        stored = read_object(file) or {}
        if stored.get("state") != state:
            return None
        mean, std = tuple(stored["mean"]), tuple(stored["std"])
        return replace(UNKNOWN, contents=stored["contents"], mean=mean, std=std)
    except (ValueError, TypeError, KeyError):
        return None


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Processes that measure one folder at the same time do so one after another, and the later ones find it done."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # of a place that cannot be written, or a disk without locks
            place.mkdir(parents=True, exist_ok=True)
            handle = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
