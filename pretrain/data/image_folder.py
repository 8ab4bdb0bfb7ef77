"""Image folders: one folder a class, as Tiny ImageNet and re-encoded copies of other data sets come.

Classes are numbered as in `class_names.py`, or, of a data set that it does not list, as train/'s sorted class folders.
Below the data set's folder: train/CLASS/..., and test/CLASS/... or val/CLASS/... or Tiny ImageNet's val/images with
val_annotations.txt; STL-10 also unlabeled/. A file order_train.txt or order_test.txt, if there, lists every image in
the order of the original. Decoded pixels are kept in a cache, because decoding 60,000 JPEGs takes a while each time.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from ..files.bad_data import BadData
from ..files.regular_file import open_regular
from .class_names import CLASS_NAMES

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from ..specs.datasets import Dataset

CACHE_FORMAT = 2  # raise it when decoding changes, so that older caches are not read
SUFFIXES = (".jpeg", ".jpg", ".png")  # of images, in any case
CHECKSUM = 64  # bytes of one, at the end of a cache


def read(
    dataset: Dataset, split: Literal["pretrain", "train", "test"], folder: Path, *, whole: bool, cache: Path
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pixels (uint8, images x 3 x side x side) and labels (int64) of a split; without `whole` it may be a part."""
    import numpy as np

    listed = listing(dataset, split, folder, whole=whole)
    paths = [path for path, _ in listed]
    pixels = cached(dataset, paths, folder, cache / split)
    return pixels, np.array([label for _, label in listed], dtype=np.int64)


def listing(dataset: Dataset, split: str, folder: Path, *, whole: bool) -> list[tuple[Path, int]]:
    """Every image of a split with its label; checks names and counts, and opens no image."""
    names = _names(dataset, folder)
    train = _by_class(dataset, folder / "train", names)
    if split == "test":
        images = _test(dataset, folder, names)
        if missing := sorted({label for _, label in train} - {label for _, label in images}):
            raise dataset.fault(folder, f"no test image of class {names[missing[0]]}", "the classes of train/")
    else:
        images = train
    images = _ordered(dataset, folder / f"order_{'test' if split == 'test' else 'train'}.txt", images)
    expected = dataset.test_images if split == "test" else dataset.train_images
    if split == "pretrain" and dataset.unlabelled_images:
        images += [(path, -1) for path in _images(dataset, folder / "unlabeled")]
        expected += dataset.unlabelled_images
    if len(images) > expected or (whole and len(images) < expected):
        bound = "" if whole else "at most "
        raise dataset.fault(folder, f"{len(images):,} {split} images", f"{bound}{expected:,}")
    classes = {label for _, label in images if label >= 0}
    if whole and len(classes) < dataset.classes:
        raise dataset.fault(folder, f"{len(classes)} classes in {split}", str(dataset.classes))
    return images


def _names(dataset: Dataset, folder: Path) -> tuple[str, ...]:
    """The names of the classes in label order."""
    return CLASS_NAMES.get(dataset.name) or tuple(_folders(dataset, folder / "train"))


def _test(dataset: Dataset, folder: Path, names: tuple[str, ...]) -> list[tuple[Path, int]]:
    # Tiny ImageNet's own test images carry no labels: there, val is the test set.
    order = ("val", "test") if dataset.name == "tiny_imagenet" else ("test", "val")
    for name in order:
        if (folder / name / "val_annotations.txt").is_file() and (folder / name / "images").is_dir():
            return _annotated(dataset, folder / name, names)
        if (folder / name).is_dir():
            return _by_class(dataset, folder / name, names)
    raise dataset.fault(folder / order[0], "no such folder", f"the test images, here or in {order[1]}/")


def _by_class(dataset: Dataset, folder: Path, names: tuple[str, ...]) -> list[tuple[Path, int]]:
    classes = _folders(dataset, folder)
    labels = [_label(dataset, folder / name, name, names) for name in classes]
    return [
        (path, label) for name, label in zip(classes, labels, strict=True) for path in _images(dataset, folder / name)
    ]


def _folders(dataset: Dataset, folder: Path) -> list[str]:
    """Names of the class folders in a folder, at least one."""
    if not folder.is_dir():
        raise dataset.fault(folder, "no such folder", "one folder a class")
    classes = class_folders(dataset, folder)
    if not classes:
        raise dataset.fault(folder, "no class folders", "one folder a class")
    return classes


def class_folders(dataset: Dataset, folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted. Hidden folders and files are no classes."""
    from .decode import kind_of

    kinds = {path.name: kind_of(path) for path in folder.iterdir() if not path.name.startswith(".")}
    if odd := min((name for name, kind in kinds.items() if kind not in ("", "a folder")), default=""):
        raise dataset.fault(folder / odd, kinds[odd], "one folder a class")
    return sorted(name for name, kind in kinds.items() if kind)


def _label(dataset: Dataset, where: Path, name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        raise dataset.fault(where, f"class {name!r}", f"one of {dataset.label}'s, such as {names[0]!r}")
    return names.index(name)


def _images(dataset: Dataset, folder: Path) -> list[Path]:
    """Files below a folder, sorted; every one but text and what is hidden must be an image."""
    files = sorted(_below(dataset, folder)) if folder.is_dir() else []
    if not files:
        raise dataset.fault(folder, "no images", "at least one")
    return files


def _below(dataset: Dataset, folder: Path) -> Iterator[Path]:
    from .decode import kind_of

    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith(".") or path.suffix == ".txt":
                continue
            if entry.is_dir(follow_symlinks=False) and path.suffix.lower() not in SUFFIXES:
                yield from _below(dataset, path)
            elif entry.is_file(follow_symlinks=False) or not (kind := kind_of(path)):
                yield path
            else:
                raise dataset.fault(path, kind, "an image, or a folder of images that is no link")


def _annotated(dataset: Dataset, folder: Path, names: tuple[str, ...]) -> list[tuple[Path, int]]:
    notes = folder / "val_annotations.txt"
    present = {path.name for path in _images(dataset, folder / "images")}
    images = []
    for line in notes.read_text("utf-8", errors="replace").splitlines():
        name, _, rest = line.partition("\t")
        if name not in present:
            raise dataset.fault(folder / "images" / name, "no such file", f"the image that {notes.name} lists")
        images.append((folder / "images" / name, _label(dataset, notes, rest.partition("\t")[0], names)))
        present.discard(name)
    if present:
        raise dataset.fault(notes, f"no line for {min(present)}", "a line for every image")
    return sorted(images, key=lambda image: (image[1], image[0].name))


def _ordered(dataset: Dataset, order: Path, images: list[tuple[Path, int]]) -> list[tuple[Path, int]]:
    """The images in the order that a file lists, by class folder and name, if there is such a file."""
    if not order.is_file():
        return images
    by_name = {f"{path.parent.name}/{path.name}": (path, label) for path, label in images}
    lines = order.read_text("utf-8", errors="replace").split()
    for name in lines:
        if name not in by_name:
            raise dataset.fault(order, f"{name} listed but missing or repeated", "every image, once")
    if len(lines) != len(images) or len(set(lines)) != len(lines):
        raise dataset.fault(order, f"{len(lines):,} lines for {len(images):,} images", "every image, once")
    return [by_name[name] for name in lines]


def cached(dataset: Dataset, paths: list[Path], folder: Path, cache: Path) -> NDArray[Any]:
    """Decoded images, from the cache if it was made from files of these names, sizes and times.

    The times include that of the change: unpacking an archive sets back the time of modification, but not this one.
    """
    import numpy as np

    digest = hashlib.sha256(f"{CACHE_FORMAT} {dataset.size}\n".encode())
    for path in paths:
        state = path.stat()
        digest.update(
            f"{path.relative_to(folder)}\t{state.st_size}\t{state.st_mtime_ns}\t{state.st_ctime_ns}\n".encode(
                errors="surrogateescape"
            )
        )
    file = cache / f"{digest.hexdigest()[:16]}.npy"
    pixels = kept(file)
    shape = (len(paths), 3, dataset.size, dataset.size)
    if pixels is not None and pixels.shape == shape and pixels.dtype == np.uint8:
        return pixels
    pixels = decode(dataset, paths)
    if os.access(
        cache.parents[2], os.W_OK
    ):  # a data root that cannot be written has no cache: its images are decoded again
        keep(pixels, file)
    return pixels


def keep(values: NDArray[Any], file: Path) -> None:
    """Write the cache whole or not at all, its SHA-256 at its end, and drop those of earlier states of the folder."""
    import numpy as np

    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    with open(aside, "w+b") as handle:
        np.save(handle, values, allow_pickle=False)
        handle.seek(0)
        handle.write(_checksum(handle, os.fstat(handle.fileno()).st_size))
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(aside, file)
    for other in file.parent.glob("*.npy"):
        if other != file:
            other.unlink(missing_ok=True)


def kept(file: Path) -> NDArray[Any] | None:
    """What `keep` wrote to a file, if it is there; a damaged one is reported and gives None."""
    import numpy as np

    try:
        with open_regular(file) as handle:
            length = os.fstat(handle.fileno()).st_size - CHECKSUM
            if length > 0 and _checksum(handle, length) == handle.read():
                handle.seek(0)
                values: NDArray[Any] = np.load(handle, allow_pickle=False)
                return values
    except FileNotFoundError:
        return None
    except (ValueError, EOFError, OSError):
        pass
    print(f"warning: the cache {file} is damaged (its checksum differs) and is made anew", file=sys.stderr)
    return None


def _checksum(handle: BinaryIO, length: int) -> bytes:
    """SHA-256, in hexadecimal, of the next `length` bytes of a file."""
    digest = hashlib.sha256()
    while length and (block := handle.read(min(length, 1 << 20))):
        digest.update(block)
        length -= len(block)
    return digest.hexdigest().encode()


def decode(dataset: Dataset, paths: list[Path]) -> NDArray[Any]:
    """The pixels of images of the data set's size, decoded in as many threads as there are cores.

    EXIF orientation is ignored, as by torchvision's ImageFolder.
    """
    import numpy as np

    from .decode import in_threads, read_rgb

    side = dataset.size
    pixels = np.empty((len(paths), 3, side, side), dtype=np.uint8)

    def one(index: int) -> None:
        try:
            image = read_rgb(paths[index])
        except BadData as error:
            raise BadData(f"{error}; {dataset.advice}") from error
        if dataset.own:
            image = fitted(image, side)
        if image.size != (side, side):
            raise dataset.fault(paths[index], f"{image.width} x {image.height} pixels", f"{side} x {side}")
        pixels[index] = np.asarray(image).transpose(2, 0, 1)

    in_threads(one, range(len(paths)), os.cpu_count() or 1)
    return pixels


def fitted(image: Image.Image, side: int) -> Image.Image:
    """The largest square in the middle of an RGB image, resized (bicubic, Pillow's whole numbers) to `side` pixels."""
    from PIL import Image

    width, height = image.size
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    middle = image.crop((left, top, left + short, top + short))
    return middle.resize((side, side), Image.Resampling.BICUBIC)
