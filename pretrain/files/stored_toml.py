"""Stored TOML: the one reader of the files that users write, which are sections of one kind: [dataset.NAME]."""

from __future__ import annotations

import tomllib
from typing import Any


def sections(content: bytes, kind: str) -> dict[str, dict[str, Any]]:
    """The sections [kind.NAME] of a file, by name. Raises ValueError, without the file's path, on other content."""
    try:
        document = tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text: {error.reason} at byte {error.start}") from error
    except RecursionError:
        raise ValueError("nested too deep") from None
    if others := sorted(set(document) - {kind}):
        raise ValueError(f"unknown section {others[0]!r}; expected [{kind}.NAME]")
    entries = document.get(kind, {})
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise ValueError(f"expected sections [{kind}.NAME]")
    return entries
