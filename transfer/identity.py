"""Folder digests: what a COCO folder holds in two numbers, to compare with a detection made of one of the same name.

Imports no torch, so that a finished detection is compared without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from ..pretrain.data.identity import Present, compare, recorded_in
from ..pretrain.data.imagenet import image_contents
from ..pretrain.records.record import Record
from .data.coco import Split, read_folder
from .spec import COCO, Detection

MOVES_NO_NUMBER = "compares digests of the data"

RENAMED = "a folder of another name for --coco"  # how other data get a name of their own


def folder_digests(splits: tuple[Split, Split]) -> dict[str, str]:
    """A SHA-256 of each split: of its annotations, and of what `image_contents` reads of its images."""
    digests = {}
    for name, split in zip(("train", "test"), splits, strict=True):
        images = image_contents([split.path(image) for image in split.images])
        digests[name] = hashlib.sha256(f"{split.digest} {images}".encode()).hexdigest()
    return digests


def check_finished_detection(record: Record, folder: Path, present: Present | None = None) -> None:
    """Raise ValueError where the folder there now holds other data than those of a finished detection.

    Where there is none, the result stays readable. Scenes are rendered by the code. `present` keeps what was read.
    """
    spec = record.spec
    assert isinstance(spec, Detection), "it is of a detection"
    before = recorded_in(record) if spec.data == COCO and (folder / "annotations").is_dir() else {}
    if before:
        compare(record.path, spec.data_name, before, _digests(folder, present or Present(folder)), RENAMED)


def _digests(folder: Path, present: Present) -> Mapping[str, str]:
    return present.of_folder(folder, lambda: folder_digests(read_folder(folder)))
