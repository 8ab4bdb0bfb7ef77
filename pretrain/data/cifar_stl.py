"""Official files: the readers of CIFAR-10, CIFAR-100 and STL-10 as their authors publish them.

The MD5 sums are those that torchvision lists for the same files (`datasets/cifar.py`, `datasets/stl10.py`). CIFAR's
files are pickles, which can run code. So the checksum is compared first, and the reader builds NumPy arrays and nothing
else: a partial copy, whose checksum is not known, is harmless too.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shorten
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..specs.datasets import Dataset

CHUNK = 1 << 24  # bytes hashed at a time


@dataclass(frozen=True)
class File:
    """One official file."""

    name: str
    md5: str
    images: int  # whose pixels or labels it holds


# Per split: files of images; STL-10's labels are files of their own, listed after their pixels.
FILES: dict[str, dict[str, tuple[File, ...]]] = {
    "cifar10": {
        "train": (
            File("data_batch_1", "c99cafc152244af753f735de768cd75f", 10_000),
            File("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec", 10_000),
            File("data_batch_3", "54ebc095f3ab1f0389bbae665268c751", 10_000),
            File("data_batch_4", "634d18415352ddfa80567beed471001a", 10_000),
            File("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb", 10_000),
        ),
        "test": (File("test_batch", "40351d587109b95175f43aff81a1287e", 10_000),),
    },
    "cifar100": {
        "train": (File("train", "16019d7e3df5f24257cddd939b257f8d", 50_000),),
        "test": (File("test", "f0ef6b0ae62326f3e7ffdfab6717acfc", 10_000),),
    },
    "stl10": {
        "train": (
            File("train_X.bin", "918c2871b30a85fa023e0c44e0bee87f", 5_000),
            File("train_y.bin", "5a34089d4802c674881badbb80307741", 5_000),
        ),
        "unlabeled": (File("unlabeled_X.bin", "5242ba1fed5e4be9e1e742405eb56ca4", 100_000),),
        "test": (
            File("test_X.bin", "7f263ba9f9e0b06b93213547f721ac82", 8_000),
            File("test_y.bin", "36f9794fa4beb8a2c72628de14fa638e", 8_000),
        ),
    },
}


def read(
    dataset: Dataset,
    split: Literal["pretrain", "train", "test"],
    folder: Path,
    *,
    whole: bool,
    cache: Path | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pixels (uint8, images x 3 x side x side) and labels (int64) of a split.

    Without `whole` the files are a partial copy: all is checked but their checksums and counts. Reading them takes no
    decoding, so `cache`, an argument of every reader, is not used.
    """
    import numpy as np

    blocks = list((_stl if dataset.name == "stl10" else _cifar)(dataset, split, folder, whole))
    pixels = np.empty((sum(len(block) for block, _ in blocks), 3, dataset.size, dataset.size), dtype=np.uint8)
    start = 0
    for block, _ in blocks:  # STL-10's 2.9 GB go from the file to their place without a second copy
        pixels[start : start + len(block)] = block
        start += len(block)
    return pixels, np.concatenate([labels for _, labels in blocks])


def check(dataset: Dataset, part: str, folder: Path) -> str:
    """What is wrong with one part of a partial copy, "train", "test" or "unlabeled"; "" when nothing is."""
    try:
        for _ in (_stl if dataset.name == "stl10" else _cifar)(dataset, part, folder, False):
            pass
    except ValueError as error:
        return str(error)
    return ""


def _cifar(dataset: Dataset, split: str, folder: Path, whole: bool) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    for file in FILES[dataset.name]["test" if split == "test" else "train"]:
        path = folder / file.name
        if not path.is_file():
            raise dataset.fault(path, "no such file", f"{file.images:,} images")
        content = path.read_bytes()
        if whole:
            check_md5(dataset, path, hashlib.md5(content, usedforsecurity=False).hexdigest(), file.md5)
        pixels, labels = _unpickle(dataset, path, content)
        _check_labels(dataset, path, labels, len(pixels), file, whole)
        yield pixels.reshape(-1, 3, dataset.size, dataset.size), labels


def _unpickle(dataset: Dataset, path: Path, content: bytes) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows of pixels and their labels from one CIFAR pickle."""
    import numpy as np

    row = 3 * dataset.size**2
    expected = f"a CIFAR pickle: 'data' of {row} bytes a row, and labels"
    try:
        batch = ArraysOnly(io.BytesIO(content), encoding="latin1").load()
        pixels = batch["data"]
        labels = np.array(batch["fine_labels" if dataset.name == "cifar100" else "labels"], dtype=object)
    except Exception as error:  # a damaged pickle can raise any exception at all
        raise dataset.fault(path, f"{type(error).__name__}: {error}", expected) from error
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (row,):
        kind = f"{pixels.dtype} of shape {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise dataset.fault(path, f"'data' is {kind}", expected)
    if labels.ndim != 1 or not {int}.issuperset(map(type, labels)):
        raise dataset.fault(path, "labels that are not whole numbers", f"labels 0 to {dataset.classes - 1}")
    if wrong := [label for label in labels if not 0 <= label < dataset.classes]:
        raise dataset.fault(path, f"label {shorten(wrong[0])}", f"0 to {dataset.classes - 1}")
    return pixels, labels.astype(np.int64)


class ArraysOnly(pickle.Unpickler):
    """Reads pickles of plain values and NumPy arrays; any other name in them is an error and is never called."""

    def find_class(self, module: str, name: str) -> Any:
        """The few callables that NumPy's own pickles need, under any NumPy version's name for them."""
        import numpy as np

        old_module = module.replace("numpy._core", "numpy.core")  # NumPy 2 renamed it
        if (old_module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return np.zeros(0).__reduce__()[0]
        if (old_module, name) == ("numpy.core.numeric", "_frombuffer"):  # pickle protocol 5
            return _frombuffer
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes at protocol 2
            return _latin1
        raise pickle.UnpicklingError(f"the pickle names {module}.{name}, which no image array needs")


def _frombuffer(buffer: bytes, dtype: Any, shape: tuple[int, ...], order: Literal["C", "F"]) -> NDArray[Any]:
    import numpy as np

    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}, not latin1")
    return text.encode("latin1")


def _stl(dataset: Dataset, split: str, folder: Path, whole: bool) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    import numpy as np

    files = FILES[dataset.name]
    for part in (files["train"], files["unlabeled"]) if split == "pretrain" else (files[split],):
        bytes_of_image = 3 * dataset.size**2
        image_file = part[0]
        columns = _bytes(dataset, folder / image_file.name, bytes_of_image, image_file, whole)
        pixels = columns.reshape(-1, 3, dataset.size, dataset.size).transpose(0, 1, 3, 2)  # stored column by column
        labels = np.full(len(pixels), -1, dtype=np.int64)
        if len(part) == 2:
            path = folder / part[1].name
            labels = _bytes(dataset, path, 1, part[1], whole).astype(np.int64) - 1  # stored from 1
            _check_labels(dataset, path, labels, len(pixels), part[1], whole)
        yield pixels, labels


def _bytes(dataset: Dataset, path: Path, record: int, file: File, whole: bool) -> NDArray[Any]:
    """A file of records of `record` bytes, mapped into memory after its size and checksum were compared."""
    import numpy as np

    if not path.is_file():
        raise dataset.fault(path, "no such file", f"{file.images * record:,} bytes")
    size = path.stat().st_size
    if (whole and size != file.images * record) or size % record or not size:
        expected = f"{file.images * record:,} bytes" if whole else f"a multiple of {record:,} bytes"
        raise dataset.fault(path, f"{size:,} bytes", expected)
    if whole:
        check_md5(dataset, path, md5(path), file.md5)
    return np.memmap(path, dtype=np.uint8, mode="r")


def _check_labels(dataset: Dataset, path: Path, labels: NDArray[Any], images: int, file: File, whole: bool) -> None:
    if len(labels) != images:
        raise dataset.fault(path, f"{len(labels):,} labels for {images:,} images", "one label an image")
    if images > file.images or not images or (whole and images != file.images):
        raise dataset.fault(path, f"{images:,} images", f"{'' if whole else '1 to '}{file.images:,}")
    wrong = labels[(labels < 0) | (labels >= dataset.classes)]
    if len(wrong):
        raise dataset.fault(path, f"label {wrong[0]}", f"0 to {dataset.classes - 1}")


def md5(path: Path) -> str:
    """MD5 of a file of any size."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as handle:
        while chunk := handle.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def check_md5(dataset: Dataset, path: Path, found: str, expected: str) -> None:
    """Raise ValueError when a file is not the official one."""
    if found != expected:
        raise dataset.fault(path, f"MD5 {found}", f"the official {expected}")
