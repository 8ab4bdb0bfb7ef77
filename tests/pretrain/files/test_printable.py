"""Printable: what others wrote drives no terminal."""

from __future__ import annotations

import pytest
from compmod.pretrain.files.printable import printable


@pytest.mark.parametrize("text", ["Möller", "±2 % | `x` <b>", "日本", "a b"])
def test_letters_of_every_language_stay(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    "text, shown",
    [
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("\x9b31m\x07\x00", "\\x9b31m\\x07\\x00"),
        ("\u202egnp.exe", "\\u202egnp.exe"),  # right-to-left override
        ("\u2028\ud800", "\\u2028\\ud800"),  # a line separator, and half of a letter, which no terminal can encode
    ],
)
def test_what_is_no_letter_becomes_visible(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode()
