"""A folder of the user's own: what a spec says of it, what is read, and one line for every fault."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compmod.pretrain.data import decode, own_folder
from compmod.pretrain.data.imagenet import Files
from compmod.pretrain.data.load import read
from compmod.pretrain.data.own_folder import own_data, statistics
from compmod.pretrain.specs.datasets import Dataset
from own_images import SCORED, TRAIN, change, draw
from PIL import Image


def entry_of(folder: Path, size: int = 0) -> Dataset:
    return own_data(folder, size).entry("mine")


def test_the_contents_are_one_sum_over_names_and_bytes(tmp_path: Path) -> None:
    folder = draw(tmp_path / "a")
    (folder / "train" / "notes.txt").write_text("no image")
    (folder / "train" / ".hidden").mkdir()
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg"))
    names = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    parts = [name.encode() + b"\0" + hashlib.sha256(names[name]).digest() for name in sorted(names)]
    found = own_data(folder)
    assert found.contents == hashlib.sha256(b"".join(parts)).hexdigest()
    assert (found.classes, found.train_images, found.test_images, found.test) == (2, 2 * TRAIN, 2 * SCORED, "val")


def test_times_places_and_the_order_of_a_disk_do_not_count_but_names_and_bytes_do(tmp_path: Path) -> None:
    folder = draw(tmp_path / "a")
    moved = tmp_path / "elsewhere" / "b"
    for path in sorted(folder.rglob("*.*"), reverse=True):
        if path.is_file() and ".compmod-cache" not in path.parts:
            (moved / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, moved / path.relative_to(folder))
            os.utime(moved / path.relative_to(folder), (1, 1))
    assert own_data(moved) == own_data(folder)
    (moved / "val" / "cat" / "0.png").rename(moved / "val" / "cat" / "7.png")
    renamed = own_data(moved)
    (moved / "val" / "cat" / "7.png").rename(moved / "val" / "cat" / "0.png")
    assert len({own_data(folder).contents, renamed.contents, own_data(change(moved)).contents}) == 3


@pytest.mark.parametrize("size", [0, 16])
def test_mean_and_deviation_are_those_of_all_pixels_of_the_training_images(size: int, tmp_path: Path) -> None:
    folder = draw(tmp_path / "a")
    found = own_data(folder, size)
    if size:
        pixels = read(found.entry("mine"), "train", folder).pixels.transpose(0, 2, 3, 1).reshape(-1, 3)  # type: ignore[union-attr]
    else:
        images = [np.asarray(Image.open(path)) for path in (folder / "train").glob("*/*")]
        pixels = np.concatenate([image.reshape(-1, 3) for image in images])
    shares = pixels.astype(np.float64) / 255
    assert found.mean == pytest.approx(shares.mean(axis=0), abs=5.1e-5)
    assert found.std == pytest.approx(shares.std(axis=0), abs=5.1e-5)


def test_statistics_are_those_of_whole_numbers_of_any_size() -> None:
    counts = [10**12, *[0] * 254, 10**12] * 3
    assert statistics(counts) == ((0.5,) * 3, (0.5,) * 3)


def test_images_in_memory_are_the_middle_square_resized(tmp_path: Path) -> None:
    folder = draw(tmp_path / "a")
    images = read(entry_of(folder, 16), "train", folder)
    assert not isinstance(images, Files)
    assert images.labels.tolist() == [0] * TRAIN + [1] * TRAIN
    first = Image.open(folder / "train" / "cat" / "0.png")
    assert first.size == (24, 18)
    middle = first.crop((3, 0, 21, 18)).resize((16, 16), Image.Resampling.BICUBIC)
    assert (images.pixels[0] == np.asarray(middle).transpose(2, 0, 1)).all()


def test_images_on_disk_are_listed_by_class_and_name(tmp_path: Path) -> None:
    folder = draw(tmp_path / "a", test="test")
    files = read(entry_of(folder), "test", folder)
    assert isinstance(files, Files)
    assert files.labels.tolist() == [0] * SCORED + [1] * SCORED
    assert files.path(0) == folder / "test" / "cat" / "0.png"


def test_test_is_scored_before_val_where_it_has_class_folders(tmp_path: Path) -> None:
    folder = draw(tmp_path / "a")
    shutil.copytree(folder / "val" / "cat", folder / "test")  # images without labels, as of many a competition
    assert own_data(folder).test == "val"
    shutil.rmtree(folder / "test")
    shutil.copytree(folder / "val", folder / "test")
    assert own_data(folder).test == "test"
    assert own_data(folder, test="val").test == "val"


@pytest.mark.parametrize("size", [0, 16])
def test_other_images_than_those_of_the_entry_are_refused(size: int, tmp_path: Path) -> None:
    folder = draw(tmp_path / "a")
    entry = entry_of(folder, size)
    change(folder)
    with pytest.raises(
        ValueError, match=rf"^{folder} is of other data than the run: .* not {entry.contents[:12]}; put"
    ):
        read(entry, "train", folder)


def test_images_without_labels_are_read_for_pretraining_alone(tmp_path: Path) -> None:
    folder = draw(tmp_path / "a", classes=())
    for size in (0, 16):
        entry = entry_of(folder, size)
        assert read(entry, "pretrain", folder).labels.tolist() == [-1] * 2 * TRAIN
        with pytest.raises(ValueError, match=r"^the images of mine have no labels .*: only pretraining is possible$"):
            read(entry, "train", folder)


class TestWhatWasMeasured:
    """It is kept, and holds as long as sizes and times of all files are the same."""

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(own_folder, "SETTLED_NS", -(10**18))  # files that were just written count as old
        return draw(tmp_path / "a")

    def test_is_not_measured_again(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = own_data(folder)
        monkeypatch.setattr(decode, "read_rgb", None)
        assert own_data(folder) == first

    def test_of_a_folder_that_cannot_be_written_is_kept_elsewhere(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        access = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: path != folder and access(path, mode))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        first = own_data(folder, 16)
        read(first.entry("mine"), "train", folder)
        assert not (folder / ".compmod-cache").exists()
        assert len(list((tmp_path / "cache").rglob("*.npy"))) == 1
        monkeypatch.setattr(decode, "read_rgb", None)
        assert own_data(folder, 16) == first
        read(first.entry("mine"), "train", folder)

    def test_is_measured_again_of_changed_files_and_where_it_is_damaged(self, folder: Path) -> None:
        first = own_data(folder)
        file = folder / ".compmod-cache" / "any-px" / "measured.json"
        for text in ("{", file.read_text().replace('"mean": [', '"mean": [7, '), "[]", "{}"):
            file.write_text(text)
            assert own_data(folder) == first
        assert own_data(change(folder)) != first

    def test_of_files_that_may_change_again_with_the_same_times_is_not_kept(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(own_folder, "SETTLED_NS", 10**18)
        own_data(folder)
        assert not list(folder.rglob("measured.json"))


def without(part: str) -> Callable[[Path], None]:
    return lambda folder: shutil.rmtree(folder / part)


def with_file(name: str, content: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(content)


def emptied(folder: Path) -> None:
    for path in (folder / "train" / "cat").iterdir():
        path.unlink()


def flat(folder: Path) -> None:
    for path in (folder / "train").glob("*/*"):
        Image.new("RGB", (9, 9)).save(path)


@pytest.mark.parametrize(
    "damage, said",
    [
        (without("train"), "/train: found no such folder; expected the training images, in one folder a class"),
        (without("val"), "/val: found no class folders; expected the images to score, here or in test/"),
        (without("val/cat"), "/val: found no test image of class cat; expected the classes of train/"),
        (without("train/cat"), "/train: found one class, 'dog'; expected at least two, or images without class"),
        (lambda folder: (folder / "val" / "owl").mkdir(), "/val: found test images but no training image of class owl"),
        (emptied, "/train/cat: found no images; expected at least one"),
        (with_file("train/cat/0.png", b"x"), "/train/cat/0.png: found an image that cannot be decoded (not an image)"),
        (with_file("val/dog/0.png", b""), "/val/dog/0.png: found an image that cannot be decoded (not an image)"),
        (with_file("train/cat/a.gif", b"x"), "/train/cat/a.gif: found no image; expected only .JPEG, .jpg or .png"),
        (with_file("train/a.png", b"x"), "/train/a.png: found an image beside class folders; expected every image in"),
        (flat, "/train: found one value in all pixels of a colour; expected images that differ"),
    ],
)
def test_a_fault_is_one_line_that_names_it(damage: Callable[[Path], Any], said: str, tmp_path: Path) -> None:
    folder = draw(tmp_path / "a")
    damage(folder)
    with pytest.raises(ValueError, match=r"docs/data\.md|decoded") as caught:
        own_data(folder)
    assert str(caught.value).startswith(f"{folder}{said}")
    assert "\n" not in str(caught.value)
