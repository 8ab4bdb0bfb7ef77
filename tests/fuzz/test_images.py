"""Odd and damaged images in class folders and in COCO: every pixel as the format means it, or the file is named."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from command_server import Said, Server
from compmod.pretrain.data.class_names import CLASS_NAMES
from compmod.transfer.data.digit_scenes import write_scenes
from fuzz_cases import SEED, fault
from odd_images import ODD, Odd, Pixels, picture
from PIL import Image
from tiny_detections import RUN
from tiny_fine_tunings import finish

COPY = "mine"
Caller = Callable[..., Said]  # a server's run, or its warm


class Layout(NamedTuple):
    """A kind of folder: how it is made below a root, its first image, and how it is read."""

    make: Callable[[Path], object]
    first: str  # of the training images, below the root
    side: tuple[int, int]  # of that image, height and width
    read: Callable[[Caller, Path, Path], Said]  # to an .npz file
    command: tuple[str, ...]  # that says whether the folder is sound; () = none does


def _classes(names: tuple[str, ...], height: int, width: int, suffix: str) -> Callable[[Path], object]:
    def make(root: Path) -> None:
        for part, count in (("train", 2), ("val" if suffix == ".JPEG" else "test", 1)):
            for name in names:
                folder = root / COPY / part / name
                folder.mkdir(parents=True)
                for number in range(count):
                    Image.fromarray(picture(height, width)[:, ::-1]).save(folder / f"{name}_{number}{suffix}")

    return make


def _read(function: str, dataset: str) -> Callable[[Caller, Path, Path], Said]:
    return lambda call, root, output: call(dataset, str(root), COPY, str(output), function=f"images_as_read:{function}")


def _scenes(root: Path) -> None:
    write_scenes(root / COPY, {"train2017": 3, "val2017": 2})
    finish(root / "runs", RUN)


def _transferred(call: Caller, root: Path, output: Path) -> Said:
    run = root / "runs" / RUN.folder
    return call(str(run), str(root / COPY), str(output), function="perfect_detector:transfer")


SMALL = tuple(sorted(CLASS_NAMES["cifar10"])[:3])
WIDE = tuple(CLASS_NAMES["tiny_imagenet"][:3])
LARGE = ("n01440764", "n01443537", "n01484850")
LAYOUTS: dict[str, Layout] = {
    "small copy": Layout(
        _classes(SMALL, 32, 32, ".png"),
        f"{COPY}/train/{SMALL[0]}/{SMALL[0]}_0.png",
        (32, 32),
        _read("small", "cifar10"),
        ("data", "cifar10", "--copy", COPY),
    ),
    "ImageNet copy": Layout(
        _classes(LARGE, 260, 300, ".JPEG"),
        f"{COPY}/train/{LARGE[0]}/{LARGE[0]}_0.JPEG",
        (260, 300),
        _read("large", "imagenet"),
        ("data", "imagenet", "--copy", COPY),
    ),
    "COCO": Layout(_scenes, f"{COPY}/train2017/000001.png", (64, 64), _transferred, ()),
}
FREE_SIZE = {"1 x 1", "no square"}  # are no faults of an ImageNet image


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_image_is_read_as_its_format_means_or_named(layout: str, server: Server, tmp_path: Path) -> None:
    kind = LAYOUTS[layout]
    kind.make(tmp_path / "sound")
    assert kind.read(server.warm, tmp_path / "sound", tmp_path / "sound.npz").status == 0
    shown = picture(*kind.side)
    found = []
    for name, odd in ODD.items():
        if said := _judged(kind, layout, name, odd, shown, server, tmp_path / name.replace(" ", "-")):
            found.append(f"{name}: {said}")
    if found:
        pytest.fail(f"{len(found)} of {len(ODD)} images (seed {SEED}):\n" + "\n".join(found), pytrace=False)


def _judged(kind: Layout, layout: str, name: str, odd: Odd, shown: Pixels, server: Server, root: Path) -> str:
    kind.make(root)
    file = root / kind.first
    expected = odd.make(file, shown)
    said = kind.read(server.run, root, root / "read.npz")
    if wrong := fault(said, (file.name,)):
        return wrong
    if kind.command:
        told = server.run(*kind.command, "--data", str(root), "--no-download")
        if told.status not in (0, 2):
            return f"`{' '.join(kind.command)}`: {fault(told, ())}"
        if said.status and not told.status:
            return f"`{' '.join(kind.command)}` says ok of it, yet it is refused: {said.err.strip()}"
    if said.status:
        return "" if expected is None or odd.refusable else f"is refused: {said.err.strip()}"
    if expected is None:
        return "" if layout.startswith("ImageNet") and name in FREE_SIZE else "is read without a word"
    return _compared(kind, layout, server, root, file, expected, odd.tolerance)


def _compared(
    kind: Layout, layout: str, server: Server, root: Path, file: Path, expected: Pixels, tolerance: int
) -> str:
    """The pixels read against those of the same folder where a plain PNG shows what is expected."""
    given = np.load(root / "read.npz")
    other = root.with_name(f"plain-{zlib.crc32(expected.tobytes())}")
    if not other.is_dir():
        kind.make(other)
        Image.fromarray(expected).save(other / kind.first, "PNG")
        said = kind.read(server.run, other, other / "read.npz")
        assert said.status == 0, said
    right = np.load(other / "read.npz")
    if given["pixels"].shape != right["pixels"].shape:
        return f"{len(given['pixels'])} images in place of {len(right['pixels'])}"
    off = np.abs(given["pixels"].astype(int) - right["pixels"]).reshape(len(right["pixels"]), -1).max(axis=1)
    if off[0] > tolerance:
        return f"pixels are off by up to {off[0]} of 255"
    return f"another image's pixels are off by up to {off[1:].max()}" if off[1:].any() else ""
