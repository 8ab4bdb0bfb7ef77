"""Mutations: what may have happened to a file that others, a crash or another program have touched.

Of any file: its bytes, or what stands in its place; of JSON: every field; of images: other formats, pixels and sizes.
Nothing here chooses by chance but by the generator that is passed in. On the path of every test.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Bytes = Callable[[bytes, random.Random], bytes]
Place = tuple[str | int, ...]  # keys and indices from the document down to a value

DEEP = "[" * 100_000
MARK = "\u241f the mutated value \u241f"
REMOVED, EXTRA, TWICE = "removed", "with another key", "an element twice"


class Mutation(NamedTuple):
    """One change of one file."""

    name: str
    apply: Callable[[Path], None]


def _flip(content: bytes, chance: random.Random) -> bytes:
    if not content:
        return b"\x01"
    place = chance.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1 :]


def _insert(what: bytes) -> Bytes:
    def insert(content: bytes, chance: random.Random) -> bytes:
        place = chance.randrange(len(content) + 1)
        return content[:place] + what + content[place:]

    return insert


BYTES: dict[str, Bytes] = {
    "empty": lambda content, chance: b"",
    "cut short": lambda content, chance: content[: chance.randrange(len(content) or 1)],
    "NULs": lambda content, chance: bytes(len(content)),
    "NULs at the end": lambda content, chance: content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
    "one bit flipped": _flip,
    "another bit flipped": _flip,
    "twice": lambda content, chance: content + content,
    "noise": lambda content, chance: chance.randbytes(200),
    "not UTF-8": _insert(b"\xff\xfe\xc3"),
    "an escape sequence": _insert(b"\x1b[31m"),
    "BOM": lambda content, chance: b"\xef\xbb\xbf" + content,
    "CRLF": lambda content, chance: content.replace(b"\n", b"\r\n"),
    "UTF-16": lambda content, chance: content.decode("latin-1").encode("utf-16"),
    "deep": lambda content, chance: DEEP.encode(),
    "deep objects": lambda content, chance: b'{"a":' * 100_000,
    "a list": lambda content, chance: b"[1, 2]",
    "a number": lambda content, chance: b"3",
    "null": lambda content, chance: b"null",
    "NaN": lambda content, chance: b"NaN",
    "an empty object": lambda content, chance: b"{}",
}


def _removed(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _folder(path: Path) -> None:
    _removed(path)
    path.mkdir()


def _link(target: str) -> Callable[[Path], None]:
    def link(path: Path) -> None:
        _removed(path)
        path.symlink_to(target.format(name=path.name))

    return link


def _pipe(path: Path) -> None:
    _removed(path)
    os.mkfifo(path)


def _socket(path: Path) -> None:
    _removed(path)
    before = os.getcwd()
    os.chdir(path.parent)  # a socket's path has at most a hundred characters
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


STAND_INS: dict[str, Callable[[Path], None]] = {
    "missing": _removed,
    "a folder": _folder,
    "a dangling link": _link("nowhere"),
    "a link to itself": _link("{name}"),
    "a link to a device": _link("/dev/null"),
    "a pipe": _pipe,
    "a socket": _socket,
}

VALUES: tuple[str, ...] = (  # as they stand in JSON
    *("null", "true", "false", "-1", "0", "0.5", "1", "1e308", "-1e308", "1e999", "NaN", "-Infinity", "9" * 320),
    *(
        str(2**63),
        str(10**15),
        '""',
        '"x"',
        '"0"',
        '"../../x"',
        r'"\u001b[31mred"',
        r'"a\nb"',
        r'"\ud800"',
        r'"\u0000"',
    ),
    *('"é"', "[]", "[0]", "[[]]", "{}", '{"x": 1}', DEEP + "]" * len(DEEP)),
)


def of_bytes(chance: random.Random) -> list[Mutation]:
    """Every change of a file's bytes."""

    def changed(change: Bytes) -> Callable[[Path], None]:
        seed = chance.random()
        return lambda path: write(path, change(path.read_bytes(), random.Random(seed)))

    return [Mutation(name, changed(change)) for name, change in BYTES.items()]


def of_place() -> list[Mutation]:
    """Everything that may stand in a file's place."""
    return [Mutation(name, change) for name, change in STAND_INS.items()]


def of_json(document: Any, chance: random.Random, count: int, values: Sequence[str] = VALUES) -> list[Mutation]:
    """`count` changes of a document's fields, every kind of field as likely as every other."""
    by_shape: dict[str, list[Place]] = {}
    for place in places(document):
        by_shape.setdefault(shape(place), []).append(place)
    found: dict[str, Mutation] = {}
    for _ in range(20 * count):
        if len(found) == count:
            break
        place = chance.choice(by_shape[chance.choice(list(by_shape))])
        value = chance.choice([*values, *values, REMOVED, REMOVED, EXTRA, TWICE])
        name = f"{'.'.join(map(str, place)) or 'all'}: {value if len(value) < 40 else value[:20] + '...'}"
        if (text := edited(document, place, value)) is not None:
            found.setdefault(name, Mutation(name, _written(text)))
    return list(found.values())


def _written(text: str) -> Callable[[Path], None]:
    return lambda path: write(path, text.encode())


def write(path: Path, content: bytes) -> None:
    """The content, whatever was there."""
    _removed(path)
    path.write_bytes(content)


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """That of every value below, the document's own first."""
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield from places(part, (*place, key))


def shape(place: Place) -> str:
    """The place with any index for an index: those of one shape are of one kind."""
    return ".".join("*" if isinstance(part, int) else part for part in place)


def at(document: Any, place: Place) -> Any:
    """The value there."""
    for part in place:
        document = document[part]
    return document


def edited(document: Any, place: Place, value: str) -> str | None:
    """The document as text with that in place of the value; None where it cannot be done."""
    copy = json.loads(json.dumps({"": document}))
    parent, key = at(copy, ("", *place)[:-1]), ("", *place)[-1]
    old = parent[key]
    if value == REMOVED:
        if not place:
            return None
        del parent[key]
    elif value == EXTRA:
        if not isinstance(old, dict):
            return None
        old["another \x1b[31m key"] = 1
    elif value == TWICE:
        if not isinstance(old, list) or not old:
            return None
        old.append(old[0])
    else:
        parent[key] = MARK
    return json.dumps(copy[""], indent=2).replace(json.dumps(MARK), value)
