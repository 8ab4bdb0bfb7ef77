"""COCO folders: annotations in COCO's JSON format beside their images, checked whole before any training starts.

Format: Lin et al., ECCV 2014, and the data page of the COCO project. Every error names the file and the id. No torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TRAIN, VAL = "train2017", "val2017"
OFFICIAL_IMAGES = {TRAIN: 118_287, VAL: 5_000}  # of COCO 2017
POINT = 2  # numbers of a point
TRIANGLE = 3 * POINT  # the least that a polygon takes


@dataclass(frozen=True)
class Split:
    """The images of one split, in order of their ids, and what is on them."""

    file: Path  # of the annotations
    folder: Path  # of the images
    images: tuple[Mapping[str, Any], ...]
    annotations: Mapping[int, Sequence[Mapping[str, Any]]]  # by the image's id
    categories: Mapping[int, str]  # name by id, ascending
    digest: str  # SHA-256 of the annotations' file

    def path(self, image: Mapping[str, Any]) -> Path:
        """Where an image lies."""
        return self.folder / str(image["file_name"])

    @property
    def numbers(self) -> dict[int, int]:
        """The categories counted from 0, by id."""
        return {category: number for number, category in enumerate(self.categories)}

    @property
    def has_runs(self) -> bool:
        """Whether some object, and not only a crowd, has a mask of runs where polygons are usual."""
        kept = (each for several in self.annotations.values() for each in several if not each.get("iscrowd"))
        return any(isinstance(each["segmentation"], Mapping) for each in kept)


def read_folder(folder: Path) -> tuple[Split, Split]:
    """The training and the test split of a COCO 2017 folder. Raises ValueError at the first fault."""
    train, val = (_read_split(folder, split) for split in (TRAIN, VAL))
    if train.categories != val.categories:
        both = {*train.categories, *val.categories}
        first = min(each for each in both if train.categories.get(each) != val.categories.get(each))
        names = [repr(split.categories[first]) if first in split.categories else "absent" for split in (train, val)]
        raise ValueError(f"category {first} is {names[0]} in {train.file} and {names[1]} in {val.file}; expected equal")
    return train, val


def is_official(train: Split, val: Split) -> bool:
    """Whether a folder has as many images as COCO 2017 itself."""
    return [len(train.images), len(val.images)] == list(OFFICIAL_IMAGES.values())


def _read_split(folder: Path, split: str) -> Split:
    file, images_folder = folder / "annotations" / f"instances_{split}.json", folder / split
    if not file.is_file():
        raise ValueError(f"no file {file}; expected annotations/instances_*.json, {TRAIN}/ and {VAL}/ in {folder}")
    content = file.read_bytes()
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"broken JSON in {file}: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{file} holds a {type(document).__name__}; expected an object with images")
    images = _by_id(file, document, "images", ("file_name", "height", "width"))
    categories = _by_id(file, document, "categories", ("name",))
    annotations = _by_id(file, document, "annotations", ("image_id", "category_id", "bbox", "area"))
    _check_images(file, images, images_folder)
    found: dict[int, list[Mapping[str, Any]]] = {number: [] for number in images}
    for each in annotations.values():
        _check_annotation(file, each, images, categories)
        found[each["image_id"]].append(each)
    return Split(
        file=file,
        folder=images_folder,
        images=tuple(images.values()),
        annotations=found,
        categories={number: str(entry["name"]) for number, entry in categories.items()},
        digest=hashlib.sha256(content).hexdigest(),
    )


def _by_id(file: Path, document: Mapping[str, Any], kind: str, needed: Sequence[str]) -> dict[int, Mapping[str, Any]]:
    """The entries of one list by their ids, ascending."""
    entries = document.get(kind)
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{file} has no list of {kind}; expected images, annotations and categories")
    found: dict[int, Mapping[str, Any]] = {}
    for position, entry in enumerate(entries):
        number = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(number, int):
            raise ValueError(f"{file}: entry {position} of {kind} has no whole number as its id")
        if number in found:
            raise ValueError(f"{file}: id {number} stands twice in {kind}")
        if lacking := [name for name in needed if name not in entry]:
            raise ValueError(f"{file}: {kind} id {number} lacks {', '.join(lacking)}")
        found[number] = entry
    return dict(sorted(found.items()))


def _check_images(file: Path, images: Mapping[int, Mapping[str, Any]], folder: Path) -> None:
    present = set(os.listdir(folder)) if folder.is_dir() else set()
    missing = [number for number, image in images.items() if image["file_name"] not in present]
    if missing:
        name = folder / str(images[missing[0]]["file_name"])
        raise ValueError(f"{file}: image id {missing[0]} is missing: no file {name} ({len(missing)} are missing)")
    for number, image in images.items():
        if not all(isinstance(image[side], int) and image[side] > 0 for side in ("height", "width")):
            sides = f"{image['height']!r} x {image['width']!r}"
            raise ValueError(f"{file}: image id {number} is {sides}; expected whole numbers above 0")


def _check_annotation(
    file: Path, entry: Mapping[str, Any], images: Mapping[int, Mapping[str, Any]], categories: Mapping[int, Any]
) -> None:
    where = f"{file}: annotation id {entry['id']}"
    if entry["image_id"] not in images:
        raise ValueError(f"{where} is of image {entry['image_id']!r}, which is not in the list of images")
    if entry["category_id"] not in categories:
        known = ", ".join(map(str, list(categories)[:5]))
        raise ValueError(f"{where} is of category {entry['category_id']!r}, which is not listed; known: {known}, ...")
    box = entry["bbox"]
    if not _numbers(box) or len(box) != 4 or min(box[2:]) < 0:
        raise ValueError(f"{where} has the box {box!r}; expected x, y, width, height in pixels")
    if fault := _mask_fault(entry.get("segmentation"), images[entry["image_id"]]):
        raise ValueError(f"{where} {fault}; expected polygons of at least 3 points, or runs of the image's size")


def _mask_fault(mask: Any, image: Mapping[str, Any]) -> str:
    """What is wrong with a mask; "" when nothing is."""
    if not mask:
        return "has no mask"
    if isinstance(mask, list):
        sound = all(_numbers(polygon) and len(polygon) >= TRIANGLE and not len(polygon) % POINT for polygon in mask)
        return "" if sound else "has a mask with a broken polygon"
    if not isinstance(mask, dict) or not isinstance(mask.get("counts"), list | str):
        return "has a mask that is no polygon and has no counts"
    size = [image["height"], image["width"]]
    if mask.get("size") != size:
        return f"has a mask of size {mask.get('size')!r} on an image of {size}"
    if isinstance(mask["counts"], list) and (not _numbers(mask["counts"]) or sum(mask["counts"]) != math.prod(size)):
        return "has a mask whose runs do not add up to the image"
    return ""


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(each, int | float) and math.isfinite(each) for each in values)
