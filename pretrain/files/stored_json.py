"""Stored JSON: the one reader of every JSON file of the project, because others may have changed a file on disk.

What it returns holds finite numbers that fit 64 bits, letters that can be printed in some encoding and no name twice,
and is not deeply nested. Any other content, and any file that is not regular, is one ValueError that begins with the
file's path. Imports no torch.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from .printable import printable
from .regular_file import open_regular

MEBIBYTE = 2**20
MOST_BYTES = 64 * MEBIBYTE  # of one JSON file
MOST_LINE_BYTES = MEBIBYTE  # of one line of a file of lines, which has some hundreds
MOST_LINES_BYTES = 1024 * MEBIBYTE  # of such a file
SAID = 200  # letters of what a remark quotes
DEEPEST = 64  # levels of lists and objects; specs, the deepest of ours, have less than ten
LARGEST = 2**63  # of whole numbers


def parse_json(content: bytes, where: object) -> Any:
    """The value of one JSON text. Raises ValueError that begins with `where`, the file's path and perhaps its line."""

    def strict(text: str) -> Any:
        value = json.loads(text, parse_constant=_refuse, object_pairs_hook=_object)
        _check(value, DEEPEST)
        return value

    return _parsed(content, where, strict)


def parse_large(content: bytes, where: object) -> Any:
    """`parse_json` for hundreds of megabytes, without its checks: the caller checks type and range of what it uses.

    Numbers may be infinite or more than 64 bits wide, and lists some hundred levels deep.
    """
    return _parsed(content, where, lambda text: json.loads(text, parse_constant=_refuse))


def _parsed(content: bytes, where: object, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(content.decode())
    except RecursionError:
        raise ValueError(f"{where}: nested more than {DEEPEST} levels deep") from None
    except ValueError as error:
        raise ValueError(f"{where}: {shortened(str(error))}") from error


def parse_object(content: bytes, where: object) -> dict[str, Any]:
    """`parse_json` of a text that must be an object."""
    value = parse_json(content, where)
    if not isinstance(value, dict):
        raise ValueError(f"{where}: not a JSON object")
    return value


def read_object(file: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The JSON object in a file, or None where there is no file. Raises ValueError that begins with its path."""
    content = read_regular(file)
    return None if content is None else parse_object(content, os.fspath(file))


def read_lines(file: str | os.PathLike[str]) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """The lines of a file of JSON objects, each with its object, or None where it is damaged.

    No line where there is no file. Raises ValueError, which begins with the file's path, on what cannot be read.
    """
    opened = _open(file, MOST_LINES_BYTES)
    if opened is None:
        return
    try:
        with opened as lines:
            while line := lines.readline(MOST_LINE_BYTES):
                try:
                    yield line, parse_object(line, os.fspath(file))
                except ValueError:
                    yield line, None
    except OSError as error:
        raise ValueError(f"{os.fspath(file)}: {error.strerror}") from error


def read_regular(file: str | os.PathLike[str], most: int = MOST_BYTES) -> bytes | None:
    """The content of a regular file, or None where there is none.

    A file that would block or fill the memory is refused. Raises ValueError that begins with the file's path.
    """
    opened = _open(file, most)
    if opened is None:
        return None
    try:
        with opened:
            return opened.read()
    except OSError as error:
        raise ValueError(f"{os.fspath(file)}: {error.strerror}") from error


def shortened(text: str) -> str:
    """Text of others as a remark quotes it: one line of at most SAID letters."""
    return printable(text if len(text) <= SAID else f"{text[:SAID]}…")


def _open(file: str | os.PathLike[str], most: int) -> io.BufferedReader | None:
    """A regular file of at most `most` bytes, or None where there is none."""
    try:
        opened = open_regular(file)
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.path.islink(file):
            raise ValueError(f"{os.fspath(file)}: a link to nothing") from error
        return None
    except OSError as error:
        raise ValueError(f"{os.fspath(file)}: {error.strerror}") from error
    size = os.fstat(opened.fileno()).st_size
    if size <= most:
        return opened
    opened.close()
    raise ValueError(f"{os.fspath(file)}: {size:,} bytes, more than {most:,}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"{twice!r} is there twice")
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no finite number")


def _check(value: Any, levels: int) -> None:
    if isinstance(value, dict | list):
        if not levels:
            raise RecursionError
        for part in (*value, *value.values()) if isinstance(value, dict) else value:
            _check(part, levels - 1)
    elif isinstance(value, str):
        if not value.isascii():
            value.encode()  # half of a letter, such as "\ud800", is an error, which printing it would be later
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number too large for 64 bits")
    elif isinstance(value, int) and not -LARGEST <= value < LARGEST:
        raise ValueError("a whole number too large for 64 bits")
