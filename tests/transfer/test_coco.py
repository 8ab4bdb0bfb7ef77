"""COCO folders: a sound one is read, and every fault is one error that names the file and the id."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compmod.transfer.coco import Split, is_official, read_folder
from compmod.transfer.scenes import write_scenes

MINI = Path(__file__).parents[3] / "shared" / "data" / "coco-mini"

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_scenes(tmp_path / "coco", {"train2017": 3, "val2017": 2})


def change(folder: Path, edit: Change, split: str = "train2017") -> Path:
    file = folder / "annotations" / f"instances_{split}.json"
    document = json.loads(file.read_text())
    edit(document)
    file.write_text(json.dumps(document))
    return file


def test_a_sound_folder_has_images_in_order_of_their_ids(folder: Path) -> None:
    train, val = read_folder(folder)
    assert [image["id"] for image in train.images] == [1, 2, 3]
    assert len(val.images) == 2


def test_every_annotation_is_found_by_its_image(folder: Path) -> None:
    train, _ = read_folder(folder)
    assert all(each["image_id"] == number for number, several in train.annotations.items() for each in several)


def test_categories_are_counted_from_0(folder: Path) -> None:
    assert read_folder(folder)[0].numbers == {number + 1: number for number in range(10)}


def test_a_small_folder_is_not_the_official_one(folder: Path) -> None:
    assert not is_official(*read_folder(folder))


def test_a_missing_annotation_file_is_named(folder: Path) -> None:
    file = folder / "annotations" / "instances_val2017.json"
    file.unlink()
    with pytest.raises(ValueError, match=rf"no file {file}; expected annotations/instances_\*.json"):
        read_folder(folder)


def test_broken_json_is_named_with_its_place(folder: Path) -> None:
    file = folder / "annotations" / "instances_train2017.json"
    file.write_text(file.read_text()[:-40])
    with pytest.raises(ValueError, match=rf"broken JSON in {file}: .*column"):
        read_folder(folder)


def test_a_missing_image_is_named_by_file_and_id(folder: Path) -> None:
    (folder / "train2017" / "000002.png").unlink()
    with pytest.raises(ValueError, match=r"train2017\.json: image id 2 is missing: no file .*000002\.png \(1 are"):
        read_folder(folder)


def test_categories_that_do_not_match_are_named_from_both_files(folder: Path) -> None:
    change(folder, lambda d: d["categories"][3].update(name="four"), "val2017")
    with pytest.raises(ValueError, match=r"category 4 is '3' in .*train2017\.json and 'four' in .*val2017\.json"):
        read_folder(folder)


FAULTS: dict[str, tuple[Change, str]] = {
    "no list": (lambda d: d.pop("images"), "has no list of images"),
    "id twice": (lambda d: d["annotations"][1].update(id=1), "id 1 stands twice in annotations"),
    "no id": (lambda d: d["images"][1].pop("id"), "entry 1 of images has no whole number"),
    "lacks size": (lambda d: d["images"][1].pop("height"), "images id 2 lacks height"),
    "size 0": (lambda d: d["images"][1].update(height=0), "image id 2 is 0 x 64"),
    "unknown image": (lambda d: d["annotations"][1].update(image_id=99), "annotation id 2 is of image 99"),
    "unknown category": (lambda d: d["annotations"][1].update(category_id=99), "annotation id 2 is of category 99"),
    "box of three": (lambda d: d["annotations"][1].update(bbox=[1, 2, 3]), r"annotation id 2 has the box \[1, 2, 3\]"),
    "box of words": (lambda d: d["annotations"][1].update(bbox=["a"] * 4), "annotation id 2 has the box"),
    "box below 0": (lambda d: d["annotations"][1].update(bbox=[1, 1, -2, 3]), "annotation id 2 has the box"),
    "no mask": (lambda d: d["annotations"][1].pop("segmentation"), "annotation id 2 has no mask"),
    "empty mask": (lambda d: d["annotations"][1].update(segmentation=[]), "annotation id 2 has no mask"),
    "two points": (lambda d: d["annotations"][1].update(segmentation=[[1, 2, 3, 4]]), "id 2 .*broken polygon"),
    "half a point": (lambda d: d["annotations"][1].update(segmentation=[[1.0] * 7]), "id 2 .*broken polygon"),
    "mask of a word": (lambda d: d["annotations"][1].update(segmentation="x"), "id 2 .*no polygon and has no counts"),
    "mask's size": (lambda d: d["annotations"][1]["segmentation"].update(size=[9, 9]), r"id 2 .*size \[9, 9\]"),
    "mask's runs": (lambda d: d["annotations"][1]["segmentation"]["counts"].append(5), "id 2 .*do not add up"),
}


@pytest.mark.parametrize("edit, words", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_by_file_and_id(folder: Path, edit: Change, words: str) -> None:
    file = change(folder, edit)
    with pytest.raises(ValueError, match=f"^{file}.*{words}"):
        read_folder(folder)


def test_polygons_are_no_runs(folder: Path) -> None:
    def draw(document: dict[str, Any]) -> None:
        for each in document["annotations"]:
            each["segmentation"] = [[1, 1, 9, 1, 9, 9]]

    change(folder, draw)
    train, val = read_folder(folder)
    assert (train.has_runs, val.has_runs) == (False, True)


@pytest.fixture
def mini() -> tuple[Split, Split]:
    return read_folder(MINI)


@pytest.mark.real_images
def test_real_coco_annotations_pass(mini: tuple[Split, Split]) -> None:
    train, val = mini
    assert (len(train.images), len(val.images), len(train.categories)) == (80, 79, 80)
    assert sum(map(len, train.annotations.values())) == 739


@pytest.mark.real_images
def test_runs_of_crowds_alone_leave_polygons(mini: tuple[Split, Split]) -> None:
    assert not mini[0].has_runs
