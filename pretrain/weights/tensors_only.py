"""Tensors only: what `torch.save` wrote, read without the classes that its pickle names.

A checkpoint of Lightning or solo-learn holds its settings as objects of classes that may be absent or hostile. Each
becomes an empty object here, whose class is made on the spot and does nothing; tensors are built by this file's code.
The form is that of PyTorch 1.6 and later: a zip archive with `data.pkl` and the bytes of every storage.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

MOVES_NO_NUMBER = "reads weights, and their checksum is in the spec's digest"

RefusedPickle = pickle.UnpicklingError  # also of torch.load with weights_only=True
_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class TensorsOnly(pickle.Unpickler):
    """Reads the pickle of one archive; `ignored` names the classes and functions that it did not call."""

    def __init__(self, content: bytes) -> None:
        """Raises ValueError on anything but an archive that `torch.save` writes."""
        self.archive = zipfile.ZipFile(io.BytesIO(content))
        pickles = [name for name in self.archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"an archive with {len(pickles)} files data.pkl, not one")
        self.folder = pickles[0].removesuffix("data.pkl")
        if f"{self.folder}byteorder" in self.archive.namelist() and self._bytes("byteorder") != b"little":
            raise ValueError("written on a machine of the other byte order")
        self.ignored: dict[str, None] = {}
        self.storages: dict[str, Tensor] = {}
        super().__init__(io.BytesIO(self._bytes("data.pkl")))

    def find_class(self, module: str, name: str) -> Any:
        """What builds tensors, and a class of its own that does nothing for every other name."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _fresh(_tensor)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _fresh(_data)
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return _DTYPES[name]
        self.ignored[f"{module}.{name}"] = None
        return type("Ignored", (_Ignored,), {})

    def persistent_load(self, pid: Any) -> Tensor:
        """The storage of a tensor, as a tensor of one dimension."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"a storage of a kind that is not read: {kind!r}, {dtype!r}")
        if key not in self.storages:
            content = bytearray(self._bytes(f"data/{key}"))
            if len(content) != count * dtype.itemsize:
                raise pickle.UnpicklingError(f"{len(content)} bytes for {count} numbers of {dtype}")
            self.storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        return self.storages[key]

    def _bytes(self, name: str) -> bytes:
        return self.archive.read(f"{self.folder}{name}")


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return storage.as_strided(size, stride, offset)  # raises where that is outside the storage


def _data(data: Tensor, *_: Any) -> Tensor:
    return data


def _fresh(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function of its own for every time that a pickle names one, for a pickle can change what it names."""
    return lambda *given: function(*given)


class _Ignored:
    """In the place of any object: takes all that a pickle gives it, keeps nothing and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> _Ignored:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any) -> _Ignored:
        return self

    def _nothing(*_: Any) -> None:
        """Also where a pickle gives a class what is meant for an object."""

    __setstate__ = __setitem__ = append = extend = add = _nothing
