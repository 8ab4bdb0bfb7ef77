"""Printable: what others wrote, such as names, errors and logs, as one line that no terminal obeys."""

from __future__ import annotations

import unicodedata

# Unicode categories: control characters, reversals of direction and the like, bytes that are no UTF-8, ends of lines
UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")


def printable(text: str) -> str:
    """The same text on one line; control characters, escape sequences and reversals of direction become visible."""
    return "".join(_spelled_out(letter) if _unsafe(letter) else letter for letter in text)


def is_plain(text: str) -> bool:
    """Whether a text holds nothing that `printable` would change."""
    return not any(map(_unsafe, text))


def _unsafe(letter: str) -> bool:
    return unicodedata.category(letter) in UNSAFE


def _spelled_out(letter: str) -> str:
    return letter.encode("unicode_escape").decode()
