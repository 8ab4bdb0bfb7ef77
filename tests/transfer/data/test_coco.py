"""COCO folders: a sound one is read, and every fault is one error that names the file and the id."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compmod.pretrain.files.bad_data import BadData
from compmod.transfer.data.coco import Split, is_official, read_folder
from compmod.transfer.data.digit_scenes import write_scenes
from compmod.transfer.data.masks import unpacked
from paths import SAMPLES
from PIL import Image
from pycocotools import mask as packing

MINI = SAMPLES / "coco-mini"

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes") / "coco", {"train2017": 3, "val2017": 2})


@pytest.fixture
def folder(tmp_path: Path, scenes: Path) -> Path:
    return shutil.copytree(scenes, tmp_path / "coco")


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


def on(kind: str, **values: Any) -> Change:
    """Changes fields of the second entry of a list."""
    return lambda document: document[kind][1].update(values)


def off(kind: str, name: str) -> Change:
    return lambda document: document[kind][1].pop(name)


def runs(counts: Any, **others: Any) -> Change:
    """Changes the mask of annotation 2, on an image of 64 x 64."""
    return lambda d: d["annotations"][1].update(segmentation={"size": [64, 64], "counts": counts, **others})


FAULTS: dict[str, tuple[Change, str]] = {
    "no list": (lambda d: d.pop("images"), "has no list of images"),
    "an object for a list": (lambda d: d.update(images={"0": 1}), "has no list of images"),
    "an entry that is no object": (lambda d: d["images"].insert(1, 7), "entry 1 of images has no whole number .* 7"),
    "id twice": (on("annotations", id=1), "id 1 stands twice in annotations"),
    "no id": (off("images", "id"), "entry 1 of images has no whole number of 64 bits as its id, but None"),
    "lacks size": (off("images", "height"), "image id 2 lacks height; expected a whole number, 1 to 65,536"),
    "size 0": (on("images", height=0), "image id 2 has the height 0; expected a whole number, 1 to 65,536"),
    "one file twice": (on("images", file_name="./000001.png"), "images id 1 and 2 are one file, 000001.png"),
    "unknown image": (on("annotations", image_id=99), "annotation id 2 is of image 99"),
    "unknown category": (on("annotations", category_id=99), "annotation id 2 is of category 99"),
    "box of three": (on("annotations", bbox=[1, 2, 3]), r"annotation id 2 has the bbox \[1, 2, 3\]"),
    "box of words": (on("annotations", bbox=["a"] * 4), "annotation id 2 has the bbox"),
    "box of truths": (on("annotations", bbox=[True] * 4), "annotation id 2 has the bbox"),
    "box below 0": (on("annotations", bbox=[1, 1, -2, 3]), "annotation id 2 has the bbox"),
    "box right of the image": (on("annotations", bbox=[66, 1, 2, 3]), "annotation id 2 .* lies beside the image"),
    "box above the image": (on("annotations", bbox=[1, -9, 2, 3]), "annotation id 2 .* lies beside the image"),
    "no mask": (off("annotations", "segmentation"), "annotation id 2 lacks segmentation"),
    "empty mask": (on("annotations", segmentation=[]), "annotation id 2 has no mask"),
    "two points": (on("annotations", segmentation=[[1, 2, 3, 4]]), "id 2 .*broken polygon"),
    "half a point": (on("annotations", segmentation=[[1.0] * 7]), "id 2 .*broken polygon"),
    "polygon far away": (on("annotations", segmentation=[[1, 1, 5, 1, 1e9, 5]]), "id 2 .*broken polygon"),
    "polygon of truths": (on("annotations", segmentation=[[True] * 6]), "id 2 .*broken polygon"),
    "polygon of lists": (on("annotations", segmentation=[[[1]] * 6]), "id 2 .*broken polygon"),
    "mask of a word": (on("annotations", segmentation="x"), "annotation id 2 has the segmentation 'x'"),
    "mask's counts": (runs(None), "annotation id 2 .*no polygon and has no counts"),
    "mask's size": (runs([64 * 64], size=[9, 9]), r"id 2 .*size \[9, 9\]"),
    "mask's size in fractions": (runs([64 * 64], size=[64.0, 64.0]), r"id 2 .*size \[64.0, 64.0\]"),
    "mask's runs": (runs([64 * 64, 5]), "id 2 .*do not add up"),
    "runs of fractions": (runs([0.5, 64 * 64 - 0.5]), r"id 2 .*counts \[0.5, 4095.5\]"),
    "runs below 0": (runs([-4, 64 * 64 + 4]), "id 2 .*do not add up"),
    "runs of truths": (runs([True, 64 * 64 - 1]), r"id 2 .*counts \[True, 4095\]"),
    "no runs": (runs([]), "id 2 .*do not add up"),
    "packed runs that are too few": (runs("05"), "id 2 .*do not add up .*'05'"),
    "packed runs that never end": (runs("zzzzzzzz"), "id 2 .*counts 'zzzzzzzz'; expected .* packed runs of 0 to o"),
    "packed runs that are cut off": (runs("0Po"), "id 2 .*counts '0Po'"),
    "packed runs that are long": (runs("o" * 50 + "0"), "id 2 .*counts 'oooo"),
    "packed runs of other letters": (runs("0\u00e9"), "id 2 .*counts '0\u00e9'"),
    "no packed runs": (runs(""), "id 2 .*do not add up"),
    "another split's ignoring": (on("annotations", ignore=1), "annotation id 2 has the ignore 1; expected .* 0 to 0"),
    "a name with a line break": (lambda d: d["categories"][1].update(name="a\nb"), "category id 2 has the name"),
}
ODD_VALUES: dict[str, Any] = {
    "a list": [1],
    "an object": {"a": 1},
    "true": True,
    "false": False,
    "null": None,
    "a fraction": 0.5,
    "a whole fraction": 1.0,
    "text": "1",
    "300 digits": 10**300,
    "65 bits": 2**64,
    "infinite": float("1e999"),
    "below 0": -1,
    "1e11": 10**11,
    "a deep list": json.loads("[" * 300 + "]" * 300),
}
FIELDS_OF = [("images", "id"), ("images", "file_name"), ("images", "height"), ("images", "width")]
FIELDS_OF += [("annotations", name) for name in ("id", "image_id", "category_id", "bbox", "segmentation")]
FIELDS_OF += [("annotations", "area"), ("annotations", "iscrowd"), ("categories", "id"), ("categories", "name")]
SOUND = {  # what is right in a field though it is odd elsewhere
    ("annotations", "area"): {"a fraction", "a whole fraction"},
    ("annotations", "id"): {"below 0", "1e11"},
    ("categories", "name"): {"text"},
}


@pytest.mark.parametrize("value", ODD_VALUES)
@pytest.mark.parametrize("kind, name", FIELDS_OF, ids=[f"{kind}-{name}" for kind, name in FIELDS_OF])
def test_a_value_of_another_type_or_range_is_one_line(kind: str, name: str, value: str, folder: Path) -> None:
    file = change(folder, on(kind, **{name: ODD_VALUES[value]}))
    if value == "infinite":  # as a file has it: json.dumps would write Infinity
        file.write_text(file.read_text().replace("Infinity", "1e999"))
    if value in SOUND.get((kind, name), ()):
        if name == "name":
            change(folder, on(kind, **{name: ODD_VALUES[value]}), "val2017")
        read_folder(folder)
        return
    with pytest.raises(BadData) as caught:
        read_folder(folder)
    line = str(caught.value)
    assert "\n" not in line
    assert re.search(rf"{file}.*(entry 1 of|id 2 |of image 2,|of category 2,)", line)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_words_for_numbers_are_broken_json(text: str, folder: Path) -> None:
    file = change(folder, on("annotations", area=123456))
    file.write_text(file.read_text().replace("123456", text))
    with pytest.raises(BadData, match=rf"^broken JSON in {file}: {text} is no finite number"):
        read_folder(folder)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1]", b"[" * 100_000, b"7"], ids=range(5))
def test_another_file_in_its_place_is_one_line(content: bytes, folder: Path) -> None:
    file = folder / "annotations" / "instances_train2017.json"
    file.write_bytes(content)
    with pytest.raises(BadData, match=rf"{file}"):
        read_folder(folder)


@pytest.mark.parametrize(
    "name", ["../val2017/000001.png", "/etc/passwd", "..", ".", "", "sub/../../x.png", "a\0b", "\ud800.png", "x.png/"]
)
def test_a_path_out_of_the_folder_is_refused(name: str, folder: Path) -> None:
    file = change(folder, on("images", file_name=name))
    with pytest.raises(BadData, match=rf"^{file}: image id 2 has the file_name .*; expected the path of a file below"):
        read_folder(folder)


@pytest.mark.parametrize("name", ["sub/2.png", "./000002.png", "sub/a\u202fb \u00e9.png"])
def test_a_path_within_the_folder_is_followed(name: str, folder: Path) -> None:
    (folder / "train2017" / "sub").mkdir()
    if "sub" in name:
        (folder / "train2017" / "000002.png").rename(folder / "train2017" / name)
    change(folder, on("images", file_name=name))
    assert read_folder(folder)[0].images[1]["file_name"] == name


def write(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 32)).save(path, exif=exif)


def away(make: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda path: (path.unlink(), make(path))


IMAGE_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no image": (write(b"no image"), r"cannot be decoded \(not an image\).* lists it as image id 2"),
    "empty": (write(b""), "cannot be decoded .* lists it as image id 2"),
    "cut short": (lambda path: path.write_bytes(path.read_bytes()[:2000]), "truncated.* lists it as image id 2"),
    "another size": (lambda path: Image.new("RGB", (10, 20)).save(path), "image id 2, is 20 x 10 .* as 64 x 64"),
    "turned": (turned, "image id 2, is 64 x 32 upright; .* lists it as 64 x 64"),
    "a dangling link": (away(lambda path: path.symlink_to("nowhere")), "found a dangling link.* image id 2"),
    "a FIFO": (away(os.mkfifo), "found a FIFO.* image id 2"),
    "a folder": (away(Path.mkdir), "found a folder.* image id 2"),
    "floating-point": (
        lambda path: Image.fromarray(np.zeros((64, 64), np.float32)).save(path, "TIFF"),
        "floating-point numbers.* image id 2",
    ),
}


@pytest.mark.parametrize("damage, words", IMAGE_FAULTS.values(), ids=IMAGE_FAULTS)
def test_every_image_is_looked_at_before_training(damage: Callable[[Path], object], words: str, folder: Path) -> None:
    path = folder / "train2017" / "000002.png"
    damage(path)
    with pytest.raises(BadData, match=rf"^{path}.*{words}"):
        read_folder(folder)
    read_folder(folder, headers=False)


def test_packed_runs_are_those_of_pycocotools(folder: Path) -> None:
    def pack(document: dict[str, Any]) -> None:
        for each in document["annotations"]:
            packed = packing.frPyObjects(each["segmentation"], 64, 64)
            assert unpacked(packed["counts"].decode()) == each["segmentation"]["counts"]
            each["segmentation"] = {**packed, "counts": packed["counts"].decode()}

    change(folder, pack)
    assert read_folder(folder)[0].has_runs


def test_long_packed_runs_are_those_of_pycocotools() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        runs = (2 ** random.uniform(0, 22, 9)).astype(int).tolist()
        packed = packing.frPyObjects({"size": [sum(runs), 1], "counts": runs}, sum(runs), 1)
        assert unpacked(packed["counts"].decode()) == runs


def test_what_no_line_of_the_table_names_is_not_handed_on(folder: Path) -> None:
    change(folder, on("annotations", _ignore=1, keypoints="x"))
    assert "_ignore" not in read_folder(folder)[0].annotations[1][1]


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
