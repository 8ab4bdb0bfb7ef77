"""The one reader of JSON files: what is damaged is one error that begins with the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from compmod.pretrain.stored_json import DEEPEST, parse_json, read_object


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "Expecting value"),
        (b"\0\0\0", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"[1]", "not a JSON object"),
        (b"7", "not a JSON object"),
        (b'{"a": NaN}', "NaN is no finite number"),
        (b'{"a": -Infinity}', "-Infinity is no finite number"),
        (b'{"a": 1e999}', "a number too large for 64 bits"),
        (b'{"a": [' + b"9" * 320 + b"]}", "a whole number too large for 64 bits"),
        (b'{"a": ' + b"9" * 5000 + b"}", "integer string conversion"),
        (b'{"a": "\xff"}', "can't decode byte 0xff"),
        (b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}", f"nested more than {DEEPEST} levels deep"),
        (b'{"a": ' + b"[" * 100_000, f"nested more than {DEEPEST} levels deep"),
    ],
)
def test_what_is_damaged_is_one_error_that_begins_with_the_file(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "results.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=reason) as caught:
        read_object(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_a_folder_in_a_files_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{tmp_path}: Is a directory"):
        read_object(tmp_path)


def test_no_file_is_none(tmp_path: Path) -> None:
    assert read_object(tmp_path / "results.json") is None


def test_a_sound_value_is_returned_as_it_is() -> None:
    assert parse_json(b'{"a": [1, 0.5, null, true, "\xc3\xa4"]}', "x") == {"a": [1, 0.5, None, True, "ä"]}
