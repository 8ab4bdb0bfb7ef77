"""Open images: the one place of the project that opens an image file, so that all data become pixels in the same way.

Pillow reads; where a tensor is wanted, torchvision's JPEG decoder makes the same pixels of plain JPEGs in less time.
Colours other than RGB are converted as by torchvision's reader (transparency is dropped, not blended).
16 bits become 8 as the format means: the darkest value is 0 and the lightest 255. Images of 32-bit numbers have no
lightest value and are refused. Every fault is a BadData of one line that begins with the file. Only `to_tensor`
imports torch.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import os
import stat
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from ..files.bad_data import BadData

if TYPE_CHECKING:
    from torch import Tensor

ONLY_LARGE_IMAGES = "decodes images that stay on disk; those in memory have a digest of their pixels"

Item = TypeVar("Item")
Made = TypeVar("Made")
THREADS = 16  # files opened at once; the disk's answer takes most of the time
BLOCK = 10_000  # items given to the threads at a time: a million would take gigabytes
EXPECTED = "a PNG or JPEG"
RANGED = {"PNG": 65535, "PPM": 65535, "JPEG2000": 65535}  # formats whose 16-bit grey Pillow stretches over all 16 bits
_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 258, 262  # tags of EXIF and TIFF
_TURNS = {  # EXIF orientation -> the turn that undoes it; 1 = none
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_TURNS[5], _TURNS[6], _TURNS[7], _TURNS[8]}  # width and height change places
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_LIBRARY = "image*.so"  # torchvision's of image formats, loaded in milliseconds; image_stable.so from 0.29 on
_RGB = 3  # torchvision's ImageReadMode.RGB
_BASELINE, _SCAN = 0xC0, 0xDA  # markers of a JPEG: a baseline frame and a scan
_TABLES = frozenset({0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})  # also restart intervals, comments, applications
_SAMPLING = {b"\x11", b"\x11\x11\x11", b"\x21\x11\x11", b"\x22\x11\x11"}  # grey; 4:4:4, 4:2:2, 4:2:0
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"\x00\x00\x00\x00IEND\xaeB`\x82"}  # of a whole file


def open_image(path: Path) -> Image.Image:
    """An image whose header has been read, and whose file has been read whole: one visit to a slow disk.

    Raises BadData, also where the image's numbers have no defined range.
    """
    with _regular(path) as file:
        try:
            content = file.read()
        except OSError as error:
            raise _undecodable(path, error) from error
    return _opened(path, io.BytesIO(content))


def to_rgb(image: Image.Image, path: Path, *, upright: bool = False) -> Image.Image:
    """The image of `open_image` as 8-bit RGB.

    EXIF orientation is ignored, as by torchvision's ImageFolder; with `upright` it is undone, as by Detectron2's
    reader. Raises BadData where the file is truncated or damaged.
    """
    try:
        turn, largest = _turn(image) if upright else None, _largest(image)
        if image.mode == "P":  # Pillow warns of palettes with several transparent colours, which RGB drops
            image.info.pop("transparency", None)
        if largest is not None:
            image = _eight_bits(image, largest)
        return (image if turn is None else image.transpose(turn)).convert("RGB")
    except Exception as error:  # a damaged file can make Pillow raise any exception at all
        raise _undecodable(path, error) from error


def read_rgb(path: Path, *, upright: bool = False) -> Image.Image:
    """`open_image`, then `to_rgb`."""
    return to_rgb(open_image(path), path, upright=upright)


def to_tensor(image: Image.Image, path: Path) -> Tensor:
    """The image of `open_image` as 8-bit RGB on the CPU: uint8, 3 x height x width, the channels last in memory.

    EXIF orientation is ignored. The pixels are those of `to_rgb`, and so is BadData. Of a JPEG with damaged data that
    every decoder fills, libjpeg prints a warning, which Pillow hides.
    """
    import torch

    file = getattr(image, "fp", None)
    content = file.getvalue() if isinstance(file, io.BytesIO) else b""
    if _is_plain_jpeg(content, image.size) and (decode := _jpeg_decoder()):
        with contextlib.suppress(RuntimeError):  # truncated or damaged: Pillow finds the same, and says how far it came
            return decode(torch.frombuffer(bytearray(content), dtype=torch.uint8), _RGB, False)
    return torch.from_numpy(np.array(to_rgb(image, path))).permute(2, 0, 1)


def checked_size(path: Path, *, upright: bool = False) -> tuple[int, int]:
    """Width and height by the header alone, of a file that ends where its format ends. Raises BadData.

    A file with another end is decoded, to tell whether it is truncated.
    """
    with _regular(path) as file:
        image = _opened(path, file)
        width, height = image.size
        try:
            turn = _turn(image) if upright else None
            whole = _ends_whole(file, image.format)
        except Exception as error:  # as in `to_rgb`
            raise _undecodable(path, error) from error
        if not whole:
            file.seek(0)
            to_rgb(_opened(path, file), path)
    return (height, width) if turn in _SIDEWAYS else (width, height)


def in_threads(work: Callable[[Item], Made], items: Iterable[Item], threads: int = THREADS) -> list[Made]:
    """The results of `work` for every item, in order. An error of one of them ends the others and is raised."""
    pool, waiting, made = ThreadPoolExecutor(threads), iter(items), list[Made]()
    try:
        while block := list(islice(waiting, BLOCK)):
            made += pool.map(work, block)
    finally:
        pool.shutdown(cancel_futures=True)
    return made


def kind_of(path: Path) -> str:
    """What a path leads to: "" for a regular file, "a folder", "a dangling link", "a FIFO", ..."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return "a dangling link" if path.is_symlink() else f"nothing readable ({error.strerror})"
    return _kind(mode)


def _kind(mode: int) -> str:
    return "" if stat.S_ISREG(mode) else next((kind for test, kind in _KINDS if test(mode)), "no regular file")


def _regular(path: Path) -> IO[bytes]:
    """A regular file, opened without waiting: opening a FIFO would otherwise never end."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a NUL or half a surrogate pair in the name
        if isinstance(error, OSError) and (kind := kind_of(path)) and "nothing" not in kind:
            raise _fault(path, kind) from error
        raise _undecodable(path, error) from error
    if kind := _kind(os.fstat(number).st_mode):
        os.close(number)
        raise _fault(path, kind)
    return os.fdopen(number, "rb")


def _opened(path: Path, file: IO[bytes]) -> Image.Image:
    _raise_pillows_warning()
    try:
        image = Image.open(file)
        _refuse_bomb(image)
        largest = _largest(image)
    except Exception as error:  # a damaged header can make Pillow raise any exception at all
        raise _undecodable(path, error) from error
    if largest is None and image.mode.startswith(("F", "I")):
        kind = {"F": "floating-point numbers", "I": "32-bit whole numbers"}.get(image.mode, "16-bit numbers")
        raise BadData(
            f"{path}: found an image of {kind}, which have no defined range; expected {EXPECTED} of 8 or 16 bits"
        )
    return image


@functools.cache
def _raise_pillows_warning() -> None:
    """Pillow warns of an image of 90 to 180 million pixels; the warning does not name the file, and our error does."""
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def _refuse_bomb(image: Image.Image) -> None:
    """Raise an error for an image larger than Pillow's limit, whatever the caller does with Pillow's warning."""
    pixels, limit = image.width * image.height, Image.MAX_IMAGE_PIXELS
    if limit is not None and pixels > limit:
        raise Image.DecompressionBombError(f"Image size of {pixels:,} pixels is that of a decompression bomb")


def _largest(image: Image.Image) -> int | None:
    """The value of white in an image of one channel of 16 bits, below 0 where it is that of black.

    None for every other image, and where the format does not define it.
    """
    if not (image.mode == "I" or image.mode.startswith("I;16")):
        return None
    if image.format == "TIFF" and image.mode != "I":
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        largest = (1 << int(tags.get(_BITS, (16,))[0])) - 1
        return -largest if tags.get(_PHOTOMETRIC) == 0 else largest  # 0: white is zero, which Pillow leaves to us
    return RANGED.get(image.format or "")


def _eight_bits(image: Image.Image, largest: int) -> Image.Image:
    values = np.asarray(image).astype(np.int64).clip(0, abs(largest))
    scaled = (values * 510 + abs(largest)) // (2 * abs(largest))  # rounded, halves upwards
    return Image.fromarray((255 - scaled if largest < 0 else scaled).astype(np.uint8)).convert("RGB")


def _turn(image: Image.Image) -> Image.Transpose | None:
    if image.format == "PNG":
        image.load()  # its EXIF may come after its pixels, whose faults are no faults of EXIF
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # as in Detectron2's reader: damaged EXIF is none
        return None


def _is_plain_jpeg(content: bytes, size: tuple[int, int]) -> bool:
    """Whether every JPEG decoder makes the same pixels of a file, by its header: baseline, 8 bits, usual sampling.

    Versions of libjpeg differ in progressive images that lack scans and in sampling such as 4:4:0, and torchvision
    converts CMYK in its own way. An unusual order of markers is not plain, so that the size checked here is the one
    that is decoded.
    """
    if content[:2] != b"\xff\xd8":
        return False
    frames, position = 0, 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker, length = content[position + 1], int.from_bytes(content[position + 2 : position + 4])
        body = content[position + 4 : position + 2 + length]
        if marker == _SCAN:
            return frames == 1
        if marker == _BASELINE:
            frames += 1
            height, width = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
            if body[:1] != b"\x08" or (width, height) != size or body[7::3] not in _SAMPLING:
                return False
        elif marker not in _TABLES:
            return False
        position += 2 + length
    return False


@functools.cache
def _jpeg_decoder() -> Callable[[Tensor, int, bool], Tensor] | None:
    """torchvision's, of the bytes, the mode and whether to undo the EXIF orientation; None where there is none.

    Taken as torch knows it: `torchvision.io.decode_jpeg` warns from version 0.29 on that it will be removed. Without
    it Pillow makes the same pixels, in more time.
    """
    import torch

    package = importlib.util.find_spec("torchvision")
    for library in Path(package.origin).parent.glob(_LIBRARY) if package and package.origin else ():
        with contextlib.suppress(OSError):  # made for another torch
            torch.ops.load_library(library)
    if not hasattr(torch.ops.image, "decode_jpeg"):
        with contextlib.suppress(ImportError):
            importlib.import_module("torchvision.io")  # seconds; adds its operations to torch.ops
    return getattr(torch.ops.image, "decode_jpeg", None)


def _ends_whole(file: IO[bytes], kind: str | None) -> bool:
    end = _ENDS.get(kind or "")
    if end is None or file.seek(0, os.SEEK_END) < len(end):
        return False
    file.seek(-len(end), os.SEEK_END)
    return file.read() == end


def _fault(path: Path, found: str) -> BadData:
    return BadData(f"{path}: found {found}; expected {EXPECTED}")


def _undecodable(path: Path, error: Exception) -> BadData:
    return _fault(path, f"an image that cannot be decoded ({_reason(error)})")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:  # the number tells slurm/failures.py of a failing node
        return f"[Errno {error.errno}] {error.strerror}"
    if "cannot identify image file" in str(error):
        return "not an image"
    return " ".join(str(error).split()) or type(error).__name__
