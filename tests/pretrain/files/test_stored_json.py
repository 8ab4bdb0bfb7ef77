"""The one reader of JSON files: what is damaged is one error that begins with the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from compmod.pretrain.files.stored_json import DEEPEST, parse_json, read_lines, read_object, read_regular


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
        (b'\xef\xbb\xbf{"a": 1}', "BOM"),
        (b'{"a": 1, "a": 2}', "'a' is there twice"),
        (b'{"a": "\\ud800"}', "surrogates not allowed"),
        (b'{"\\udc80": 1}', "surrogates not allowed"),
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


@pytest.mark.timeout(10)
def test_a_pipe_is_no_file_and_nobody_waits_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "results.json")
    with pytest.raises(ValueError, match=r"results\.json: no regular file"):
        read_object(tmp_path / "results.json")
    with pytest.raises(ValueError, match=r"results\.json: no regular file"):
        list(read_lines(tmp_path / "results.json"))


def test_links_to_nothing_and_in_a_circle_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "nothing")
    (tmp_path / "b").symlink_to(tmp_path / "b")
    with pytest.raises(ValueError, match=r"/a: a link to nothing"):
        read_object(tmp_path / "a")
    with pytest.raises(ValueError, match=r"/b: Too many levels of symbolic links"):
        read_object(tmp_path / "b")


def test_what_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    for size, reader in ((2**26 + 1, read_object), (2**40, read_lines), (2**26 + 1, read_regular)):
        with open(tmp_path / "huge", "wb") as handle:
            handle.truncate(size)
        with pytest.raises(ValueError, match=r"/huge: [\d,]+ bytes, more than"):
            list(reader(tmp_path / "huge") or ())


def test_a_remark_on_a_long_name_is_short(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"%s": 1, "%s": 2}' % (("x" * 10_000,) * 2))
    with pytest.raises(ValueError, match=r"x…$"):
        read_object(tmp_path / "a")


def test_a_damaged_line_and_one_cut_short_have_no_object(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b'{"a": 1}\n\0\0\n[]\n{"a": NaN}\n{"a": 2}\n{"a": 3')
    found = list(read_lines(tmp_path / "a"))
    assert [value for _, value in found] == [{"a": 1}, None, None, None, {"a": 2}, None]
    assert b"".join(line for line, _ in found) == (tmp_path / "a").read_bytes()
    assert list(read_lines(tmp_path / "none")) == []
