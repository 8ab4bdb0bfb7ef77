"""Data sets: the entries, the splits, image-folder copies and what is said when files are wrong."""

import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from compmod.pretrain.data.class_names import CLASS_NAMES
from compmod.pretrain.data.images import Images, subset, validation_split
from compmod.pretrain.data.inventory import describe, download
from compmod.pretrain.data.load import load
from compmod.pretrain.specs.datasets import DATASETS
from paths import SAMPLES
from PIL import Image

REAL = SAMPLES


def folder_copy(root: Path, dataset: str = "cifar10", copy: str = "copy", each: int = 2) -> Path:
    """A copy of a few flat-coloured PNGs: the grey of an image is 20 times its label."""
    side = DATASETS[dataset].size
    for split in ("train", "test"):
        for label, name in enumerate(CLASS_NAMES[dataset][:10]):
            folder = root / copy / split / name
            folder.mkdir(parents=True)
            for number in range(each):
                Image.new("RGB", (side, side), (20 * label,) * 3).save(folder / f"{number}.png")
    return root / copy


def some_images(count: int, per_group: int = 1) -> Images:
    labels = np.arange(count)
    pixels = np.zeros((count, 3, 2, 2), dtype=np.uint8) + labels.astype(np.uint8)[:, None, None, None]
    return Images(pixels, labels, labels // per_group)


def test_importing_the_entries_imports_neither_torch_nor_numpy_nor_sklearn() -> None:
    code = (
        "import sys, compmod.pretrain.data.load; print([m for m in ('torch', 'numpy', 'sklearn') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


@pytest.mark.parametrize("key", DATASETS)
def test_every_entry_is_named_by_its_key_and_has_plausible_statistics(key: str) -> None:
    entry = DATASETS[key]
    assert entry.name == key
    assert all(0.3 < mean < 0.6 for mean in entry.mean)
    assert all(0.15 < std < 0.35 for std in entry.std)
    assert entry.view_size <= (entry.test_resize or entry.size)


@pytest.mark.parametrize("key", CLASS_NAMES)
def test_class_names_are_as_many_as_classes_and_sorted(key: str) -> None:
    assert len(CLASS_NAMES[key]) == DATASETS[key].classes
    assert list(CLASS_NAMES[key]) == sorted(set(CLASS_NAMES[key]))


def test_unknown_names_list_what_is_known() -> None:
    with pytest.raises(ValueError, match="unknown data set 'cifar'; known: digits, cifar10, cifar100"):
        load("cifar", "train", Path())
    with pytest.raises(ValueError, match="unknown split 'val'; known: pretrain, train, test"):
        load("digits", "val", Path())  # type: ignore[arg-type]


def test_the_digest_follows_pixels_and_labels() -> None:
    images = some_images(4)
    assert images.digest == some_images(4).digest
    pixels, labels = images.pixels.copy(), images.labels.copy()
    pixels[1, 0, 0, 0] += 1
    labels[2] = 0
    others = {Images(pixels, images.labels, images.groups).digest, Images(images.pixels, labels, images.groups).digest}
    assert len(others | {images.digest}) == 3


def test_a_subset_is_a_function_of_seed_and_count() -> None:
    images = some_images(50)
    drawn = subset(images, 20, seed=3)
    assert drawn.labels.tolist() == subset(images, 20, seed=3).labels.tolist()
    assert len(set(drawn.labels.tolist())) == 20
    assert drawn.labels.tolist() != subset(images, 20, seed=4).labels.tolist()
    assert (drawn.pixels[:, 0, 0, 0] == drawn.labels).all()


@pytest.mark.parametrize("count", [0, 51])
def test_a_subset_larger_than_the_set_or_empty_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="valid: 1 to 50"):
        subset(some_images(50), count, seed=0)


def test_a_validation_split_parts_no_group_and_loses_no_image() -> None:
    train, validation = validation_split(some_images(100, per_group=4), seed=1)
    assert not set(train.groups.tolist()) & set(validation.groups.tolist())
    assert sorted([*train.labels.tolist(), *validation.labels.tolist()]) == list(range(100))
    assert len(validation) == 20


def test_a_validation_split_differs_between_seeds_only() -> None:
    splits = [validation_split(some_images(100), seed)[1].labels.tolist() for seed in (1, 1, 2)]
    assert splits[0] == splits[1] != splits[2]


def test_a_folder_copy_is_read_with_the_official_labels(tmp_path: Path) -> None:
    folder_copy(tmp_path)
    images = load("cifar10", "train", tmp_path, copy="copy")
    assert images.pixels.shape == (20, 3, 32, 32)
    assert images.pixels.dtype == np.uint8
    assert images.labels.tolist() == [label for label in range(10) for _ in range(2)]
    assert (images.pixels == (20 * images.labels)[:, None, None, None]).all()


def test_a_copy_of_some_classes_keeps_their_official_labels(tmp_path: Path) -> None:
    folder_copy(tmp_path, "cifar10", "whole")
    for split in ("train", "test"):
        for name in ("bird", "truck"):
            (tmp_path / "part" / split).mkdir(parents=True, exist_ok=True)
            (tmp_path / "whole" / split / name).rename(tmp_path / "part" / split / name)
    assert load("cifar10", "test", tmp_path, copy="part").labels.tolist() == [2, 2, 9, 9]


def test_pretraining_on_a_folder_copy_of_stl10_adds_the_unlabelled_images(tmp_path: Path) -> None:
    copy = folder_copy(tmp_path, "stl10", each=1)
    with pytest.raises(ValueError, match=r"unlabeled: found no images"):
        load("stl10", "pretrain", tmp_path, copy="copy")
    (copy / "unlabeled").mkdir()
    Image.new("L", (96, 96), 7).save(copy / "unlabeled" / "0.png")
    images = load("stl10", "pretrain", tmp_path, copy="copy")
    assert images.labels.tolist() == [*range(10), -1]
    assert (images.pixels[-1] == 7).all()


def test_an_order_file_puts_a_copy_in_the_original_order(tmp_path: Path) -> None:
    copy = folder_copy(tmp_path, each=1)
    names = [f"{name}/0.png" for name in CLASS_NAMES["cifar10"]][::-1]
    (copy / "order_train.txt").write_text("\n".join(names))
    assert load("cifar10", "train", tmp_path, copy="copy").labels.tolist() == list(range(9, -1, -1))
    (copy / "train" / "frog" / "0.png").rename(copy / "train" / "frog" / "1.png")
    with pytest.raises(ValueError, match=r"frog/0.png listed but missing"):
        load("cifar10", "train", tmp_path, copy="copy")


@pytest.mark.real_images
def test_the_real_part_of_tiny_imagenet_is_read_with_its_annotations(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(REAL / "tiny-imagenet-subset" / "tiny-imagenet-200-subset.zip") as archive:
        kept = [name for name in archive.namelist() if "/train/" not in name or "_1.JPEG" in name or "_2.JPEG" in name]
        archive.extractall(tmp_path / "part", kept)
    train, test = (load("tiny_imagenet", split, tmp_path, copy="part") for split in ("train", "test"))
    assert train.pixels.shape == (80, 3, 64, 64)
    assert test.pixels.shape == (2000, 3, 64, 64)
    wnids = sorted(path.name for path in (tmp_path / "part" / "tiny-imagenet-200" / "train").iterdir())
    assert sorted({CLASS_NAMES["tiny_imagenet"][label] for label in test.labels}) == wnids
    note = (tmp_path / "part/tiny-imagenet-200/val/val_annotations.txt").read_text().splitlines()[0].split("\t")
    with Image.open(tmp_path / "part/tiny-imagenet-200/val/images" / note[0]) as image:
        pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    (index,) = np.flatnonzero((test.pixels == pixels).all(axis=(1, 2, 3)))
    assert CLASS_NAMES["tiny_imagenet"][test.labels[index]] == note[1]


def test_a_second_load_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_copy(tmp_path)
    first = load("cifar10", "train", tmp_path, copy="copy")
    monkeypatch.setattr("compmod.pretrain.data.image_folder.decode", None)
    assert load("cifar10", "pretrain", tmp_path, copy="copy").digest == first.digest


def test_a_changed_folder_is_decoded_anew_and_the_old_cache_dropped(tmp_path: Path) -> None:
    copy = folder_copy(tmp_path)
    before = load("cifar10", "train", tmp_path, copy="copy")
    Image.new("RGB", (32, 32), (1, 2, 3)).save(copy / "train" / "airplane" / "0.png")
    after = load("cifar10", "train", tmp_path, copy="copy")
    assert before.digest != after.digest
    assert after.pixels[0, :, 0, 0].tolist() == [1, 2, 3]
    assert len(list((tmp_path / ".compmod-cache" / "copy" / "train").iterdir())) == 1


@pytest.mark.parametrize("place", [0.01, 0.5, 0.99], ids=["header", "pixels", "checksum"])
def test_one_flipped_bit_of_the_cache_is_noticed_said_and_mended(
    place: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_copy(tmp_path, each=1)
    first = load("cifar10", "test", tmp_path, copy="copy")
    (cache,) = (tmp_path / ".compmod-cache" / "copy" / "test").iterdir()
    sound = cache.read_bytes()
    damaged = bytearray(sound)
    damaged[int(place * len(sound)) if place < 0.9 else -1] ^= 1
    cache.write_bytes(damaged)
    assert load("cifar10", "test", tmp_path, copy="copy").digest == first.digest
    assert f"warning: the cache {cache} is damaged (its checksum differs) and is made anew" in capsys.readouterr().err
    assert cache.read_bytes() == sound
    assert load("cifar10", "test", tmp_path, copy="copy").digest == first.digest
    assert capsys.readouterr().err == ""


def test_other_pixels_of_the_old_size_and_time_are_noticed(tmp_path: Path) -> None:
    copy = folder_copy(tmp_path, each=1)
    file = copy / "test" / "cat" / "0.png"
    before, times = load("cifar10", "test", tmp_path, copy="copy"), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    size = file.stat().st_size
    Image.new("RGB", (32, 32), (61,) * 3).save(file)
    assert file.stat().st_size == size
    os.utime(file, ns=times)  # as unpacking an archive does
    assert load("cifar10", "test", tmp_path, copy="copy").digest != before.digest


def test_a_damaged_cache_is_decoded_anew(tmp_path: Path) -> None:
    folder_copy(tmp_path)
    first = load("cifar10", "train", tmp_path, copy="copy")
    (cache,) = (tmp_path / ".compmod-cache" / "copy" / "train").iterdir()
    cache.write_bytes(cache.read_bytes()[:1000])
    assert load("cifar10", "train", tmp_path, copy="copy").digest == first.digest


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    path = folder_copy(tmp_path) / "train" / "cat" / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"cat/1.png: found an image that cannot be decoded .*compmod data cifar10"):
        load("cifar10", "train", tmp_path, copy="copy")
    assert not (tmp_path / ".compmod-cache").exists()


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (33, 32)).save(folder_copy(tmp_path) / "train" / "dog" / "0.png")
    with pytest.raises(ValueError, match=r"dog/0.png: found 33 x 32 pixels; expected 32 x 32"):
        load("cifar10", "train", tmp_path, copy="copy")


def test_a_folder_that_is_no_class_is_named(tmp_path: Path) -> None:
    copy = folder_copy(tmp_path)
    (copy / "train" / "cat").rename(copy / "train" / "lion")
    with pytest.raises(ValueError, match=r"found class 'lion'; expected one of CIFAR-10's"):
        load("cifar10", "train", tmp_path, copy="copy")


def test_a_class_without_test_images_is_named(tmp_path: Path) -> None:
    copy = folder_copy(tmp_path)
    (copy / "test" / "cat").rename(copy / "cat")
    with pytest.raises(ValueError, match="found no test image of class cat"):
        load("cifar10", "test", tmp_path, copy="copy")


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    for path in (folder_copy(tmp_path) / "train" / "cat").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"train/cat: found no images"):
        load("cifar10", "train", tmp_path, copy="copy")


def test_official_tiny_imagenet_must_be_whole(tmp_path: Path) -> None:
    folder_copy(tmp_path, "tiny_imagenet", "tiny-imagenet-200")
    with pytest.raises(ValueError, match=r"found 20 train images; expected 100,000; 'compmod data tiny_imagenet'"):
        load("tiny_imagenet", "train", tmp_path)


def test_a_missing_folder_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no such folder; expected the official STL-10 files; 'compmod data stl10 --"):
        load("stl10", "train", tmp_path)


@pytest.mark.real_images
def test_an_archive_that_was_not_unpacked_says_how_to() -> None:
    with pytest.raises(ValueError, match=r"tar xzf \S+cifar10-jpeg.tar.gz -C \S+data\)"):
        load("cifar10", "train", REAL, copy="cifar10-jpeg")
    with pytest.raises(ValueError, match=r"unzip \S+subset.zip -d \S+tiny-imagenet-subset\)"):
        load("tiny_imagenet", "train", REAL, copy="tiny-imagenet-subset")


@pytest.mark.parametrize("copy", ["../data", "a/b", "..", "/"])
def test_a_copy_is_a_plain_folder_name(copy: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name of a folder below the data root"):
        load("cifar10", "train", tmp_path, copy=copy)


def test_describe_tells_what_is_missing(tmp_path: Path) -> None:
    (row,) = describe("cifar10", tmp_path)
    assert (row.found, row.ok) == ("no such folder", False)
    assert row.path == str(tmp_path / "cifar-10-batches-py")
    assert row.expected == "the official CIFAR-10 files"


@pytest.mark.real_images
def test_describe_says_how_to_unpack_an_archive() -> None:
    (row,) = describe("cifar10", REAL, "cifar10-jpeg")
    assert (row.found, row.ok) == ("only the archive cifar10-jpeg.tar.gz", False)
    assert row.expected.startswith("it unpacked (tar xzf ")


def test_describe_refuses_a_copy_outside_the_data_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"name of a folder below the data root, not '\.\./data'"):
        describe("cifar10", tmp_path, "../data")


def test_describe_counts_the_images_of_a_folder_copy(tmp_path: Path) -> None:
    copy = folder_copy(tmp_path)
    (copy / "test" / "cat").rename(copy / "cat")
    train, test = describe("cifar10", tmp_path, "copy")
    assert (train.found, train.ok) == ("20 images in 10 classes, all decoded", True)
    assert ("no test image of class cat" in test.found, test.ok) == (True, False)


def test_describe_says_ok_only_of_what_it_could_read(tmp_path: Path) -> None:
    path = folder_copy(tmp_path) / "test" / "cat" / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    train, test = describe("cifar10", tmp_path, "copy")
    assert (train.ok, test.ok) == (True, False)
    assert test.found.startswith(f"{path}: found an image that cannot be decoded")


def test_describe_reads_the_unlabelled_images_too(tmp_path: Path) -> None:
    copy = folder_copy(tmp_path, "stl10", each=1)
    (copy / "unlabeled").mkdir()
    (copy / "unlabeled" / "0.png").write_bytes(b"no image")
    train, unlabelled, test = describe("stl10", tmp_path, "copy")
    assert (train.ok, unlabelled.ok, test.ok) == (True, False, True)


def test_a_name_in_another_encoding_is_read_and_named(tmp_path: Path) -> None:
    cat = folder_copy(tmp_path) / "train" / "cat"
    path = cat / os.fsdecode(b"\xff.png")
    (cat / "1.png").rename(path)
    assert len(load("cifar10", "train", tmp_path, copy="copy")) == 20
    path.write_bytes(b"no image")
    assert "\\udcff.png: found an image that cannot" in describe("cifar10", tmp_path, "copy")[0].found


def test_notes_in_another_encoding_name_their_file(tmp_path: Path) -> None:
    copy = folder_copy(tmp_path, each=1)
    (copy / "order_train.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=rf"^{copy / 'order_train.txt'}: found"):
        load("cifar10", "train", tmp_path, copy="copy")


def test_a_download_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise URLError(OSError("no route"))

    monkeypatch.setattr("urllib.request.urlopen", fail)
    with pytest.raises(ValueError, match=r"could not download https://.*.gz: no route; fetch it elsewhere"):
        download("cifar10", tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form, suffix", [("gztar", "tar.gz"), ("zip", "zip")])
def test_a_download_tells_its_size_and_is_unpacked(
    form: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny-imagenet-200").mkdir()
    (tmp_path / "tiny-imagenet-200" / "words.txt").write_text("n1\tone")
    source = Path(shutil.make_archive(str(tmp_path / "tiny"), form, tmp_path, "tiny-imagenet-200"))
    md5 = hashlib.md5(source.read_bytes()).hexdigest()
    entry = dataclasses.replace(DATASETS["tiny_imagenet"], url=source.as_uri(), archive_md5=md5)
    monkeypatch.setitem(DATASETS, "tiny_imagenet", entry)
    root = tmp_path / "data"
    download("tiny_imagenet", root)
    assert sorted(path.name for path in root.iterdir()) == ["tiny-imagenet-200", f"tiny.{suffix}"]
    assert (root / "tiny-imagenet-200" / "words.txt").read_text() == "n1\tone"
    assert capsys.readouterr().err.splitlines() == [
        f"downloading {source.as_uri()} to {root}/tiny.{suffix}",
        f"it has {source.stat().st_size} bytes",
        f"unpacking {root}/tiny.{suffix} to {root}/tiny-imagenet-200",
    ]
    source.unlink()
    download("tiny_imagenet", root)  # the archive is there already
    monkeypatch.setitem(DATASETS, "tiny_imagenet", dataclasses.replace(entry, archive_md5="0" * 32))
    source.write_bytes(b"another")
    with pytest.raises(ValueError, match="it is not the official file; fetch it elsewhere"):
        download("tiny_imagenet", root)
    assert hashlib.md5((root / f"tiny.{suffix}").read_bytes()).hexdigest() == md5  # what was there stays
    assert not list(root.glob("*.part"))
