"""COCO folders: annotations in COCO's JSON format beside their images, checked whole before any training starts.

Format: Lin et al., ECCV 2014, and the data page of the COCO project. `coco_fields.py` has the table of what is read.
Every error is BadData and names the file and the id. Imports no torch.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...pretrain.data.decode import checked_size, in_threads
from ...pretrain.files.bad_data import BadData
from ...pretrain.files.stored_json import parse_large
from .coco_fields import by_id
from .masks import mask_fault

TRAIN, VAL = "train2017", "val2017"
OFFICIAL_IMAGES = {TRAIN: 118_287, VAL: 5_000}  # of COCO 2017
MARGIN = 1.0  # pixels that a box may lie beside its image: annotations are rounded


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
        together = (annotation for annotations in self.annotations.values() for annotation in annotations)
        kept = (annotation for annotation in together if not annotation.get("iscrowd"))
        return any(isinstance(annotation["segmentation"], Mapping) for annotation in kept)


def read_folder(folder: Path, *, headers: bool = True) -> tuple[Split, Split]:
    """The training and the test split of a COCO 2017 folder. Raises BadData at the first fault.

    With `headers`, every image is opened: it is an image, not truncated, and of the size that is listed for it.
    """
    train, val = (_read_split(folder, split) for split in (TRAIN, VAL))
    if train.categories != val.categories:
        both = {*train.categories, *val.categories}
        first = min(number for number in both if train.categories.get(number) != val.categories.get(number))
        names = [repr(split.categories[first]) if first in split.categories else "absent" for split in (train, val)]
        raise BadData(f"category {first} is {names[0]} in {train.file} and {names[1]} in {val.file}; expected equal")
    if headers:
        for split in (train, val):
            in_threads(partial(check_header, split), split.images)
    return train, val


def is_official(train: Split, val: Split) -> bool:
    """Whether a folder has as many images as COCO 2017 itself."""
    return [len(train.images), len(val.images)] == list(OFFICIAL_IMAGES.values())


def check_header(split: Split, image: Mapping[str, Any]) -> None:
    """Raise BadData unless an image is one of the size that is listed for it, once its EXIF orientation is undone."""
    path = split.path(image)
    try:
        width, height = checked_size(path, upright=True)
    except BadData as error:
        raise BadData(f"{error}; {split.file} lists it as image id {image['id']}") from error
    check_size(split, image, height, width)


def check_size(split: Split, image: Mapping[str, Any], height: int, width: int) -> None:
    """Raise BadData where an image is not of the size that is listed for it."""
    if (height, width) != (image["height"], image["width"]):
        listed = f"{split.file} lists it as {image['height']} x {image['width']}"
        raise BadData(f"{split.path(image)}, image id {image['id']}, is {height} x {width} upright; {listed}")


def _read_split(folder: Path, split: str) -> Split:
    file, images_folder = folder / "annotations" / f"instances_{split}.json", folder / split
    if not file.is_file():
        raise BadData(f"no file {file}; expected annotations/instances_*.json, {TRAIN}/ and {VAL}/ in {folder}")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BadData(f"{file}: {error.strerror}") from error
    try:
        document = parse_large(content, file)
    except ValueError as error:
        raise BadData(f"broken JSON in {error}") from error
    if not isinstance(document, dict):
        raise BadData(f"{file} holds a {type(document).__name__}; expected an object with images")
    images, categories, annotations = (by_id(file, document, kind) for kind in ("images", "categories", "annotations"))
    _check_files(file, images, images_folder)
    of_image: dict[int, list[Mapping[str, Any]]] = {number: [] for number in images}
    for annotation in annotations.values():
        _check_annotation(file, annotation, images, categories)
        of_image[annotation["image_id"]].append(annotation)
    return Split(
        file=file,
        folder=images_folder,
        images=tuple(images.values()),
        annotations=of_image,
        categories={number: entry["name"] for number, entry in categories.items()},
        digest=hashlib.sha256(content).hexdigest(),
    )


def _check_files(file: Path, images: Mapping[int, Mapping[str, Any]], folder: Path) -> None:
    """Every image has a file of its own, below the folder."""
    if not folder.is_dir():
        raise BadData(f"no folder {folder}; expected the images that {file} lists")
    present = set(os.listdir(folder))
    missing = []
    first: dict[str, int] = {}  # the image of a path
    for number, image in images.items():
        name = os.path.normpath(image["file_name"])
        if name not in present and not os.path.lexists(folder / name):
            missing.append(number)
        if first.setdefault(name, number) != number:
            raise BadData(f"{file}: images id {first[name]} and {number} are one file, {name}; expected one each")
    if missing:
        name = str(folder / images[missing[0]]["file_name"])
        raise BadData(f"{file}: image id {missing[0]} is missing: no file {name} ({len(missing)} are missing)")


def _check_annotation(
    file: Path, entry: Mapping[str, Any], images: Mapping[int, Mapping[str, Any]], categories: Mapping[int, Any]
) -> None:
    where = f"{file}: annotation id {entry['id']}"
    image = images.get(entry["image_id"])
    if image is None:
        raise BadData(f"{where} is of image {entry['image_id']}, which is not in the list of images")
    if entry["category_id"] not in categories:
        known = ", ".join(map(str, list(categories)[:5]))
        raise BadData(f"{where} is of category {entry['category_id']}, which is not listed; known: {known}, ...")
    left, top, width, height = entry["bbox"]
    right, bottom = image["width"] + MARGIN, image["height"] + MARGIN
    if left > right or top > bottom or left + width < -MARGIN or top + height < -MARGIN:
        size = f"{image['width']} pixels wide and {image['height']} high"
        raise BadData(f"{where} has the bbox {entry['bbox']}, which lies beside the image; expected one on it, {size}")
    if fault := mask_fault(entry["segmentation"], image["height"], image["width"]):
        raise BadData(f"{where} {fault}")
