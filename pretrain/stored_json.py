"""Stored JSON: the one reader of every JSON file of the project, for others may have touched what lies on disk.

What it returns holds finite numbers that fit 64 bits and is not deeply nested; everything else is one ValueError that
begins with the file's path. Imports no torch.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from typing import Any

DEEPEST = 64  # levels of lists and objects; specs, the deepest of ours, have less than ten
LARGEST = 2**63  # of whole numbers


def parse_json(content: bytes, where: object) -> Any:
    """The value of one JSON text. Raises ValueError that begins with `where`, the file's path and perhaps its line."""
    return _parsed(content, where, _check)


def parse_large(content: bytes, where: object) -> Any:
    """`parse_json` for hundreds of megabytes, without its walk: who calls it checks type and range of what is used.

    Numbers may be infinite or more than 64 bits wide, and lists some hundred levels deep.
    """
    return _parsed(content, where, lambda value, levels: None)


def _parsed(content: bytes, where: object, check: Callable[[Any, int], None]) -> Any:
    try:
        value = json.loads(content.decode(), parse_constant=_refuse)
        check(value, DEEPEST)
    except RecursionError:
        raise ValueError(f"{where}: nested more than {DEEPEST} levels deep") from None
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return value


def parse_object(content: bytes, where: object) -> dict[str, Any]:
    """`parse_json` of a text that must be an object."""
    value = parse_json(content, where)
    if not isinstance(value, dict):
        raise ValueError(f"{where}: not a JSON object")
    return value


def read_object(file: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The JSON object in a file, or None where there is no file. Raises ValueError that begins with its path."""
    try:
        with open(file, "rb", buffering=0) as handle:
            content = handle.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ValueError(f"{os.fspath(file)}: {error.strerror}") from error
    return parse_object(content, os.fspath(file))


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no finite number")


def _check(value: Any, levels: int) -> None:
    if isinstance(value, dict | list):
        if not levels:
            raise RecursionError
        for part in value.values() if isinstance(value, dict) else value:
            _check(part, levels - 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number too large for 64 bits")
    elif isinstance(value, int) and not -LARGEST <= value < LARGEST:
        raise ValueError("a whole number too large for 64 bits")
