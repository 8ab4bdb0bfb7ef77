"""Printable: text of others, such as names, errors and logs, as one line without escape sequences for a terminal."""

from __future__ import annotations

import unicodedata

# Unicode categories
CONTROLS = ("Cc", "Cs", "Zl", "Zp")  # control characters, bytes that are no UTF-8, ends of lines
HIDDEN = ("Cf",)  # reversals of direction and the like; some scripts need such letters in a name


def printable(text: str) -> str:
    """The same text on one line; control characters, escape sequences and reversals of direction become visible."""
    return "".join(_shown(letter) for letter in text)


def is_plain(text: str) -> bool:
    """Whether a text holds no control characters and is UTF-8, so that it may be a name."""
    return not any(unicodedata.category(letter) in CONTROLS for letter in text)


def _shown(letter: str) -> str:
    safe = unicodedata.category(letter) not in (*CONTROLS, *HIDDEN)
    return letter if safe else letter.encode("unicode_escape").decode()
