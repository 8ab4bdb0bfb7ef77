"""Reading: the tensors of a file of weights, under the names that it gives them, without running code of it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ..files.regular_file import open_regular
from .tensors_only import RefusedPickle, TensorsOnly

MOVES_NO_NUMBER = "reads weights, and their checksum is in the spec's digest"

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".torch", ".pth.tar")
LEVELS = 12  # of dicts and lists inside one another that are looked into
_ZIP = b"PK"
ADVICE = "one that needs code to be read is refused: save its state_dict() alone"


@dataclass(frozen=True)
class Stored:
    """What a file of weights holds."""

    tensors: dict[str, Tensor]  # by names such as state_dict.encoder.conv1.weight, with a dot for every level
    sha256: str  # of the file
    ignored: tuple[str, ...] = ()  # classes of what else is in it, which was not read


def read_tensors(path: Path) -> Stored:
    """All tensors in a file of safetensors or torch, at any depth. Objects of other classes are left out, unread.

    Raises ValueError on a file that holds no tensors, or cannot be read without running code.
    """
    if not path.name.endswith(SUFFIXES):
        raise ValueError(f"cannot tell what {path} holds by its name; expected {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"no weights at {path}")
    try:
        with open_regular(path) as handle:
            content = handle.read()
        value, ignored = _safetensors(content) if path.suffix == ".safetensors" else _torch(content)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    except RuntimeError as error:
        raise ValueError(f"{path} is no file of plain tensors, or a damaged one: {_first_sentence(error)}") from error
    except Exception as error:  # torch.load documents no type, and its message advises to run the file's code
        raise ValueError(f"{path} is no file of plain tensors ({type(error).__name__}); {ADVICE}") from error
    tensors = dict(_tensors(value, "", LEVELS, set())) if isinstance(value, dict) else {}
    if not tensors:
        raise ValueError(f"{path} holds {_inside(value, ignored)}; expected names with tensors, of a state_dict()")
    return Stored(tensors, hashlib.sha256(content).hexdigest(), ignored)


def few(names: list[str]) -> str:
    """The first five, and how many more."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _safetensors(content: bytes) -> tuple[Any, tuple[str, ...]]:
    return safetensors.torch.load(content), ()


def _torch(content: bytes) -> tuple[Any, tuple[str, ...]]:
    """What `torch.save` wrote, and the names of what was not read of it."""
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True), ()
    except RefusedPickle:  # it names a class that PyTorch does not know as harmless
        if not content.startswith(_ZIP):  # a file of PyTorch before 1.6, or no file of PyTorch
            raise
    reader = TensorsOnly(content)
    return reader.load(), tuple(reader.ignored)


def _tensors(value: Any, name: str, levels: int, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """The tensors inside dicts and lists; one that stands in two places is found in the first."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict | list | tuple) and levels and id(value) not in seen:
        seen.add(id(value))
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _tensors(part, f"{name}.{key}" if name else str(key), levels - 1, seen)


def _first_sentence(error: Exception) -> str:
    """Of PyTorch's message, which goes on with advice."""
    return " ".join(str(error).split()).partition(". ")[0][:200]


def _inside(value: Any, ignored: tuple[str, ...]) -> str:
    """What there is in place of tensors, in words."""
    if ignored:
        return f"no tensors but objects of {few(list(ignored))}, and {ADVICE}"
    return f"a dict of {few(list(map(str, value)))}" if isinstance(value, dict) else f"a {type(value).__name__}"
