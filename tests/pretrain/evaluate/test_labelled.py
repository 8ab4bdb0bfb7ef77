"""The labelled share: balanced draws, SimCLR's lists, and what is said of a wrong one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compmod.pretrain.data.cifar_stl import md5
from compmod.pretrain.data.imagenet import Files
from compmod.pretrain.data.load import load
from compmod.pretrain.evaluate import labelled as module
from compmod.pretrain.evaluate.labelled import balanced, labelled, listed
from compmod.pretrain.recipes import evaluation as protocols
from compmod.pretrain.specs.measurement import FineTuning
from compmod.pretrain.specs.run import Run
from numpy.typing import NDArray
from tiny_fine_tunings import LINEAR, RUN

WHOLE = replace(LINEAR, run=replace(RUN, train_images=0))


@pytest.fixture(scope="module")
def imagenet() -> NDArray[np.int64]:
    """Labels in the numbers of ImageNet: 1,281,167 in 1000 classes of 732 to 1300; the sizes between are made up."""
    sizes = np.full(1000, 1300)
    sizes[:105] = np.linspace(732, 1290, 105).astype(int)
    sizes[105:] -= np.diff(np.linspace(0, sizes.sum() - 1_281_167, 896).astype(int))
    return np.repeat(np.arange(1000), sizes)


@pytest.mark.parametrize("share, count, each", [(0.01, 12_811, {12, 13}), (0.1, 128_116, {128, 129})])
def test_a_share_of_imagenet_has_the_size_and_balance_of_the_published_list(
    share: float, count: int, each: set[int], imagenet: NDArray[np.int64]
) -> None:
    assert len(imagenet) == 1_281_167
    chosen = balanced(imagenet, np.arange(len(imagenet)), share, seed=0)
    assert len(np.unique(chosen)) == count
    assert set(np.bincount(imagenet[chosen]).tolist()) == each


def test_a_draw_is_a_function_of_the_seed() -> None:
    labels, groups = np.arange(300) % 10, np.arange(300)
    assert np.array_equal(balanced(labels, groups, 0.1, 4), balanced(labels, groups, 0.1, 4))
    assert not np.array_equal(balanced(labels, groups, 0.1, 4), balanced(labels, groups, 0.1, 5))


def test_a_smaller_share_lies_within_a_larger_one() -> None:
    labels, groups = np.arange(3007) % 10, np.arange(3007)
    small, large = (set(balanced(labels, groups, share, 0)) for share in (0.013, 0.17))
    assert small < large


def test_every_class_has_an_image_however_small_the_share() -> None:
    labels = np.repeat(np.arange(10), 5)
    assert np.bincount(labels[balanced(labels, np.arange(50), 0.01, 0)]).tolist() == [1] * 10


def test_a_class_with_too_few_images_gives_what_it_has() -> None:
    labels = np.repeat([0, 1], [3, 97])
    assert np.bincount(labels[balanced(labels, np.arange(100), 0.2, 0)]).tolist() == [3, 10]


def test_labels_need_not_be_consecutive() -> None:
    labels = np.repeat([2, 7], 10)
    assert sorted(labels[balanced(labels, np.arange(20), 0.1, 0)]) == [2, 7]


def test_groups_stay_whole() -> None:
    images = load("digits", "train", Path())
    train = labelled(replace(WHOLE, share=0.1), Path()).train
    wholes = dict(zip(*np.unique(images.groups, return_counts=True), strict=True))
    assert dict(zip(*np.unique(train.groups, return_counts=True), strict=True)).items() <= wholes.items()


@pytest.mark.parametrize("share", [0.1, 0.25])
def test_groups_are_taken_up_to_the_number_nearest_to_a_class_s_due(share: float) -> None:
    images = load("digits", "train", Path())
    counts = np.bincount(labelled(replace(WHOLE, share=share), Path()).train.labels)
    assert np.abs(counts - share * len(images) / 10).max() <= 3  # a glyph has four images, and one is of another's due


def test_all_labels_are_all_images() -> None:
    found = labelled(LINEAR, Path())
    assert (len(found.train), found.drawn) == (90, "all")


def test_a_share_is_of_the_images_that_the_run_trains_on() -> None:
    run = replace(RUN, train_images=1000)
    assert len(labelled(replace(LINEAR, run=run, share=0.1), Path()).train) == pytest.approx(100, abs=15)


def test_validation_images_are_a_fifth_of_the_labelled_share() -> None:
    spec = replace(WHOLE, share=0.1)
    whole, (train, held_out, drawn) = labelled(spec, Path()).train, labelled(replace(spec, split="validation"), Path())
    assert set(train.groups) | set(held_out.groups) == set(whole.groups)
    assert not set(train.groups) & set(held_out.groups)
    assert len(set(held_out.groups)) == round(len(set(whole.groups)) / 5)
    assert drawn == "seeded draw"


def files(folder: Path) -> Files:
    names = [f"train/n0000000{number}/n0000000{number}_{image}.JPEG" for number in range(3) for image in range(4)]
    return Files(folder, np.array([name.encode() for name in names]), np.repeat(np.arange(3), 4))


def a_list(folder: Path, *names: str) -> Path:
    path = folder / "1percent.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}.JPEG\n" for name in names))
    return path


def test_a_list_names_the_images(tmp_path: Path) -> None:
    path = a_list(tmp_path, "n00000002_1", "n00000000_3", "n00000000_0")
    found = listed(files(tmp_path), path, md5(path))
    assert [found.path(row).name for row in range(3)] == ["n00000000_0.JPEG", "n00000000_3.JPEG", "n00000002_1.JPEG"]
    assert found.labels.tolist() == [0, 0, 2]


def test_another_file_in_the_list_s_place_is_refused(tmp_path: Path) -> None:
    path = a_list(tmp_path, "n00000002_1")
    with pytest.raises(ValueError, match=rf"1percent.txt: found MD5 sum {md5(path)}; expected 123, of SimCLR's list"):
        listed(files(tmp_path), path, "123")


def test_unknown_names_in_a_list_are_named(tmp_path: Path) -> None:
    path = a_list(tmp_path, "n00000002_1", *(f"n00000009_{number}" for number in range(5)))
    unknown = "found n00000009_0.JPEG, n00000009_1.JPEG, n00000009_2.JPEG and 2 more, which are not in"
    with pytest.raises(ValueError, match=unknown):
        listed(files(tmp_path), path, md5(path))


def test_a_missing_list_says_what_else_is_possible(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found no such file; expected SimCLR's list, or lists '' for a seeded draw"):
        listed(files(tmp_path), tmp_path / "1percent.txt", "")


def test_a_fine_tuning_by_the_published_list_reads_it_below_the_data_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = a_list(tmp_path / "imagenet_subsets", "n00000001_2", "n00000002_0")
    monkeypatch.setattr(module, "labelled_images", lambda *_: files(tmp_path))
    monkeypatch.setattr(module, "read", lambda *_, **__: files(tmp_path))
    spec = FineTuning(run=Run(method="simclr", dataset="imagenet"), share=0.01, lists="simclr")
    with pytest.raises(ValueError, match="expected b61c91b8ddb75fabdb02a9bb2ae3bd74"):
        labelled(spec, tmp_path)
    monkeypatch.setitem(protocols.LIST_FILES, 0.01, ("1percent.txt", md5(path)))
    found = labelled(spec, tmp_path)
    assert (found.train.labels.tolist(), found.drawn) == ([1, 2], "published list")
