"""Large images on disk: which files a split has, their labels, the kept listing, and what is said of wrong folders."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from compmod.pretrain.data import imagenet as large_images
from compmod.pretrain.data.class_names import CLASS_NAMES
from compmod.pretrain.data.imagenet import Files, load_files
from compmod.pretrain.data.images import subset, validation_split
from compmod.pretrain.data.inventory import describe, download
from compmod.pretrain.data.load import load
from compmod.pretrain.specs.datasets import DATASETS
from paths import SAMPLES
from PIL import Image

SAMPLE = SAMPLES / "imagenet-sample" / "imagenet-sample-1000.zip"
HUNDRED = CLASS_NAMES["imagenet100"]
THREE = ("n09999999", "n01440764", "n02000000")  # not in order
LONG_AGO = time.time() - 3600


def class_folders(folder: Path, names: Sequence[str] = THREE, train: int = 2, val: int = 1) -> Path:
    """Class folders of empty files, for listing opens none, last changed an hour ago."""
    for part, count in (("train", train), ("val", val)):
        for name in names:
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                (folder / part / name / f"{name}_{number}.JPEG").touch()
            os.utime(folder / part / name, (LONG_AGO, LONG_AGO))
    return folder


def drawn(folder: Path) -> Path:
    """The same folder, with an image in every file."""
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "JPEG")
    for path in folder.rglob("*.JPEG"):
        path.write_bytes(content.getvalue())
    return folder


def kept(root: Path) -> list[Path]:
    return sorted((root / ".compmod-cache").rglob("*.npy"))


def test_listing_imports_no_torch() -> None:
    code = "import sys, compmod.pretrain.data.imagenet; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_a_copy_of_imagenet_numbers_the_sorted_classes_it_has(tmp_path: Path) -> None:
    class_folders(tmp_path / "copy")
    files = load_files("imagenet", "train", tmp_path, copy="copy")
    assert files.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert [files.path(index).parent.name for index in (0, 2, 4)] == sorted(THREE)


def test_one_flipped_bit_of_the_kept_listing_is_noticed_said_and_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class_folders(tmp_path / "copy")
    first = load_files("imagenet", "train", tmp_path, copy="copy")
    (cache,) = kept(tmp_path)
    sound = cache.read_bytes()
    damaged = bytearray(sound)
    damaged[-70] ^= 1  # of the last label
    cache.write_bytes(damaged)
    assert load_files("imagenet", "train", tmp_path, copy="copy").labels.tolist() == first.labels.tolist()
    assert f"warning: the cache {cache} is damaged" in capsys.readouterr().err
    assert cache.read_bytes() == sound


def test_the_test_split_is_val_with_the_labels_of_train(tmp_path: Path) -> None:
    class_folders(tmp_path / "copy")
    files = load_files("imagenet", "test", tmp_path, copy="copy")
    assert files.labels.tolist() == [0, 1, 2]
    assert files.path(1) == tmp_path / "copy" / "val" / "n02000000" / "n02000000_0.JPEG"


def test_pretraining_sees_the_training_images(tmp_path: Path) -> None:
    class_folders(tmp_path / "copy")
    splits = [load_files("imagenet", split, tmp_path, copy="copy").digest for split in ("pretrain", "train")]
    assert splits[0] == splits[1]


def test_imagenet100_in_its_own_folder_has_50_validation_images_a_class_and_any_number_to_train_on(
    tmp_path: Path,
) -> None:
    class_folders(tmp_path / "imagenet100", HUNDRED, train=3, val=50)
    train, test = (load_files("imagenet100", split, tmp_path) for split in ("train", "test"))
    assert train.labels.tolist() == [label for label in range(100) for _ in range(3)]
    assert np.bincount(test.labels).tolist() == [50] * 100


def test_imagenet100_is_found_among_the_classes_of_imagenet(tmp_path: Path) -> None:
    class_folders(tmp_path / "imagenet", [*HUNDRED, *THREE], train=1)
    files = load_files("imagenet100", "train", tmp_path)
    assert [files.path(index).parent.name for index in range(100)] == list(HUNDRED)
    assert len(files) == 100


def test_a_copy_of_some_classes_of_imagenet100_keeps_their_labels(tmp_path: Path) -> None:
    class_folders(tmp_path / "copy", [HUNDRED[70], HUNDRED[4], "n09999999"], train=1)
    assert load_files("imagenet100", "train", tmp_path, copy="copy").labels.tolist() == [4, 70]


def test_imagenet100s_own_folder_holds_no_other_class(tmp_path: Path) -> None:
    class_folders(tmp_path / "imagenet100", [*HUNDRED, "n09999999"], train=1)
    with pytest.raises(ValueError, match="found class 'n09999999'; expected one of ImageNet-100's 100"):
        load_files("imagenet100", "train", tmp_path)


def test_imagenet_is_whole_or_named_as_a_copy(tmp_path: Path) -> None:
    class_folders(tmp_path / "imagenet")
    with pytest.raises(ValueError, match=r"imagenet/train: found 3 of ImageNet's classes; expected 1,000"):
        load_files("imagenet", "train", tmp_path)


def test_the_number_of_images_of_a_whole_set_is_checked(tmp_path: Path) -> None:
    thousand = [f"n{number:08d}" for number in range(1000)]
    class_folders(tmp_path / "imagenet", thousand, train=1)
    with pytest.raises(ValueError, match="found 1,000 train images; expected 1,281,167"):
        load_files("imagenet", "train", tmp_path)
    with pytest.raises(ValueError, match="found 1,000 test images; expected 50,000"):
        load_files("imagenet", "test", tmp_path)


@pytest.mark.parametrize("dataset", ["imagenet", "imagenet100"])
def test_a_missing_folder_says_what_is_expected_where(dataset: str, tmp_path: Path) -> None:
    layout = r"train/nXXXXXXXX/\*.JPEG and val/nXXXXXXXX/\*.JPEG"
    with pytest.raises(ValueError, match=rf"{dataset}: found no such folder; expected {layout}"):
        load_files(dataset, "train", tmp_path)


def test_a_class_without_validation_images_is_named(tmp_path: Path) -> None:
    shutil.rmtree(class_folders(tmp_path / "copy") / "val" / "n02000000")
    with pytest.raises(ValueError, match=r"copy/val: found no test image of class n02000000"):
        load_files("imagenet", "test", tmp_path, copy="copy")


def test_a_class_without_training_images_is_named(tmp_path: Path) -> None:
    shutil.rmtree(class_folders(tmp_path / "copy") / "train" / "n02000000")
    with pytest.raises(ValueError, match=r"copy/val: found test images but no training image of class n02000000"):
        load_files("imagenet", "test", tmp_path, copy="copy")


def test_validation_images_that_were_not_sorted_into_classes_are_noticed(tmp_path: Path) -> None:
    shutil.rmtree(class_folders(tmp_path / "copy") / "val")
    (tmp_path / "copy" / "val").mkdir()
    (tmp_path / "copy" / "val" / "ILSVRC2012_val_00000001.JPEG").touch()
    with pytest.raises(ValueError, match=r"copy/val: found no class folders; expected one folder a class"):
        load_files("imagenet", "test", tmp_path, copy="copy")


STRAY: dict[str, tuple[Callable[[Path], object], str]] = {
    "n02000000_9.tar": (Path.touch, "no image"),
    "images.JPEG": (Path.mkdir, "a folder"),
    "link.JPEG": (lambda path: path.symlink_to("nowhere"), "a dangling link"),
    "pipe.JPEG": (lambda path: os.mkfifo(path), "a FIFO"),
}


@pytest.mark.parametrize("stray", STRAY)
def test_anything_but_images_in_a_class_folder_is_named(stray: str, tmp_path: Path) -> None:
    path = class_folders(tmp_path / "copy") / "train" / "n02000000" / stray
    STRAY[stray][0](path)
    with pytest.raises(ValueError, match=rf"{path.name}: found {STRAY[stray][1]}; expected only .JPEG, .jpg or .png"):
        load_files("imagenet", "train", tmp_path, copy="copy")


def test_text_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "copy") / "train" / "n02000000"
    for name in (".DS_Store", "n02000000_boxes.txt"):
        (folder / name).touch()
    (tmp_path / "copy" / "train" / ".hidden").mkdir()
    assert len(load_files("imagenet", "train", tmp_path, copy="copy")) == 6


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    class_folders(tmp_path / "copy", train=0)
    with pytest.raises(ValueError, match=r"train/n\d+: found no images; expected at least one"):
        load_files("imagenet", "train", tmp_path, copy="copy")


def test_a_folder_that_is_no_wordnet_number_is_named(tmp_path: Path) -> None:
    class_folders(tmp_path / "copy", [*THREE, "goldfish"])
    with pytest.raises(ValueError, match=r"found class 'goldfish'; expected a WordNet number"):
        load_files("imagenet", "train", tmp_path, copy="copy")


def test_a_second_listing_looks_into_no_class_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path / "copy")
    first = load_files("imagenet", "train", tmp_path, copy="copy")
    monkeypatch.setattr(large_images, "_images", None)
    second = load_files("imagenet", "pretrain", tmp_path, copy="copy")
    assert (second.digest, second.path(5)) == (first.digest, first.path(5))


@pytest.mark.parametrize("change", ["added", "removed", "class"])
def test_a_changed_folder_is_listed_anew_and_the_old_listing_dropped(change: str, tmp_path: Path) -> None:
    train = class_folders(tmp_path / "copy") / "train"
    assert len(load_files("imagenet", "train", tmp_path, copy="copy")) == 6
    (before,) = kept(tmp_path)
    if change == "added":
        (train / "n02000000" / "another.jpg").touch()
    elif change == "removed":
        (train / "n02000000" / "n02000000_0.JPEG").unlink()
    else:
        (train / "n02000000").rename(train / "n01000000")
    os.utime(train / ("n01000000" if change == "class" else "n02000000"), (LONG_AGO + 60, LONG_AGO + 60))
    count = {"added": 7, "removed": 5, "class": 6}[change]
    assert len(load_files("imagenet", "train", tmp_path, copy="copy")) == count
    (after,) = kept(tmp_path)
    assert before != after


def test_the_listing_of_a_folder_that_changed_a_moment_ago_is_not_kept(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "copy") / "train" / "n02000000"
    os.utime(folder)
    load_files("imagenet", "train", tmp_path, copy="copy")
    assert kept(tmp_path) == []


def test_a_damaged_listing_is_made_anew(tmp_path: Path) -> None:
    class_folders(tmp_path / "copy")
    first = load_files("imagenet", "train", tmp_path, copy="copy")
    (file,) = kept(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    assert load_files("imagenet", "train", tmp_path, copy="copy").digest == first.digest
    assert file.read_bytes() == whole


def test_two_sets_out_of_one_folder_keep_a_listing_each(tmp_path: Path) -> None:
    class_folders(tmp_path / "copy", HUNDRED[:2])
    for dataset in ("imagenet", "imagenet100"):
        for split in ("train", "test"):
            load_files(dataset, split, tmp_path, copy="copy")
    assert len(kept(tmp_path)) == 4


def test_small_sets_are_not_listed_and_large_ones_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cifar10 is held in memory; read it by data.load"):
        load_files("cifar10", "train", tmp_path)
    with pytest.raises(ValueError, match=r"imagenet stays on disk; list it by imagenet.load_files"):
        load("imagenet", "train", tmp_path)
    with pytest.raises(ValueError, match="unknown split 'val'; known: pretrain, train, test"):
        load_files("imagenet", "val", tmp_path)  # type: ignore[arg-type]


def some_files(count: int) -> Files:
    names = np.array([f"train/{number:04d}.JPEG".encode() for number in range(count)])
    return Files(Path("somewhere"), names, np.arange(count) % 7)


def test_the_digest_follows_names_labels_and_order() -> None:
    files = some_files(20)
    assert files.digest == some_files(20).digest
    others = [files.take(np.arange(20)[::-1]), Files(files.folder, files.names, files.labels[::-1].copy())]
    assert len({files.digest, *(other.digest for other in others)}) == 3


def test_files_are_drawn_and_split_as_images_in_memory_are() -> None:
    files = some_files(50)
    drawn = subset(files, 20, seed=3)
    assert [int(drawn.path(row).stem) % 7 for row in range(20)] == drawn.labels.tolist()
    train, validation = validation_split(files, seed=1)
    assert len(validation) == 10
    assert sorted([*train.names.tolist(), *validation.names.tolist()]) == files.names.tolist()


def test_describe_counts_a_copys_files_and_says_what_is_missing(tmp_path: Path) -> None:
    shutil.rmtree(drawn(class_folders(tmp_path / "copy")) / "val")
    train, test = describe("imagenet", tmp_path, "copy")
    assert (train.found, train.ok) == ("6 images in 3 classes, all headers read", True)
    assert ("val: found no such folder" in test.found, test.ok) == (True, False)


def test_describe_says_ok_only_of_headers_it_could_read(tmp_path: Path) -> None:
    path = drawn(class_folders(tmp_path / "copy")) / "train" / THREE[0] / f"{THREE[0]}_1.JPEG"
    path.write_bytes(path.read_bytes()[:-50])
    train, test = describe("imagenet", tmp_path, "copy")
    assert (train.ok, test.ok) == (False, True)
    assert train.found.startswith(f"{path}: found an image that cannot be decoded (")


def test_describe_says_where_imagenet100_is_looked_for(tmp_path: Path) -> None:
    (row,) = describe("imagenet100", tmp_path)
    assert (row.path, row.ok) == (str(tmp_path / "imagenet100"), False)
    assert row.expected.endswith(f"or {tmp_path / 'imagenet'} with its classes among others")


def test_describe_calls_the_uncertain_number_of_training_images_so(tmp_path: Path) -> None:
    drawn(class_folders(tmp_path / "imagenet100", HUNDRED, train=1, val=50))
    train, test = describe("imagenet100", tmp_path)
    assert (train.expected, train.ok) == ("about 126,689 images in 100 classes", True)
    assert (test.expected, test.ok) == ("5,000 images in 100 classes", True)


@pytest.mark.parametrize("dataset", ["imagenet", "imagenet100"])
def test_imagenet_is_not_downloaded_and_its_source_named(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"https://image-net.org/download-images and lay it out as train/nXXXXXXXX"):
        download(dataset, tmp_path)


@pytest.mark.parametrize("dataset", ["imagenet", "imagenet100"])
def test_large_entries_have_no_size_and_the_usual_crops(dataset: str) -> None:
    entry = DATASETS[dataset]
    assert (entry.large, entry.view_size, entry.test_resize) == (True, 224, 256)
    assert not any(other.large for other in DATASETS.values() if other.folder and not other.name.startswith("imagenet"))


@pytest.mark.real_images
def test_the_real_sample_has_a_thousand_classes_and_the_hundred(tmp_path: Path) -> None:
    with zipfile.ZipFile(SAMPLE) as archive:
        archive.extractall(tmp_path)
    whole = load_files("imagenet", "train", tmp_path, copy="imagenet-sample")
    hundred = load_files("imagenet100", "train", tmp_path, copy="imagenet-sample")
    assert whole.labels.tolist() == list(range(1000))
    assert [hundred.path(label).parent.name for label in range(100)] == list(HUNDRED)
