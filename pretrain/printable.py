"""Printable: what others wrote, such as names, errors and logs, as one line that no terminal obeys."""

from __future__ import annotations


def printable(text: str) -> str:
    """The same text on one line; control characters, escape sequences and reversals of direction become visible."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
