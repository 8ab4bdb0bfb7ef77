"""Official files: real partial copies are read, and everything that is not an official file is refused."""

import hashlib
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from compmod.pretrain.data import cifar_stl as official
from compmod.pretrain.data.cifar_stl import File
from compmod.pretrain.data.inventory import describe
from compmod.pretrain.data.load import load
from paths import SAMPLES

REAL = SAMPLES
BATCH = {"data": np.zeros((3, 3072), dtype=np.uint8), "labels": [0, 9, 4]}


def cifar_copy(root: Path, batch: object, protocol: int = 2) -> None:
    """A copy whose test batch is `batch`."""
    folder = root / "copy" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "test_batch").write_bytes(pickle.dumps(batch, protocol=protocol))


def stl_copy(root: Path) -> Path:
    shutil.copytree(REAL / "stl10-sample" / "stl10_binary", root / "copy" / "stl10_binary", copy_function=shutil.copy)
    for path in (root / "copy" / "stl10_binary").iterdir():
        path.chmod(0o644)
    return root / "copy" / "stl10_binary"


@pytest.mark.real_images
def test_the_exact_part_of_cifar10_is_read() -> None:
    train, test = (load("cifar10", split, REAL, copy="cifar10-exact-subset") for split in ("train", "test"))
    assert train.pixels.shape == (5438, 3, 32, 32)
    assert test.pixels.shape == (1017, 3, 32, 32)
    assert test.labels[:3].tolist() == [3, 8, 8]  # a cat and two ships, as everyone's first look at the test set shows


@pytest.mark.real_images
def test_the_exact_part_of_cifar100_is_read_with_fine_labels() -> None:
    images = load("cifar100", "test", REAL, copy="cifar100-exact-subset")
    assert images.pixels.shape == (916, 3, 32, 32)
    assert set(images.labels.tolist()) == set(range(100))


@pytest.mark.real_images
def test_cifar_images_agree_with_torchvisions_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    for listed in ("train_list", "test_list"):
        monkeypatch.setattr(CIFAR10, listed, [(name, None) for name, _ in getattr(CIFAR10, listed)])
    theirs = CIFAR10(str(REAL / "cifar10-exact-subset"))
    ours = load("cifar10", "train", REAL, copy="cifar10-exact-subset")
    assert (ours.pixels == theirs.data.transpose(0, 3, 1, 2)).all()
    assert ours.labels.tolist() == theirs.targets


@pytest.mark.real_images
def test_stl10_images_agree_with_torchvisions_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import STL10

    for listed in ("train_list", "test_list"):
        monkeypatch.setattr(STL10, listed, [(name, None) for name, _ in getattr(STL10, listed)])
    theirs = STL10(str(REAL / "stl10-sample"), split="train+unlabeled")
    ours = load("stl10", "pretrain", REAL, copy="stl10-sample")
    assert (ours.pixels == theirs.data).all()
    assert ours.labels.tolist() == theirs.labels.tolist()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_pickle_protocol_are_read(protocol: int, tmp_path: Path) -> None:
    cifar_copy(tmp_path, BATCH, protocol)
    assert load("cifar10", "test", tmp_path, copy="copy").labels.tolist() == [0, 9, 4]


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("harmed",)


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cifar_copy(tmp_path, {**BATCH, "labels": Harmful()})
    with pytest.raises(ValueError, match=r"test_batch: found UnpicklingError: the pickle names posix.mkdir"):
        load("cifar10", "test", tmp_path, copy="copy")
    assert not (tmp_path / "harmed").exists()


def test_a_pickle_of_objects_in_an_array_is_refused(tmp_path: Path) -> None:
    cifar_copy(tmp_path, {**BATCH, "data": np.array([[None] * 3072] * 3)})
    with pytest.raises(ValueError, match=r"'data' is object of shape \(3, 3072\); expected a CIFAR pickle"):
        load("cifar10", "test", tmp_path, copy="copy")


@pytest.mark.parametrize(
    "change, found",
    [
        ({"data": np.zeros((3, 3071), dtype=np.uint8)}, r"'data' is uint8 of shape \(3, 3071\)"),
        ({"data": [1, 2]}, "'data' is list"),
        ({"labels": [0, 9]}, "2 labels for 3 images; expected one label an image"),
        ({"labels": [0, 9, 10]}, "label 10; expected 0 to 9"),
        ({"labels": [0, 9, -1]}, "label -1; expected 0 to 9"),
        ({"labels": [0, 9, 0.5]}, "labels that are not whole numbers"),
        ({"labels": []}, "0 labels for 3 images"),
    ],
)
def test_a_cifar_pickle_of_another_structure_is_named(change: dict[str, object], found: str, tmp_path: Path) -> None:
    cifar_copy(tmp_path, {**BATCH, **change})
    with pytest.raises(ValueError, match=f"test_batch: found {found}"):
        load("cifar10", "test", tmp_path, copy="copy")


def test_a_truncated_pickle_is_named(tmp_path: Path) -> None:
    cifar_copy(tmp_path, BATCH)
    path = tmp_path / "copy" / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"test_batch: found \w+Error"):
        load("cifar10", "test", tmp_path, copy="copy")


@pytest.mark.real_images
def test_a_partial_file_in_the_official_place_is_refused_before_it_is_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(REAL / "cifar10-exact-subset" / "cifar-10-batches-py", tmp_path / "cifar-10-batches-py")
    monkeypatch.setattr(official, "ArraysOnly", None)
    expected = official.FILES["cifar10"]["test"][0].md5
    with pytest.raises(ValueError, match=rf"test_batch: found MD5 \w+; expected the official {expected}"):
        load("cifar10", "test", tmp_path)


def test_files_with_the_right_checksums_are_read_as_official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cifar_copy(tmp_path, BATCH)
    digest = hashlib.md5((tmp_path / "copy" / "cifar-10-batches-py" / "test_batch").read_bytes()).hexdigest()
    monkeypatch.setitem(official.FILES["cifar10"], "test", (File("test_batch", digest, 3),))
    assert load("cifar10", "test", tmp_path / "copy").labels.tolist() == [0, 9, 4]
    monkeypatch.setitem(official.FILES["cifar10"], "test", (File("test_batch", digest, 4),))
    with pytest.raises(ValueError, match="found 3 images; expected 4"):
        load("cifar10", "test", tmp_path / "copy")


@pytest.mark.real_images
def test_a_missing_stl10_file_is_named(tmp_path: Path) -> None:
    (stl_copy(tmp_path) / "unlabeled_X.bin").unlink()
    assert len(load("stl10", "train", tmp_path, copy="copy")) == 10
    with pytest.raises(ValueError, match=r"unlabeled_X.bin: found no such file"):
        load("stl10", "pretrain", tmp_path, copy="copy")


@pytest.mark.real_images
def test_a_truncated_stl10_file_is_named(tmp_path: Path) -> None:
    path = stl_copy(tmp_path) / "train_X.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"train_X.bin: found 276,479 bytes; expected a multiple of 27,648 bytes"):
        load("stl10", "train", tmp_path, copy="copy")


@pytest.mark.real_images
def test_an_stl10_label_out_of_range_is_named(tmp_path: Path) -> None:
    (stl_copy(tmp_path) / "test_y.bin").write_bytes(bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 0]))
    with pytest.raises(ValueError, match=r"test_y.bin: found label -1; expected 0 to 9"):
        load("stl10", "test", tmp_path, copy="copy")


@pytest.mark.real_images
def test_a_sample_of_stl10_in_the_official_place_is_refused(tmp_path: Path) -> None:
    stl_copy(tmp_path)
    with pytest.raises(ValueError, match=r"train_X.bin: found 276,480 bytes; expected 138,240,000 bytes"):
        load("stl10", "train", tmp_path / "copy")


@pytest.mark.real_images
def test_describe_compares_the_checksums_of_official_files(tmp_path: Path) -> None:
    shutil.copytree(REAL / "cifar100-exact-subset" / "cifar-100-python", tmp_path / "cifar-100-python")
    (tmp_path / "cifar-100-python" / "test").unlink()
    train, test = describe("cifar100", tmp_path)
    assert (train.checksum, train.ok) == ("wrong", False)
    assert (test.found, test.checksum, test.ok) == ("missing", "", False)


@pytest.mark.real_images
def test_describe_says_that_a_copy_has_no_checksum() -> None:
    rows = describe("stl10", REAL, "stl10-sample")
    assert {row.checksum for row in rows} == {"a copy has none"}
    assert all(row.ok for row in rows)


@pytest.mark.parametrize("labels", [[0, 9, 10**30], [0, 9, True], [0, 9, -1], [0, 9, 2**63]], ids=range(4))
def test_describe_reads_the_files_of_a_copy(labels: list[int], tmp_path: Path) -> None:
    batch = BATCH | {"labels": [0, 9, 4]}
    cifar_copy(tmp_path, batch)
    folder = tmp_path / "copy" / "cifar-10-batches-py"
    for number in range(1, 6):
        (folder / f"data_batch_{number}").write_bytes(pickle.dumps(batch | ({"labels": labels} if number == 2 else {})))
    *train, test = describe("cifar10", tmp_path, "copy")
    assert ([row.ok for row in train], test.ok) == ([False] * 5, True)
    assert train[1].found.startswith(f"{folder / 'data_batch_2'}: found label")
