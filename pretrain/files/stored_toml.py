"""Stored TOML: the one reader of the files that users write, most of them sections of one kind: [dataset.NAME]."""

from __future__ import annotations

import tomllib
from typing import Any

from .stored_json import shortened


def sections(content: bytes, kind: str) -> dict[str, dict[str, Any]]:
    """The sections [kind.NAME] of a file, by name. Raises ValueError, without the file's path, on other content."""
    document = _parsed(content)
    if others := sorted(set(document) - {kind}):
        raise ValueError(f"unknown section {others[0]!r}; expected [{kind}.NAME]")
    entries = document.get(kind, {})
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise ValueError(f"expected sections [{kind}.NAME]")
    return entries


def parse_toml(content: bytes, where: object) -> dict[str, Any]:
    """A whole document. Raises ValueError that begins with `where`, the file's path."""
    try:
        return _parsed(content)
    except ValueError as error:
        raise ValueError(f"{where}: {shortened(str(error))}") from error


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text: {error.reason} at byte {error.start}") from error
    except RecursionError:
        raise ValueError("nested too deep") from None
