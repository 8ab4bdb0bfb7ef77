"""Odd images: one picture in formats, modes and states of damage that real folders hold. On the path of every test."""

from __future__ import annotations

import random
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mutations import STAND_INS, write
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[Any]  # uint8, height x width x 3


class Odd(NamedTuple):
    """One state of a file."""

    make: Callable[[Path, Pixels], Any]  # writes it; gives the pixels that it then shows, None = it must be refused
    tolerance: int = 1  # of 255
    refusable: bool = False  # whether an error is right, too


def picture(height: int, width: int) -> Pixels:
    """A smooth one without symmetry."""
    rows, columns = np.mgrid[:height, :width]
    shade = np.stack([rows / height, columns / width, (rows + 2 * columns) / (height + 2 * width)], axis=2)
    return np.asarray(40 + 170 * shade).astype(np.uint8)


def _saved(mode: str, kind: str, **options: Any) -> Callable[[Path, Pixels], Pixels]:
    def make(path: Path, pixels: Pixels) -> Pixels:
        image = Image.fromarray(pixels).convert(mode)
        image.save(path, kind, **options)
        return np.asarray(image.convert("RGB"))

    return make


def _grey16(path: Path, pixels: Pixels, kind: str = "PNG") -> Pixels:
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(path, kind)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _of_type(dtype: str) -> Callable[[Path, Pixels], None]:
    def make(path: Path, pixels: Pixels) -> None:
        Image.fromarray((pixels[:, :, 0] * 1000.5).astype(dtype)).save(path, "TIFF")

    return make


def _sized(height: int, width: int) -> Callable[[Path, Pixels], None]:
    return lambda path, _: Image.fromarray(picture(height, width)).save(path, "PNG")


def _cut(kind: str, share: float) -> Callable[[Path, Pixels], None]:
    def make(path: Path, pixels: Pixels) -> None:
        Image.fromarray(pixels).save(path, kind)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return make


def _content(content: bytes) -> Callable[[Path, Pixels], None]:
    return lambda path, _: write(path, content)


def _bomb(path: Path, pixels: Pixels) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    write(path, b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def _stand_in(name: str) -> Callable[[Path, Pixels], None]:
    return lambda path, _: STAND_INS[name](path)


def _beside(name: str) -> Callable[[Path, Pixels], Pixels]:
    """The picture as it is, and a hidden folder or file beside it."""

    def make(path: Path, pixels: Pixels) -> Pixels:
        Image.fromarray(pixels).save(path, "PNG")
        (path.parent / name).parent.mkdir(exist_ok=True)
        shutil.copy(path, path.parent / name)
        return pixels

    return make


def _nul_header(path: Path, pixels: Pixels) -> None:
    Image.fromarray(pixels).save(path, "PNG")
    path.write_bytes(bytes(8) + path.read_bytes()[8:])


ODD: dict[str, Odd] = {
    "PNG": Odd(_saved("RGB", "PNG")),
    "BMP": Odd(_saved("RGB", "BMP"), refusable=True),
    "TIFF": Odd(_saved("RGB", "TIFF"), refusable=True),
    "WebP": Odd(_saved("RGB", "WEBP", lossless=True), refusable=True),
    "JPEG": Odd(_saved("RGB", "JPEG", quality=95), tolerance=40),
    "16-bit grey PNG": Odd(_grey16, refusable=True),
    "16-bit grey TIFF": Odd(lambda path, pixels: _grey16(path, pixels, "TIFF"), refusable=True),
    "8-bit grey": Odd(_saved("L", "PNG")),
    "grey with alpha": Odd(_saved("LA", "PNG"), refusable=True),
    "palette": Odd(_saved("P", "PNG"), tolerance=1),
    "RGBA": Odd(_saved("RGBA", "PNG")),
    "CMYK JPEG": Odd(_saved("CMYK", "JPEG", quality=95), tolerance=60, refusable=True),
    "1-bit": Odd(_saved("1", "PNG"), refusable=True),
    "32-bit integers": Odd(_of_type("int32")),
    "floats": Odd(_of_type("float32")),
    "1 x 1": Odd(_sized(1, 1)),
    "no square": Odd(_sized(7, 90)),
    "a JPEG cut short": Odd(_cut("JPEG", 0.7)),
    "a PNG cut short": Odd(_cut("PNG", 0.6)),
    "a header alone": Odd(_cut("PNG", 0.02)),
    "a header of NULs": Odd(_nul_header),
    "text": Odd(_content(b"not an image\n")),
    "HTML": Odd(_content(b"<html>404</html>")),
    "noise": Odd(_content(random.Random(0).randbytes(500))),
    "empty": Odd(_content(b"")),
    "a bomb": Odd(_bomb),
    "hidden copies beside it": Odd(_beside(".ipynb_checkpoints/copy.png")),
    "a hidden file beside it": Odd(_beside("._copy.png")),
    **{name: Odd(_stand_in(name)) for name in STAND_INS if name != "missing"},
}
