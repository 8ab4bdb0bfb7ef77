"""Opening images: every kind becomes the RGB that its format means, and every fault is one line with the file."""

from __future__ import annotations

import io
import os
import re
import socket
import struct
import subprocess
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from compmod.pretrain.data import decode
from compmod.pretrain.data.decode import checked_size, open_image, read_rgb, to_tensor
from compmod.pretrain.data.load import load
from compmod.pretrain.files.bad_data import BadData
from paths import ROOT, SAMPLES
from PIL import Image
from torchvision.datasets.folder import pil_loader
from torchvision.io import ImageReadMode

RAMP = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
DEPTH, PHOTOMETRIC = 258, 262  # of TIFF


def cifar(root: Path, image: Image.Image | bytes, ending: str = "png") -> Path:
    """A copy of CIFAR-10 of one class, with this image for training. Returns its path."""
    for split in ("train", "test"):
        (root / "copy" / split / "cat").mkdir(parents=True)
        Image.new("RGB", (32, 32), 5).save(root / "copy" / split / "cat" / "0.png")
    path = root / "copy" / "train" / "cat" / f"1.{ending}"
    path.write_bytes(image) if isinstance(image, bytes) else image.save(path)
    return path


def loaded(root: Path) -> np.ndarray:
    return load("cifar10", "train", root, copy="copy").pixels[1]


def png(width: int, height: int) -> bytes:
    """A PNG whose header says so many pixels, with next to no data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def tiff(values: np.ndarray, bits: int, photometric: int = 1, order: str = "<") -> bytes:
    """An uncompressed TIFF of one channel. `values` are its bytes as stored."""
    tags = {
        256: 32,
        257: 32,
        DEPTH: bits,
        259: 1,
        PHOTOMETRIC: photometric,
        273: 8,
        277: 1,
        278: 32,
        279: values.nbytes,
    }
    directory = struct.pack(f"{order}H", len(tags))
    for tag, value in tags.items():
        directory += struct.pack(f"{order}HHII", tag, 4, 1, value)
    start = 8 + values.nbytes
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    return head + values.tobytes() + directory + b"\0\0\0\0"


def expected_of(values: np.ndarray, largest: int) -> np.ndarray:
    return np.floor(values.astype(float) * 255 / largest + 0.5).astype(np.uint8)


def test_16_bit_grey_png_is_scaled(tmp_path: Path) -> None:
    cifar(tmp_path, Image.fromarray(RAMP))
    assert (loaded(tmp_path) == expected_of(RAMP, 65535)).all()


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_grey_tiff_of_both_byte_orders_is_scaled(order: str, tmp_path: Path) -> None:
    cifar(tmp_path, tiff(RAMP.astype(f"{order}u2"), 16, order=order), "tif")
    assert (loaded(tmp_path) == expected_of(RAMP, 65535)).all()


def test_a_tiff_in_which_0_is_white_is_turned_round(tmp_path: Path) -> None:
    cifar(tmp_path, tiff(RAMP, 16, photometric=0), "tif")
    assert (loaded(tmp_path) == 255 - expected_of(RAMP, 65535)).all()


def test_12_bit_tiff_is_scaled_by_its_own_largest_value(tmp_path: Path) -> None:
    values = (RAMP >> 4).reshape(-1, 2).astype(np.uint32)
    packed = np.stack([values[:, 0] >> 4, (values[:, 0] & 15) << 4 | values[:, 1] >> 8, values[:, 1] & 255], 1)
    cifar(tmp_path, tiff(packed.astype(np.uint8), 12), "tif")
    assert (loaded(tmp_path) == expected_of(RAMP >> 4, 4095)).all()


def test_16_bit_pgm_is_scaled(tmp_path: Path) -> None:
    cifar(tmp_path, b"P5\n32 32\n65535\n" + RAMP.astype(">u2").tobytes(), "pgm")
    assert (loaded(tmp_path) == expected_of(RAMP, 65535)).all()


@pytest.mark.parametrize("kind, words", [(np.int32, "32-bit whole numbers"), (np.float32, "floating-point numbers")])
def test_numbers_without_a_range_are_refused(kind: type, words: str, tmp_path: Path) -> None:
    path = cifar(tmp_path, Image.fromarray(RAMP.astype(kind)), "tif")
    with pytest.raises(BadData, match=rf"^{path}: found an image of {words}, which have no defined range"):
        loaded(tmp_path)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_other_colours_are_what_torchvision_makes_of_them(mode: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    path = tmp_path / f"0.{'jpg' if mode in ('CMYK', 'YCbCr') else 'tif' if mode == 'PA' else 'png'}"
    image = Image.fromarray(noise).convert("LA" if mode == "PA" else mode)
    image.save(path)
    assert (np.asarray(read_rgb(path)) == np.asarray(pil_loader(str(path)))).all()


def test_a_palette_with_transparent_colours_warns_of_nothing(tmp_path: Path) -> None:
    image = Image.new("P", (32, 32), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    path = tmp_path / "0.png"
    image.save(path, transparency=b"\x00\x80")
    assert read_rgb(path).getpixel((0, 0)) == (10, 20, 30)


SIDES = [11_000, 60_000]  # Pillow warns of the first and refuses the second


@pytest.mark.parametrize("side", SIDES)
def test_a_decompression_bomb_is_one_line(side: int, tmp_path: Path) -> None:
    path = cifar(tmp_path, png(side, side))
    with pytest.raises(BadData, match=rf"^{path}: found an image that cannot be decoded \(Image size .*bomb"):
        loaded(tmp_path)


@pytest.mark.parametrize("action", ["ignore", "always", "error"])
def test_a_decompression_bomb_is_refused_whatever_the_callers_filters_are(
    action: Literal["ignore", "always", "error"], tmp_path: Path
) -> None:
    path = cifar(tmp_path, png(SIDES[0], SIDES[0]))
    with warnings.catch_warnings(record=True):
        warnings.simplefilter(action)
        with pytest.raises(BadData, match=rf"^{path}: found an image that cannot be decoded \(Image size .*bomb"):
            loaded(tmp_path)


def test_importing_the_reader_changes_no_filter() -> None:
    code = "import warnings, PIL.Image, numpy\nbefore = list(warnings.filters)\n"
    code += "import compmod.pretrain.data.decode\nassert warnings.filters == before"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("side", SIDES)
def test_a_decompression_bomb_is_one_line_where_warnings_are_no_errors(side: int, tmp_path: Path) -> None:
    path = cifar(tmp_path, png(side, side))
    code = f"""from pathlib import Path
from compmod.pretrain.data.load import load
try:
    load("cifar10", "train", Path({str(tmp_path)!r}), copy="copy")
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stderr, done.stdout.count("\n")) == ("", 1)
    assert done.stdout.startswith(f"{path}: found an image that cannot be decoded (Image size")


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "no image": lambda content: b"not an image",
    "cut short": lambda content: content[: len(content) // 2],
    "cut in its header": lambda content: content[:20],
    "without its end": lambda content: content[:-100],
    "of no size": lambda content: png(0, 0),
    "without pixels": lambda content: png(32, 32),
}


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "gif", "tif", "webp"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_one_line(damage: Callable[[bytes], bytes], ending: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, {"jpg": "JPEG", "tif": "TIFF"}.get(ending, ending.upper()))
    path = tmp_path / f"0.{ending}"
    path.write_bytes(damage(content.getvalue()))
    for read in (read_rgb, checked_size):
        if damage is DAMAGE["without pixels"] and read is checked_size:
            continue  # its header and its end are there
        with pytest.raises(BadData, match=rf"^{path}: found .*; expected a PNG or JPEG$") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a dangling link": (lambda path: path.symlink_to("nowhere"), "a dangling link"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "a dangling link"),
    "a socket": (make_socket, "a socket"),
    "a FIFO": (make_fifo, "a FIFO"),
    "a folder": (lambda path: path.mkdir(), "a folder"),
}


@pytest.mark.parametrize("make, words", ODD.values(), ids=ODD)
def test_what_is_no_file_is_named(
    make: Callable[[Path], object], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cifar(tmp_path, Image.new("RGB", (32, 32)))
    monkeypatch.chdir(path.parent)  # a socket's path is short
    path.unlink()
    make(Path(path.name))
    with pytest.raises(BadData, match=rf"^{path}: found {words}; expected"):
        loaded(tmp_path)
    with pytest.raises(BadData, match=rf"^{path}: found {words}; expected"):
        read_rgb(path)


@pytest.mark.parametrize("make, words", list(ODD.values())[:4], ids=list(ODD)[:4])
def test_what_is_no_folder_among_classes_is_named(
    make: Callable[[Path], object], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar(tmp_path, Image.new("RGB", (32, 32)))
    monkeypatch.chdir(tmp_path / "copy" / "train")
    make(Path("dog"))
    with pytest.raises(BadData, match=rf"^{tmp_path / 'copy' / 'train' / 'dog'}: found {words}; expected"):
        loaded(tmp_path)


def test_hidden_folders_in_classes_are_passed_over(tmp_path: Path) -> None:
    path = cifar(tmp_path, Image.new("RGB", (32, 32), 9))
    for folder in (path.parent, path.parents[1]):
        (folder / ".ipynb_checkpoints").mkdir()
        path.with_name("0.png").rename(folder / ".ipynb_checkpoints" / "0-checkpoint.png")
        Image.new("RGB", (32, 32), 5).save(path.with_name("0.png"))
    (path.parent / ".hidden.png").write_bytes(b"no image")
    assert len(load("cifar10", "train", tmp_path, copy="copy")) == 2


def test_a_header_tells_the_size_and_the_orientation(tmp_path: Path) -> None:
    image, exif = Image.new("RGB", (30, 20)), Image.Exif()
    sizes = []
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        for ending in ("jpg", "png"):
            path = tmp_path / f"{orientation}.{ending}"
            image.save(path, exif=exif)
            assert checked_size(path) == read_rgb(path).size == (30, 20)
            assert checked_size(path, upright=True) == read_rgb(path, upright=True).size
            sizes.append(checked_size(path, upright=True))
    assert sizes == [(30, 20)] * 8 + [(20, 30)] * 8


def test_bytes_after_the_end_of_a_jpeg_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "0.jpg"
    Image.new("RGB", (30, 20)).save(path)
    path.write_bytes(path.read_bytes() + b"\0\0trailing")
    assert checked_size(path) == (30, 20)


NOISE = np.random.default_rng(0).integers(0, 256, (75, 101, 3), dtype=np.uint8)
SMOOTH = np.asarray(Image.fromarray(NOISE[::9, ::9]).resize((101, 75), Image.Resampling.BICUBIC))
SOF = b"\xff\xc0"  # marker of a baseline frame in a JPEG


def jpeg(pixels: np.ndarray = SMOOTH, mode: str = "RGB", **options: object) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, "JPEG", **({"quality": 90} | options))
    return content.getvalue()


def sampled(factors: int) -> bytes:
    """A JPEG of these sampling factors of its first channel, horizontal and vertical: its later rows are grey."""
    content = bytearray(jpeg(subsampling=0))
    content[content.index(SOF) + 11] = factors
    return bytes(content)


def scans(count: int) -> bytes:
    """A progressive JPEG without its last scans, but with its end."""
    content = jpeg(progressive=True)
    starts = [found.start() for found in re.finditer(b"\xff\xda", content)]
    return content[: starts[count]] + b"\xff\xd9"


def with_segment(marker: int, body: bytes) -> bytes:
    """A JPEG with another segment after its start."""
    content = jpeg()
    return content[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + content[2:]


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(exif=exif)


PLAIN: dict[str, bytes] = {
    **{
        f"4:{code}, quality {quality}": jpeg(NOISE, subsampling=sub, quality=quality)
        for code, sub in (("4:4", 0), ("2:2", 1), ("2:0", 2))
        for quality in (1, 50, 100)
    },
    "smooth": jpeg(),
    "grey": jpeg(mode="L"),
    "restart markers": jpeg(restart_marker_blocks=3),
    "stored as RGB": jpeg(keep_rgb=True),
    "orientation": turned(6),
    "a comment": jpeg(comment=b"\xff\xc0 no frame"),
    "a colour profile": jpeg(icc_profile=b"none" * 30_000),
    "1 x 1": jpeg(NOISE[:1, :1]),
    "one row": jpeg(NOISE[:1]),
    "bytes after its end": jpeg() + b"\0\0trailing",
    "grey fill": jpeg()[:-400] + b"\xff\xd9",
}
OTHER: dict[str, bytes] = {
    "progressive": jpeg(progressive=True),
    **{f"progressive, {count} scans": scans(count) for count in (1, 4, 9)},
    "4:4:0": sampled(0x12),
    "4:1:1": sampled(0x41),
    "CMYK": jpeg(mode="CMYK"),
    "an unknown segment": with_segment(0xF0, b"JPG0"),
    "bytes between segments": jpeg()[:2] + b"\0\0" + jpeg()[2:],
    "a second frame": with_segment(0xC0, struct.pack(">BHHB", 8, 20, 30, 1) + b"\1\x11\0"),
    "PNG": png(32, 32),
}


@pytest.fixture
def decoders(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The decoders that made pixels, in order."""
    used, by_pillow, by_torchvision = list[str](), decode.to_rgb, decode._jpeg_decoder()
    assert by_torchvision is not None

    def pillow(*arguments: Any, **options: Any) -> Image.Image:
        used.append("pillow")
        return by_pillow(*arguments, **options)

    def torchvisions(*arguments: Any) -> Any:
        decoded = by_torchvision(*arguments)
        used.append("torchvision")
        return decoded

    monkeypatch.setattr(decode, "to_rgb", pillow)
    monkeypatch.setattr(decode, "_jpeg_decoder", lambda: torchvisions)
    return used


def made(read: Callable[[Path], Any], path: Path) -> Any:
    """Pixels, height x width x 3, or the words of the error."""
    try:
        return read(path)
    except BadData as error:
        return str(error)


def tensor(path: Path) -> np.ndarray:
    return to_tensor(open_image(path), path).permute(1, 2, 0).numpy()


def same(path: Path) -> bool:
    """Whether a file is the same pixels as a tensor and by Pillow, or is refused in the same words."""
    found, expected = made(tensor, path), made(lambda path: np.asarray(read_rgb(path)), path)
    return type(found) is type(expected) and np.array_equal(found, expected)


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_jpeg_is_decoded_by_torchvision_to_pillows_pixels(
    name: str, decoders: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "0.png"  # a wrong ending decides nothing
    path.write_bytes(PLAIN[name])
    found = tensor(path)
    assert decoders == ["torchvision"]
    assert np.array_equal(found, np.asarray(pil_loader(str(path))))


@pytest.mark.parametrize("name", OTHER)
def test_any_other_image_is_decoded_by_pillow(name: str, decoders: list[str], tmp_path: Path) -> None:
    path = tmp_path / "0.jpg"
    path.write_bytes(OTHER[name])
    made(tensor, path)
    assert "torchvision" not in decoders
    assert same(path)


def test_without_torchvisions_decoder_the_pixels_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "0.jpg"
    path.write_bytes(jpeg(NOISE))
    expected = tensor(path)
    monkeypatch.setattr(decode, "_jpeg_decoder", lambda: None)
    assert np.array_equal(tensor(path), expected)


def test_torchvisions_decoder_comes_without_its_modules_and_else_with_them() -> None:
    """They take seconds to import. Where the library is not where it was, they still bring it."""
    names = "import sys; from compmod.pretrain.data import decode"
    for before, imported in (("", False), ("; decode._LIBRARY = 'absent'", True)):
        code = f"{names}{before}; print(decode._jpeg_decoder() is not None, 'torchvision' in sys.modules)"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        assert found == ["True", str(imported)]


def test_torchvisions_decoder_is_called_with_its_own_number_of_rgb() -> None:
    assert ImageReadMode.RGB.value == decode._RGB


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_png_named_jpeg_is_the_same_as_a_tensor(mode: str, decoders: list[str], tmp_path: Path) -> None:
    image = Image.fromarray(RAMP) if mode == "I;16" else Image.fromarray(NOISE).convert(mode)
    image.save(tmp_path / "0.JPEG", "PNG")
    assert same(tmp_path / "0.JPEG")
    assert set(decoders) == {"pillow"}


@pytest.mark.parametrize("cut", [1, 2, 3, 20, 400, 2000])
def test_a_truncated_jpeg_is_refused_in_pillows_words(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "0.jpg"
    path.write_bytes(jpeg(NOISE)[:-cut])
    assert re.fullmatch(
        rf"{path}: found an image that cannot be decoded \(.*truncated.*\); expected a PNG or JPEG", made(tensor, path)
    )
    assert same(path)


def test_a_damaged_jpeg_is_the_same_as_a_tensor_or_is_refused_in_the_same_words(tmp_path: Path) -> None:
    source, path = np.random.default_rng(1), tmp_path / "0.jpg"
    contents = [jpeg(subsampling=0), jpeg(NOISE[:40, :40]), jpeg(mode="L"), jpeg(restart_marker_blocks=2)]
    differing = []
    for number in range(400):
        content = bytearray(contents[number % len(contents)])
        header = content.index(b"\xff\xda") + 14
        for _ in range(source.integers(1, 4)):
            first, last = (2, header) if number % 3 == 0 else (header, len(content))
            content[source.integers(first, last)] = source.integers(0, 256)
        path.write_bytes(content)
        if not same(path):
            differing.append(number)
    assert differing == []


def test_a_header_that_tells_two_sizes_is_not_decoded_by_torchvision(decoders: list[str], tmp_path: Path) -> None:
    content, path = bytearray(jpeg()), tmp_path / "0.jpg"
    frame = content.index(SOF)
    bomb = bytes(content[frame : frame + 5]) + b"\xff\xff\xff\xff" + bytes(content[frame + 9 : frame + 19])
    path.write_bytes(bytes(content[:frame]) + bomb + bytes(content[frame:]))
    made(tensor, path)
    assert "torchvision" not in decoders


@pytest.mark.parametrize("side", [11_000, 65_500])
def test_a_jpeg_bomb_is_refused_before_it_is_decoded(side: int, decoders: list[str], tmp_path: Path) -> None:
    content, path = bytearray(jpeg()), tmp_path / "0.jpg"
    frame = content.index(SOF)
    content[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    path.write_bytes(content)
    assert re.match(rf"{path}: found an image that cannot be decoded \(Image size .*bomb", made(tensor, path))
    assert decoders == []


@pytest.mark.real_images
def test_real_images_are_the_same_pixels_by_both_decoders(decoders: list[str], tmp_path: Path) -> None:
    with zipfile.ZipFile(SAMPLES / "imagenet-sample" / "imagenet-sample-1000.zip") as archive:
        archive.extractall(tmp_path)
    paths = sorted(tmp_path.rglob("*.JPEG"))
    assert len(paths) == 1000
    assert [path.name for path in paths if not same(path)] == []
    assert decoders.count("torchvision") == 1000


OPENING = re.compile(r"\bImage\.open\b|decode_(?:jpeg|png|image)|\bread_image\b|\bimread\b|pil_loader|ImageFolder\(")


def test_one_file_opens_every_image() -> None:
    files = [file for folder in ("pretrain", "transfer", "tables", "slurm") for file in (ROOT / folder).rglob("*.py")]
    opening = {file.name for file in files if OPENING.search(file.read_text())}
    assert opening == {"decode.py"}
